"""S-JKO: a gradient flow towards the data, a phase of which is one unbalanced transport.

Choi, Choi, Kang: "Scalable Wasserstein Gradient Flow for Generative Modeling through
Unbalanced Optimal Transport", ICML 2024, arXiv 2402.05443.
"""

import math

import keras
import numpy as np
from keras import ops

from uotm_keras import backend
from uotm_keras.models.uotm import UOTM
from uotm_keras.objectives import costs
from uotm_keras.utils.errors import InputError


@keras.saving.register_keras_serializable("uotm_keras")
class SJKO(UOTM):
    r"""UOTM in phases, each of which starts from the map that the last one has learned.

    Phase k is a JKO step of the divergence D to the data ν (Jordan, Kinderlehrer & Otto
    1998): ρ_k minimizes W₂²(ρ, ρ_{k−1})/(2·h·dim) + D(ρ|ν). Its semi-dual is UOTM's with
    the source balanced and the cost

        c = mean over pixels of (T(x, z) − T_old(x, z'))² / (2h),

    T_old being the generator at the end of phase k − 1, frozen, with a latent z' of its
    own; in phase 0 it is the identity.

    Args:
        generator, potential: as of `UOTM`; x has the data's shape.
        step_size: h > 0.
        phase_steps: iterations a phase. Phases follow each other as long as `fit` runs.
        target_divergence: D, a name of `divergences.NAMES` ("jsd" for the paper's JSD
            variant) or a `divergences.Divergence`.
        kwargs: of `UOTM`, without `cost` and `source_divergence`.

    Raises:
        InputError: an argument is out of range, or the networks do not fit together.

    Example:
        >>> model = SJKO(generator, potential, step_size=0.1, phase_steps=2000)
        >>> model.compile()
        >>> model.fit(images, batch_size=64, epochs=10)
    """

    def __init__(
        self,
        generator: keras.Model,
        potential: keras.Model,
        *,
        step_size: float = 0.1,
        phase_steps: int = 10_000,
        target_divergence="kl",
        **kwargs,
    ):
        for name in ("cost", "source_divergence"):
            if name in kwargs:
                raise InputError(f"{name} is given by S-JKO itself: leave it out.")
        if not (math.isfinite(step_size) and step_size > 0):
            raise InputError(f"step_size={step_size} must be a positive number.")
        if isinstance(phase_steps, bool) or int(phase_steps) != phase_steps or phase_steps < 1:
            raise InputError(f"phase_steps={phase_steps!r} must be a whole number of at least 1.")
        dimension = int(np.prod(generator.outputs[0].shape[1:])) if generator.built else 1
        super().__init__(
            generator,
            potential,
            cost=costs.Quadratic(1.0 / (2.0 * step_size * dimension)),
            source_divergence="balanced",
            target_divergence=target_divergence,
            **kwargs,
        )
        if self.source_shape != self.data_shape:
            raise InputError(
                f"x of shape {self.source_shape} must have the data's shape, {self.data_shape}: "
                "S-JKO starts from the identity."
            )
        self.step_size, self.phase_steps = float(step_size), int(phase_steps)
        self.previous_generator = type(generator).from_config(generator.get_config())
        self.previous_generator.set_weights(generator.get_weights())
        self.previous_generator.trainable = False
        if self.latent_dim is not None:
            self.noise_dim = 2 * self.latent_dim
            """Of `latent` in the updates: z and then z'."""

    def transport_map(self, source, latent, training: bool = False):
        return super().transport_map(source, self._latents(latent)[0], training)

    def cost_of(self, source, latent, samples):
        inputs = source if self.latent_dim is None else [source, self._latents(latent)[1]]

        def moved():
            previous = self.previous_generator(inputs, training=False)
            return ops.where(self.step.value < self.phase_steps, source, previous)

        return self.cost(backend.without_gradient(moved), samples)

    def _latents(self, latent):
        """(z, z') of the updates' `latent`; elsewhere it is z alone."""
        if self.latent_dim is None:
            return None, None
        return latent[:, : self.latent_dim], latent[:, -self.latent_dim :]

    def _iterate(self, data) -> None:
        step = self.step.value
        begins = ops.logical_and(step > 0, ops.equal(step % self.phase_steps, 0))
        # Decay 0 copies the weights, 1 leaves them.
        backend.move_average(
            self.previous_generator.weights,
            self.generator.weights,
            ops.where(begins, 0.0, 1.0),
        )
        super()._iterate(data)

    def get_config(self) -> dict:
        config = super().get_config()
        for name in ("cost", "source_divergence"):
            del config[name]
        return {**config, "step_size": self.step_size, "phase_steps": self.phase_steps}
