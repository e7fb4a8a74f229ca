"""Noise of samples: sample i of seed s does not depend on what is drawn with it."""

from collections.abc import Iterable

import numpy as np

from uotm_keras.utils.errors import InputError

MAX_SEED = 2**63 - 1


def check_seed(seed: int | None, name: str = "seed") -> int:
    """Return a seed from 0 to 2⁶³ − 1; None draws one from the operating system's entropy.

    Args:
        seed: the seed, or None.
        name: name of the argument, for the message. Defaults to `"seed"`.

    Raises:
        InputError: it is not a whole number in this range.
    """
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    try:
        whole = not isinstance(seed, (bool, str)) and int(seed) == seed
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or not 0 <= seed <= MAX_SEED:
        raise InputError(f"{name}={seed!r} must be a whole number from 0 to {MAX_SEED}.")
    return int(seed)


def sample_noise(keys: Iterable[tuple[int, int]], *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Draw standard normal arrays, one per shape, with one row per key.

    Row r depends only on `keys[r]`: Philox in counter mode (Salmon et al. 2011).

    Args:
        keys: (seed, index) of each sample.
        shapes: the shapes of one row.

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


def sample_uniform(keys: Iterable[tuple[int, int]]) -> np.ndarray:
    """Draw a number from U(0, 1) for each key, independent of `sample_noise` of the same key.

    Args:
        keys: (seed, index) of each sample.

    Returns:
        A float64 array (len(keys),).
    """
    # The counter of the noise starts at 0 and never gets here.
    streams = (np.random.Philox(counter=[0, 0, 0, 1], key=key) for key in keys)
    return np.array([np.random.Generator(stream).random() for stream in streams])
