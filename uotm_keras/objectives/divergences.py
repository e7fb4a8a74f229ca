r"""Csiszár divergences, by the conjugates Ψ* that the semi-dual needs.

Unbalanced optimal transport relaxes a marginal by D_Ψ(π|μ) = E_μ[Ψ(dπ/dμ)] (UOTM,
arXiv 2305.14777, section 2). The semi-dual sees Ψ only through its convex conjugate
Ψ*(s) = sup_r [s·r − Ψ(r)], which is convex, non-decreasing and differentiable; its
derivative Ψ*' is the density of the relaxed marginal.
"""

import math

import keras
from keras import ops

from uotm_keras.utils.errors import InputError, unknown_name

_PACKAGE = "uotm_keras.divergences"


class Divergence:
    """Base class: subclass it, define `conjugate` and `conjugate_derivative`.

    Register the subclass with `keras.saving.register_keras_serializable` to save models
    that use it. Tensors may have any shape; both methods act element by element.
    """

    def conjugate(self, s):
        """Ψ*(s)."""
        raise NotImplementedError

    def conjugate_derivative(self, s):
        """Ψ*'(s) ≥ 0, the density of the relaxed marginal."""
        raise NotImplementedError

    def scaled(self, alpha) -> "Divergence":
        """The divergence α·Ψ, α > 0 a number or a scalar tensor; α → ∞ tends to balanced."""
        return Scaled(self, alpha)

    def get_config(self) -> dict:
        return {}

    @classmethod
    def from_config(cls, config: dict) -> "Divergence":
        return cls(**config)


@keras.saving.register_keras_serializable(_PACKAGE)
class KL(Divergence):
    """Kullback–Leibler: Ψ(r) = r·log r − r + 1, Ψ*(s) = exp(s) − 1."""

    def conjugate(self, s):
        return ops.expm1(s)

    def conjugate_derivative(self, s):
        return ops.exp(s)


@keras.saving.register_keras_serializable(_PACKAGE)
class ChiSquared(Divergence):
    """χ²: Ψ(r) = (r − 1)², Ψ*(s) = s²/4 + s for s ≥ −2 and −1 below."""

    def conjugate(self, s):
        s = ops.maximum(s, -2.0)
        return s * (0.25 * s + 1.0)

    def conjugate_derivative(self, s):
        return ops.maximum(0.5 * s + 1.0, 0.0)


@keras.saving.register_keras_serializable(_PACKAGE)
class Softplus(Divergence):
    """Ψ*(s) = 2·log(1 + eˢ) − 2·log 2, or log(1 + eˢ) with `normalized=False`.

    The normalised form has Ψ*(0) = 0 and Ψ*'(0) = 1 (UOTM-SD, arXiv 2310.02611); the
    plain form is that of the NeurIPS code.
    """

    def __init__(self, normalized: bool = True):
        self.normalized = normalized

    def conjugate(self, s):
        plain = ops.softplus(s)
        return 2.0 * plain - 2.0 * math.log(2.0) if self.normalized else plain

    def conjugate_derivative(self, s):
        plain = ops.sigmoid(s)
        return 2.0 * plain if self.normalized else plain

    def get_config(self) -> dict:
        return {"normalized": self.normalized}


@keras.saving.register_keras_serializable(_PACKAGE)
class JensenShannon(Divergence):
    """Jensen–Shannon: Ψ(r) = r·log r − (1 + r)·log((1 + r)/2), Ψ*(s) = −log(2 − eˢ).

    Ψ* is finite for s < log 2 only, and is continued by its tangent from log 2 − 1e-6 on.
    As the target's divergence it keeps the potential above −log 2: v = softplus(w) − log 2
    of the network's value w, with which the losses are those of the non-saturating GAN
    (f-GAN, Nowozin et al. 2016; the JSD variant of S-JKO, arXiv 2402.05443).
    """

    _END = math.log(2.0) - 1e-6
    _SLOPE = -0.5 * math.exp(_END) / math.expm1(-1e-6)

    def conjugate(self, s):
        inside = ops.minimum(s, self._END)
        curve = -math.log(2.0) - ops.log(-ops.expm1(inside - math.log(2.0)))
        return curve + self._SLOPE * ops.relu(s - self._END)

    def conjugate_derivative(self, s):
        inside = ops.minimum(s, self._END)
        return -0.5 * ops.exp(inside) / ops.expm1(inside - math.log(2.0))

    def potential(self, values):
        """See `potential_values`."""
        return ops.softplus(values) - math.log(2.0)


@keras.saving.register_keras_serializable(_PACKAGE)
class Balanced(Divergence):
    """The hard marginal: Ψ = 0 at r = 1 and ∞ elsewhere, Ψ*(s) = s."""

    def conjugate(self, s):
        return s

    def conjugate_derivative(self, s):
        return ops.ones_like(s)

    def scaled(self, alpha) -> "Divergence":
        return self


@keras.saving.register_keras_serializable(_PACKAGE)
class Scaled(Divergence):
    """α·Ψ, whose conjugate is α·Ψ*(s/α)."""

    def __init__(self, divergence: Divergence, alpha):
        if isinstance(alpha, (int, float)) and not alpha > 0:
            raise InputError(f"alpha={alpha} must be a positive number.")
        self.divergence = divergence
        self.alpha = alpha

    def conjugate(self, s):
        return self.alpha * self.divergence.conjugate(s / self.alpha)

    def conjugate_derivative(self, s):
        return self.divergence.conjugate_derivative(s / self.alpha)

    def potential(self, values):
        """See `potential_values`."""
        return self.alpha * potential_values(self.divergence, values / self.alpha)

    def get_config(self) -> dict:
        return {
            "divergence": keras.saving.serialize_keras_object(self.divergence),
            "alpha": float(self.alpha),
        }

    @classmethod
    def from_config(cls, config: dict) -> "Scaled":
        return cls(keras.saving.deserialize_keras_object(config["divergence"]), config["alpha"])


NAMES = {
    "kl": KL,
    "chi2": ChiSquared,
    "softplus": Softplus,
    "softplus_plain": lambda: Softplus(normalized=False),
    "jsd": JensenShannon,
    "balanced": Balanced,
}


def get(identifier: "str | Divergence") -> Divergence:
    """A divergence from its name (one of `NAMES`), or the object itself.

    Raises:
        InputError: no divergence has this name, or the object lacks the two methods.
    """
    if isinstance(identifier, str):
        if identifier not in NAMES:
            raise unknown_name("divergence", identifier, NAMES)
        return NAMES[identifier]()
    if all(callable(getattr(identifier, m, None)) for m in ("conjugate", "conjugate_derivative")):
        return identifier
    raise InputError(
        f"divergence={identifier!r} must be one of {', '.join(NAMES)} or an object with "
        "conjugate(s) and conjugate_derivative(s)."
    )


def potential_values(divergence: Divergence, values):
    """The potential v of a network's values.

    Most divergences take every value. One whose Ψ*(−v) is not finite everywhere has a
    method `potential(values)` that keeps v where it is.
    """
    plain = divergence.divergence if isinstance(divergence, Scaled) else divergence
    return divergence.potential(values) if hasattr(plain, "potential") else values
