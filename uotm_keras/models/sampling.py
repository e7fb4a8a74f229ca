"""Evaluate trained networks in batches, on NumPy arrays."""

import dataclasses
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from uotm_keras.backend import distribution
from uotm_keras.utils.seeds import sample_noise


@dataclasses.dataclass(frozen=True)
class TransportMap:
    """A generator network as a function of NumPy arrays.

    Args:
        network: T, called as `network([x, z])`, or `network(x)` without a latent.
        source_shape: Shape of one x.
        latent_dim: Length of z, or `None` for a network without a latent.
        data_shape: Shape of one T(x, z).
    """

    network: keras.Model
    source_shape: tuple[int, ...]
    latent_dim: int | None
    data_shape: tuple[int, ...]

    def __call__(self, source: np.ndarray, latent: np.ndarray, batch_size: int) -> np.ndarray:
        """Return T(x, z), float32 (n, *data_shape), computed in batches of one size."""
        size = min(batch_size, len(source))
        results = [
            self._run(source[start : start + size], latent[start : start + size], size)
            for start in range(0, len(source), size or 1)
        ]
        return np.concatenate(results) if results else np.zeros((0, *self.data_shape), "float32")

    def samples(self, keys: Sequence[tuple[int, int]], batch_size: int) -> Iterator[np.ndarray]:
        """Yield T(x, z) of the noise of each (seed, index) key, a batch at a time."""
        size = min(batch_size, len(keys))
        for start in range(0, len(keys), size or 1):
            batch = keys[start : start + size]
            source, latent = sample_noise(batch, self.source_shape, (self.latent_dim or 0,))
            yield self._run(source, latent, size)

    def _run(self, source: np.ndarray, latent: np.ndarray, size: int) -> np.ndarray:
        """Call the network once, with rows of zeros so that no call compiles again."""
        missing = [(0, size - len(source))]
        inputs = [np.pad(a, missing + [(0, 0)] * (a.ndim - 1)) for a in (source, latent)]
        outputs = distribution.predict(
            self.network, inputs[0] if self.latent_dim is None else inputs
        )
        return np.asarray(outputs, "float32")[: len(source)]


def seed_generator(seed: int) -> keras.random.SeedGenerator:
    """Return a generator of a seed from 0 to 2⁶³ − 1, on backends with a narrower state too."""
    try:
        return keras.random.SeedGenerator(seed)
    except (OverflowError, RuntimeError):  # the state is int32 on torch, and uint32 on JAX
        word = np.random.SeedSequence(seed).generate_state(1)[0]
        return keras.random.SeedGenerator(int(word >> 1))


def potential_outputs(network: keras.Model, data: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the potential network's values, float32 (n,), computed in batches."""
    values = [
        distribution.predict(network, data[start : start + batch_size])
        for start in range(0, len(data), batch_size)
    ]
    if not values:
        return np.zeros((0,), "float32")
    return np.concatenate([np.asarray(v, "float32").reshape(-1) for v in values])
