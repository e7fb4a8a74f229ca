"""The noise of samples: sample i of seed s is the same whatever is drawn beside it."""

from collections.abc import Iterable

import numpy as np

from uotm_keras.utils.errors import InputError

MAX_SEED = 2**63 - 1


def check_seed(seed: int | None, name: str = "seed") -> int:
    """A seed from 0 to 2⁶³ − 1; None draws one from the operating system's entropy."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(seed, bool) or int(seed) != seed or not 0 <= seed <= MAX_SEED:
        raise InputError(f"{name}={seed!r} must be a whole number from 0 to {MAX_SEED}.")
    return int(seed)


def sample_noise(keys: Iterable[tuple[int, int]], *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Standard normal arrays, one a shape, with one row a key.

    Row r depends on `keys[r]` alone: Philox in counter mode (Salmon et al. 2011).

    Args:
        keys: (seed, index) of each sample.
        shapes: shapes of one row.

    Returns:
        float32 arrays (len(keys), *shape).
    """
    sizes = [int(np.prod(shape)) for shape in shapes]
    rows = [
        np.random.Generator(np.random.Philox(key=key)).standard_normal(sum(sizes), "float32")
        for key in keys
    ]
    flat = np.stack(rows) if rows else np.zeros((0, sum(sizes)), "float32")
    parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
    return [part.reshape(len(flat), *shape) for part, shape in zip(parts, shapes, strict=True)]
