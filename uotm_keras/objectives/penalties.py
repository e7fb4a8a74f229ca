"""Penalties on the potential's gradient.

A penalty names the points at which it wants ∇v and what it makes of that gradient; the
gradient itself is taken by the caller, in the same pass as the losses.
"""

import math

import keras
from keras import ops

from uotm_keras.utils.errors import InputError

_PACKAGE = "uotm_keras.penalties"


class GradientPenalty:
    """Base class of the penalties on ∇v."""

    at = "real"
    """Where the gradient is wanted: "real" is the batch of data; "points" what `points` gives;
    "generated" T(x, z), and there it is that of v(y) − c(x, y) with respect to y."""

    def points(self, real, fake, mixing):
        """Where the gradient is wanted if `at` is "points"; `mixing` (B, 1, ...) is U(0, 1)."""
        raise NotImplementedError

    def value(self, gradient):
        """The penalty, a float32 scalar, from the gradient (B, ...)."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict) -> "GradientPenalty":
        return cls(**config)


def _squared_norms(gradient):
    gradient = ops.cast(gradient, "float32")
    return ops.sum(ops.square(gradient), axis=tuple(range(1, len(gradient.shape))))


@keras.saving.register_keras_serializable(_PACKAGE)
class R1(GradientPenalty):
    """(γ/2)·E‖∇v(y)‖² over real y (Mescheder et al. 2018; UOTM, section 5).

    Args:
        gamma: γ > 0. The squared norm is summed over the whole image.
    """

    def __init__(self, gamma: float = 0.2):
        if not (math.isfinite(gamma) and gamma > 0):
            raise InputError(f"gamma={gamma} must be a positive number.")
        self.gamma = gamma

    def value(self, gradient):
        return 0.5 * self.gamma * ops.mean(_squared_norms(gradient))

    def get_config(self) -> dict:
        return {"gamma": self.gamma}


@keras.saving.register_keras_serializable(_PACKAGE)
class WassersteinGP(GradientPenalty):
    """(λ/2)·E(‖∇v(x̂)‖ − 1)² at random points x̂ between real and fake (WGAN-GP).

    Args:
        weight: λ > 0.
    """

    at = "points"

    def __init__(self, weight: float = 10.0):
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight={weight} must be a positive number.")
        self.weight = weight

    def points(self, real, fake, mixing):
        return real + mixing * (fake - real)

    def value(self, gradient):
        # The small constant keeps the root's own gradient finite where ∇v vanishes.
        norms = ops.sqrt(_squared_norms(gradient) + 1e-12)
        return 0.5 * self.weight * ops.mean(ops.square(norms - 1.0))

    def get_config(self) -> dict:
        return {"weight": self.weight}


@keras.saving.register_keras_serializable(_PACKAGE)
class GradientOptimality(GradientPenalty):
    """w·E‖∇v(ŷ) − ∇_y c(x, ŷ)‖² at samples ŷ = T(x, z), which are held fixed.

    The optimal map takes x to a minimum of c(x, y) − v(y) in y, where this gradient is 0. So
    the penalty leaves the optimum where it is, of whatever divergences, unlike one on ∇v
    alone; on the way there it keeps v from turning faster than the map can follow.

    Args:
        weight: w > 0. With c = τ‖x − y‖² a w of about 1/τ weighs it like the other
            terms; in many dimensions less (`presets.optimality_weight`).

    Raises:
        InputError: `weight` is not a positive number.
    """

    at = "generated"

    def __init__(self, weight: float = 1.0):
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight={weight} must be a positive number.")
        self.weight = weight

    def value(self, gradient):
        return self.weight * ops.mean(_squared_norms(gradient))

    def get_config(self) -> dict:
        return {"weight": self.weight}
