"""Evaluate trained networks in batches, on NumPy arrays."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from uotm_keras.backend import distribution
from uotm_keras.models.checks import Shapes
from uotm_keras.utils.seeds import sample_noise


@dataclasses.dataclass(frozen=True)
class TransportMap:
    """A generator network as a function of NumPy arrays.

    Args:
        network: T, called as `network([x, z, c])`, without the inputs that it does not have.
        shapes: The shapes of x, z, T(x, z) and c.
    """

    network: keras.Model
    shapes: Shapes

    def __call__(
        self, source: np.ndarray, latent: np.ndarray, condition: np.ndarray | None, batch_size: int
    ) -> np.ndarray:
        """Return T(x, z | c), float32 (n, *data_shape), computed in batches of one size."""
        size = min(batch_size, len(source))
        results = []
        for start in range(0, len(source), size or 1):
            rows = slice(start, start + size)
            given = None if condition is None else condition[rows]
            results.append(self._run(source[rows], latent[rows], given, size))
        return np.concatenate(results) if results else np.zeros((0, *self.shapes.data), "float32")

    def samples(
        self,
        keys: Sequence[tuple[int, int]],
        batch_size: int,
        condition: np.ndarray | None | Callable[[Sequence[tuple[int, int]]], np.ndarray] = None,
    ) -> Iterator[np.ndarray]:
        """Yield T(x, z | c) of the noise of each (seed, index) key, a batch at a time.

        Args:
            keys: The keys.
            batch_size: Samples per batch.
            condition: c of each key, or a function that draws it for keys. Defaults to `None`.
        """
        size = min(batch_size, len(keys))
        for start in range(0, len(keys), size or 1):
            rows = slice(start, start + size)
            noise = sample_noise(keys[rows], self.shapes.source, (self.shapes.latent_dim or 0,))
            given: np.ndarray | None = None
            if condition is not None:
                given = condition(keys[rows]) if callable(condition) else condition[rows]
            yield self._run(noise[0], noise[1], given, size)

    def _run(
        self, source: np.ndarray, latent: np.ndarray, condition: np.ndarray | None, size: int
    ) -> np.ndarray:
        """Call the network once, with rows of zeros so that no call compiles again."""
        missing = [(0, size - len(source))]
        padded = [
            None if a is None else np.pad(a, missing + [(0, 0)] * (a.ndim - 1))
            for a in (source, latent, condition)
        ]
        outputs = distribution.predict(self.network, self.shapes.inputs(*padded))
        return np.asarray(outputs, "float32")[: len(source)]


def seed_generator(seed: int) -> keras.random.SeedGenerator:
    """Return a generator of a seed from 0 to 2⁶³ − 1, on backends with a narrower state too."""
    try:
        return keras.random.SeedGenerator(seed)
    except (OverflowError, RuntimeError):  # the state is int32 on torch, and uint32 on JAX
        word = np.random.SeedSequence(seed).generate_state(1)[0]
        return keras.random.SeedGenerator(int(word >> 1))


def potential_outputs(
    network: keras.Model, data: np.ndarray, condition: np.ndarray | None, batch_size: int
) -> np.ndarray:
    """Return the potential network's values, float32 (n,), computed in batches."""
    values = []
    for start in range(0, len(data), batch_size):
        rows = slice(start, start + batch_size)
        inputs = data[rows] if condition is None else [data[rows], condition[rows]]
        values.append(distribution.predict(network, inputs))
    if not values:
        return np.zeros((0,), "float32")
    return np.concatenate([np.asarray(v, "float32").reshape(-1) for v in values])


def frozen_copy(network: keras.Model, name: str) -> keras.Model:
    """Return a copy of a network that is not trained."""
    copy = type(network).from_config({**network.get_config(), "name": name})
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy
