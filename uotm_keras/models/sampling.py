"""What a trained UOTM is used for: samples, transport, and the weights it gives data."""

from collections.abc import Iterator

import numpy as np
from keras import ops

from uotm_keras.backend import distribution
from uotm_keras.objectives import divergences
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import check_seed, sample_noise


class Sampling:
    """The part of `UOTM` that reads its networks and changes nothing."""

    def generate(
        self, n: int, seed: int | None = None, use_ema: bool = True, batch_size: int = 64
    ) -> np.ndarray:
        """Samples T(x, z) with x, z ~ N(0, I).

        Sample i depends on `seed` and i alone, not on `n` or `batch_size`.

        Args:
            n: number of samples.
            seed: from 0; None draws one.
            use_ema: from the averaged generator, or from the trained one.
            batch_size: samples a call of the network.

        Returns:
            float32 (n, *data_shape), in the network's range.
        """
        if int(n) != n or n < 1:
            raise InputError(f"n={n!r} must be a whole number of at least 1.")
        seed = check_seed(seed)
        keys = [(seed, i) for i in range(int(n))]
        return np.concatenate(list(self.generate_batches(keys, use_ema, batch_size)))

    def generate_batches(
        self, keys: list[tuple[int, int]], use_ema: bool = True, batch_size: int = 64
    ) -> Iterator[np.ndarray]:
        """Samples of the given (seed, index) keys, a batch at a time."""
        if self.source == "data":
            raise InputError("this UOTM transports a data set: call transport(source) instead.")
        for start in range(0, len(keys), batch_size):
            batch = keys[start : start + batch_size]
            source, latent = sample_noise(batch, self.source_shape, (self.latent_dim or 0,))
            yield self._run(source, latent, use_ema, min(batch_size, len(keys)))

    def transport(
        self, source, latent=None, use_ema: bool = True, batch_size: int = 64
    ) -> np.ndarray:
        """T(x, z) of given x, as float32 numpy.

        Args:
            source: x, (B, *source_shape).
            latent: z, (B, latent_dim); None draws one anew.
            use_ema: with the averaged generator, or with the trained one.
            batch_size: samples a call of the network.
        """
        source = np.asarray(source, "float32")
        if source.shape[1:] != self.source_shape:
            raise InputError(
                f"source of shape {source.shape} must have the shape (B, *{self.source_shape})."
            )
        if latent is None:
            keys = [(check_seed(None), i) for i in range(len(source))]
            (latent,) = sample_noise(keys, (self.latent_dim or 0,))
        latent = np.asarray(latent, "float32")
        results = [
            self._run(
                source[start : start + batch_size],
                latent[start : start + batch_size],
                use_ema,
                min(batch_size, len(source)),
            )
            for start in range(0, len(source), batch_size)
        ]
        return np.concatenate(results) if results else np.zeros((0, *self.data_shape), "float32")

    def _run(self, source, latent, use_ema: bool, batch_size: int) -> np.ndarray:
        """One call of a generator, filled up to `batch_size` so that no call compiles anew."""
        network = self.ema_generator if use_ema else self.generator
        missing = [(0, batch_size - len(source))]
        inputs = [np.pad(a, missing + [(0, 0)] * (a.ndim - 1)) for a in (source, latent)]
        outputs = distribution.predict(network, inputs[0] if self.latent_dim is None else inputs)
        return np.asarray(outputs, "float32")[: len(source)]

    # --- what the optimum says of the data ----------------------------------------------

    def source_weights(self, source, latent=None, batch_size: int = 64) -> np.ndarray:
        """dπ₀/dμ at x: Ψ1*'(v(T(x, z)) − c(x, T(x, z))), float32 (B,)."""
        source = np.asarray(source, "float32")
        moved = self.transport(source, latent, batch_size=batch_size)
        cost = ops.convert_to_numpy(self.cost(ops.convert_to_tensor(source), moved))
        excess = self._potential_values(moved, batch_size) - cost
        return ops.convert_to_numpy(self._divergences()[0].conjugate_derivative(excess))

    def target_weights(self, data, batch_size: int = 64) -> np.ndarray:
        """dπ₁/dν at y: Ψ2*'(−v(y)), float32 (B,); near 0 for outliers of the data.

        A potential with minibatch statistics sees y together with its batch.
        """
        values = self._potential_values(np.asarray(data, "float32"), batch_size)
        return ops.convert_to_numpy(self._divergences()[1].conjugate_derivative(-values))

    def _potential_values(self, data: np.ndarray, batch_size: int) -> np.ndarray:
        values = [
            distribution.predict(self.potential, data[start : start + batch_size])
            for start in range(0, len(data), batch_size)
        ]
        values = np.concatenate([np.asarray(v, "float32").reshape(-1) for v in values])
        return ops.convert_to_numpy(divergences.potential_values(self._divergences()[1], values))
