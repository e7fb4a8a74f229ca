"""S-JKO: a gradient flow toward the data, each phase of which is one unbalanced transport.

Choi, Choi, Kang: "Scalable Wasserstein Gradient Flow for Generative Modeling through
Unbalanced Optimal Transport", ICML 2024, arXiv 2402.05443.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from uotm_keras import backend
from uotm_keras.models.checks import check_count
from uotm_keras.models.inputs import Batch
from uotm_keras.models.sampling import frozen_copy
from uotm_keras.models.uotm import UOTM
from uotm_keras.objectives import costs
from uotm_keras.objectives.divergences import Divergence
from uotm_keras.objectives.semi_dual import GeneratorBatch, PotentialBatch, SemiDual, conditioned
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor


@dataclasses.dataclass(frozen=True)
class JKOSemiDual(SemiDual):
    """The semi-dual whose cost is measured from the previous phase's map.

    Args:
        previous_map: T_old, called as `previous_map(source, previous_latent)`, or with the
            condition as a third argument.
    """

    previous_map: Callable[..., Tensor] = lambda source, latent, condition=None: source

    def cost_of(self, batch: PotentialBatch | GeneratorBatch, generated: Tensor) -> Tensor:
        origin = backend.without_gradient(
            lambda: conditioned(self.previous_map, batch.condition)(
                batch.source, batch.previous_latent
            )
        )
        return self.cost(origin, generated)


@keras.saving.register_keras_serializable("uotm_keras")
class SJKO(UOTM):
    r"""UOTM in phases, each of which starts from the map that the previous one learned.

    Phase k is a JKO step of the divergence D to the data ν (Jordan, Kinderlehrer and Otto,
    1998): ρ_k minimizes W₂²(ρ, ρ_{k−1})/(2·h·dim) + D(ρ|ν). Its semi-dual is that of UOTM
    with the source balanced and the cost

        c = mean over pixels of (T(x, z) − T_old(x, z'))² / (2h),

    where T_old is the generator at the end of phase k − 1, frozen, with a latent z' of its
    own; in phase 0 it is the identity.

    Args:
        generator: As in `UOTM`; x has the shape of the data.
        potential: As in `UOTM`.
        step_size: h > 0. Defaults to 0.1.
        phase_steps: Steps per phase. Phases follow each other for as long as `fit` runs.
            Defaults to 10 000.
        first_phase_steps: Steps of phase 0. Defaults to `None`, which takes `phase_steps`.
        data_noise: σ ≥ 0. The potential sees y + σ/(k + 1)·ε in phase k, with ε ~ N(0, I).
            Defaults to 0.
        target_divergence: D, a name of `divergences.NAMES` or a `divergences.Divergence`;
            `"jsd_logits"` is the JSD variant as released. Defaults to `"kl"`.
        **kwargs: Arguments of `UOTM`, except `cost` and `source_divergence`.

    Raises:
        InputError: If an argument is out of range, or the networks do not fit together.

    Example:

    ```python
    # As in the authors' command: 208 000 steps are 100 phases.
    model = SJKO(
        generator, potential, first_phase_steps=10_000, phase_steps=2_000, data_noise=1 / 32
    )
    model.compile()
    model.fit(images, batch_size=64, epochs=10)
    ```

    Reference:
        [Choi et al., 2024](https://arxiv.org/abs/2402.05443)
    """

    def __init__(
        self,
        generator: keras.Model,
        potential: keras.Model,
        *,
        step_size: float = 0.1,
        phase_steps: int = 10_000,
        first_phase_steps: int | None = None,
        data_noise: float = 0.0,
        target_divergence: str | Divergence = "kl",
        **kwargs: Any,
    ):
        for name in ("cost", "source_divergence"):
            if name in kwargs:
                raise InputError(f"{name} is set by S-JKO itself: leave it out.")
        if kwargs.get("source") == "fitted":
            raise InputError("source='fitted' is not supported by S-JKO: use 'gaussian'.")
        if not (math.isfinite(step_size) and step_size > 0):
            raise InputError(f"step_size={step_size} must be a positive number.")
        if not (math.isfinite(data_noise) and data_noise >= 0):
            raise InputError(f"data_noise={data_noise} must be a finite number of at least 0.")
        phase_steps = check_count("phase_steps", phase_steps)
        if first_phase_steps is not None:
            first_phase_steps = check_count("first_phase_steps", first_phase_steps)
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
        self.step_size, self.phase_steps = float(step_size), phase_steps
        self.first_phase_steps, self.data_noise = first_phase_steps, float(data_noise)
        self.previous_generator = frozen_copy(generator, "previous_generator")
        plain = self.objective
        self.objective = JKOSemiDual(
            plain.cost,
            plain.source_divergence,
            plain.target_divergence,
            plain.gradient_penalty,
            plain.pairing,
            previous_map=self._previous_map,
        )

    def _previous_map(
        self, source: Tensor, latent: Tensor | None, condition: Tensor | None = None
    ) -> Tensor:
        """T_old(x, z' | c): the identity in the first phase."""
        inputs = self.shapes.inputs(source, latent, condition)
        previous = self.previous_generator(inputs, training=False)
        return ops.where(self._steps_after_first_phase() < 0, source, previous)

    def _steps_after_first_phase(self) -> Tensor:
        return self.step.value - (self.first_phase_steps or self.phase_steps)

    def _iterate(self, data: Any) -> dict[str, Tensor]:
        steps = self._steps_after_first_phase()
        begins = ops.logical_and(steps >= 0, ops.equal(steps % self.phase_steps, 0))
        # A decay of 0 copies the weights, and 1 leaves them unchanged.
        backend.update_ema(
            self.previous_generator.weights,
            self.generator.weights,
            ops.where(begins, 0.0, 1.0),
        )
        return super()._iterate(data)

    def _draw(self, batch: Batch, seed: keras.random.SeedGenerator) -> GeneratorBatch:
        source, latent, previous_latent = batch.source, None, None
        if source is None:
            source = self._normal(batch, seed, *self.source_shape)
        if self.latent_dim is not None:
            both = self._normal(batch, seed, 2 * self.latent_dim)
            latent, previous_latent = both[:, : self.latent_dim], both[:, self.latent_dim :]
        return GeneratorBatch(source, latent, previous_latent, batch.source_weight, batch.condition)

    def _update_potential(self, batch: PotentialBatch) -> dict[str, Tensor]:
        if self.data_noise:
            # R1's gradient at y + ε is also that of v(y + ε) in y.
            phase = 1 + ops.floor_divide(self._steps_after_first_phase(), self.phase_steps)
            phase = ops.cast(ops.maximum(phase, 0), "float32")
            real = ops.convert_to_tensor(batch.real, "float32")
            noise = self._normal(Batch(real), self.noise_seed, *self.data_shape)
            batch = batch._replace(real=real + self.data_noise / (phase + 1.0) * noise)
        return super()._update_potential(batch)

    def update_potential(
        self, real: Tensor, source: Tensor, latent: Tensor | None = None,
        mixing: Tensor | None = None, previous_latent: Tensor | None = None,
        *, condition: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Take one optimizer step of the potential; see `UOTM.update_potential`.

        Args:
            real, source, latent, mixing, condition: As in `UOTM.update_potential`. `data_noise`
                is added to `real`.
            previous_latent: z' of the previous map, (B, latent_dim). Defaults to z.
        """
        previous_latent = latent if previous_latent is None else previous_latent
        return self._update_potential(
            PotentialBatch(
                real, source, latent, previous_latent, condition=condition, mixing=mixing
            )
        )

    def update_generator(
        self, source: Tensor, latent: Tensor | None = None,
        previous_latent: Tensor | None = None, *, condition: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Take one optimizer step of the generator; see `UOTM.update_generator`.

        Args:
            source, latent, condition: As in `UOTM.update_generator`.
            previous_latent: z' of the previous map, (B, latent_dim). Defaults to z.
        """
        previous_latent = latent if previous_latent is None else previous_latent
        return self._update_generator(
            GeneratorBatch(source, latent, previous_latent, condition=condition)
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("cost", "source_divergence"):
            del config[name]
        names = "step_size", "phase_steps", "first_phase_steps", "data_noise"
        return config | {name: getattr(self, name) for name in names}
