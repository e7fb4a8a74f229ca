"""Penalties on the gradient of the potential.

A penalty says at which points it needs ∇v and how it weighs that gradient; the caller
computes the gradient itself, in the same pass as the losses.
"""

import math
from typing import Any, Self

import keras
from keras import ops

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

_PACKAGE = "uotm_keras.penalties"


class GradientPenalty:
    """Base class of penalties on ∇v.

    A subclass defines `value` and sets `at`; with `at = "points"` it also defines `points`.
    """

    at: str = "real"
    """Where the gradient is taken: `"real"`, at the batch of data; `"points"`, at what `points`
    returns; `"generated"`, at T(x, z), where it is that of v(y) − c(x, y) in y; `"source"`, at x,
    where it is that of v(T(x, z)) in x."""

    fraction: float = 1.0
    """Fraction of the batch at which the gradient is taken, with `at = "real"`."""

    def points(self, real: Tensor, fake: Tensor, mixing: Tensor) -> Tensor:
        """Return where the gradient is taken for `at = "points"`.

        Args:
            real: y, (B, ...).
            fake: T(x, z), (B, ...).
            mixing: U(0, 1), (B, 1, ...).
        """
        raise NotImplementedError

    def value(self, gradient: Tensor) -> Tensor:
        """Return the penalty, a float32 scalar, of the gradient (B, ...)."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


def _squared_norms(gradient: Tensor) -> Tensor:
    gradient = ops.cast(gradient, "float32")
    return ops.sum(ops.square(gradient), axis=tuple(range(1, len(gradient.shape))))


@keras.saving.register_keras_serializable(_PACKAGE)
class R1(GradientPenalty):
    """(γ/2)·E‖∇v(y)‖² over real y.

    Args:
        gamma: γ > 0. The squared norm is summed over the whole image. Defaults to 0.2.
        fraction: Fraction of each batch at which the gradient is taken, above 0 and at most
            1. Fewer points cost less: an estimate of the same penalty with more variance.
            Defaults to 1.

    Raises:
        InputError: If `gamma` is not a positive number, or `fraction` is out of range.

    Reference:
        Mescheder et al., 2018; UOTM, arXiv 2305.14777, section 5.
    """

    def __init__(self, gamma: float = 0.2, fraction: float = 1.0):
        if not (math.isfinite(gamma) and gamma > 0):
            raise InputError(f"gamma={gamma} must be a positive number.")
        if not 0.0 < fraction <= 1.0:
            raise InputError(f"fraction={fraction} must be above 0 and at most 1.")
        self.gamma, self.fraction = gamma, fraction

    def value(self, gradient: Tensor) -> Tensor:
        return 0.5 * self.gamma * ops.mean(_squared_norms(gradient))

    def get_config(self) -> dict[str, Any]:
        return {"gamma": self.gamma, "fraction": self.fraction}


@keras.saving.register_keras_serializable(_PACKAGE)
class WassersteinGP(GradientPenalty):
    """(λ/2)·E(‖∇v(x̂)‖ − 1)² at random points x̂ between real and generated ones (WGAN-GP).

    Args:
        weight: λ > 0. Defaults to 10.

    Raises:
        InputError: If `weight` is not a positive number.

    Reference:
        Gulrajani et al., 2017, arXiv 1704.00028.
    """

    at = "points"

    def __init__(self, weight: float = 10.0):
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight={weight} must be a positive number.")
        self.weight = weight

    def points(self, real: Tensor, fake: Tensor, mixing: Tensor) -> Tensor:
        return real + mixing * (fake - real)

    def value(self, gradient: Tensor) -> Tensor:
        # The small constant keeps the gradient of the root finite where ∇v vanishes.
        norms = ops.sqrt(_squared_norms(gradient) + 1e-12)
        return 0.5 * self.weight * ops.mean(ops.square(norms - 1.0))

    def get_config(self) -> dict[str, Any]:
        return {"weight": self.weight}


class _SquaredNorm(GradientPenalty):
    """w·E‖gradient‖², for a weight w > 0."""

    def __init__(self, weight: float = 1.0):
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight={weight} must be a positive number.")
        self.weight = weight

    def value(self, gradient: Tensor) -> Tensor:
        return self.weight * ops.mean(_squared_norms(gradient))

    def get_config(self) -> dict[str, Any]:
        return {"weight": self.weight}


@keras.saving.register_keras_serializable(_PACKAGE)
class GradientOptimality(_SquaredNorm):
    """w·E‖∇v(ŷ) − ∇_y c(x, ŷ)‖² at samples ŷ = T(x, z), which are held fixed.

    The optimal map sends x to a minimum of c(x, y) − v(y) in y, where this gradient is 0. The
    penalty therefore does not move the optimum, whatever the divergences, unlike a penalty
    on ∇v alone. During training it keeps v from changing faster than the map can follow.

    Args:
        weight: w > 0. With c = τ‖x − y‖², a w of about 1/τ weighs it like the other terms;
            use less in many dimensions (`presets.optimality_weight`). Defaults to 1.

    Raises:
        InputError: If `weight` is not a positive number.
    """

    at = "generated"


@keras.saving.register_keras_serializable(_PACKAGE)
class SourceGradient(_SquaredNorm):
    """λ·E‖∇_x v(T(x, z))‖², the gradient of the potential through the map, to the source.

    It is in the authors' command for UOTM on one-dimensional outliers, with λ = 0.01. T is held
    fixed. Unlike `GradientOptimality`, it moves the optimum.

    Args:
        weight: λ > 0. Defaults to 0.01.

    Raises:
        InputError: If `weight` is not a positive number.
    """

    at = "source"

    def __init__(self, weight: float = 0.01):
        super().__init__(weight)
