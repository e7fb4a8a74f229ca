r"""Csiszár divergences, by the conjugates Ψ* that the semi-dual needs.

Unbalanced optimal transport relaxes a marginal by D_Ψ(π|μ) = E_μ[Ψ(dπ/dμ)] (UOTM,
arXiv 2305.14777, section 2). The semi-dual depends on Ψ only through its convex conjugate
Ψ*(s) = sup_r [s·r − Ψ(r)], which is convex, non-decreasing, and differentiable; its
derivative Ψ*' is the density of the relaxed marginal.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.typing import Tensor

_PACKAGE = "uotm_keras.divergences"


class Divergence:
    """Base class of divergences: a subclass defines `conjugate` and `conjugate_derivative`.

    Register the subclass with `keras.saving.register_keras_serializable` to save models
    that use it. Tensors may have any shape; both methods act elementwise.
    """

    def conjugate(self, s: Tensor) -> Tensor:
        """Return Ψ*(s)."""
        raise NotImplementedError

    def conjugate_derivative(self, s: Tensor) -> Tensor:
        """Return Ψ*'(s) ≥ 0, the density of the relaxed marginal."""
        raise NotImplementedError

    def scaled(self, alpha: Tensor) -> "Divergence":
        """Return α·Ψ for α > 0, a number or a scalar tensor; α → ∞ tends to balanced."""
        return Scaled(self, alpha)

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Divergence":
        return cls(**config)


@keras.saving.register_keras_serializable(_PACKAGE)
class KL(Divergence):
    """Kullback–Leibler: Ψ(r) = r·log r − r + 1, Ψ*(s) = exp(s) − 1."""

    def conjugate(self, s: Tensor) -> Tensor:
        return ops.expm1(s)

    def conjugate_derivative(self, s: Tensor) -> Tensor:
        return ops.exp(s)


@keras.saving.register_keras_serializable(_PACKAGE)
class ChiSquared(Divergence):
    """χ²: Ψ(r) = (r − 1)², Ψ*(s) = s²/4 + s for s ≥ −2 and −1 below."""

    def conjugate(self, s: Tensor) -> Tensor:
        s = ops.maximum(s, -2.0)
        return s * (0.25 * s + 1.0)

    def conjugate_derivative(self, s: Tensor) -> Tensor:
        return ops.maximum(0.5 * s + 1.0, 0.0)


@keras.saving.register_keras_serializable(_PACKAGE)
class Softplus(Divergence):
    """Ψ*(s) = 2·log(1 + eˢ) − 2·log 2, or log(1 + eˢ) with `normalized=False`.

    The normalized form has Ψ*(0) = 0 and Ψ*'(0) = 1 (UOTM-SD, arXiv 2310.02611); the plain
    form is that of the UOTM authors' released code.

    Args:
        normalized: Whether to use the normalized form. Defaults to `True`.
    """

    def __init__(self, normalized: bool = True):
        self.normalized = normalized

    def conjugate(self, s: Tensor) -> Tensor:
        plain = ops.softplus(s)
        return 2.0 * plain - 2.0 * math.log(2.0) if self.normalized else plain

    def conjugate_derivative(self, s: Tensor) -> Tensor:
        plain = ops.sigmoid(s)
        return 2.0 * plain if self.normalized else plain

    def get_config(self) -> dict[str, Any]:
        return {"normalized": self.normalized}


@keras.saving.register_keras_serializable(_PACKAGE)
class JensenShannon(Divergence):
    """Jensen–Shannon: Ψ(r) = r·log r − (1 + r)·log((1 + r)/2), Ψ*(s) = −log(2 − eˢ).

    Ψ* is finite only for s < log 2, and is continued by its tangent from log 2 − 1e-6 on. As
    the target's divergence it keeps the potential above −log 2 by v = softplus(w) − log 2,
    where w is the network's value. With a balanced source the potential's loss is then that of
    a GAN's discriminator, softplus(−w(y)) + softplus(w(T)), up to constants.

    Args:
        logits: Whether the generator's loss uses w in place of v, as the released JSD variant
            of S-JKO does. The potential is then best at w = log(p/q), with q the density of
            T(x, z) and p that of the data, and the plan is the one of KL. Defaults to `False`.

    Reference:
        f-GAN, Nowozin et al., 2016; the JSD variant of S-JKO, arXiv 2402.05443.
    """

    def __init__(self, logits: bool = False):
        self.logits = logits

    _END = math.log(2.0) - 1e-6
    _SLOPE = -0.5 * math.exp(_END) / math.expm1(-1e-6)

    def conjugate(self, s: Tensor) -> Tensor:
        inside = ops.minimum(s, self._END)
        curve = -math.log(2.0) - ops.log(-ops.expm1(inside - math.log(2.0)))
        return curve + self._SLOPE * ops.relu(s - self._END)

    def conjugate_derivative(self, s: Tensor) -> Tensor:
        inside = ops.minimum(s, self._END)
        return -0.5 * ops.exp(inside) / ops.expm1(inside - math.log(2.0))

    def potential(self, values: Tensor) -> Tensor:
        """Return the potential for a network's values; see `potential_values`."""
        return ops.softplus(values) - math.log(2.0)

    def get_config(self) -> dict[str, Any]:
        return {"logits": self.logits}


@keras.saving.register_keras_serializable(_PACKAGE)
class Balanced(Divergence):
    """The hard marginal: Ψ = 0 at r = 1 and ∞ elsewhere, Ψ*(s) = s."""

    def conjugate(self, s: Tensor) -> Tensor:
        return s

    def conjugate_derivative(self, s: Tensor) -> Tensor:
        return ops.ones_like(s)

    def scaled(self, alpha: Tensor) -> "Divergence":
        return self


@keras.saving.register_keras_serializable(_PACKAGE)
class Scaled(Divergence):
    """α·Ψ, whose conjugate is α·Ψ*(s/α).

    Args:
        divergence: Ψ.
        alpha: α > 0, a number or a scalar tensor.

    Raises:
        InputError: If `alpha` is a number and not positive.
    """

    def __init__(self, divergence: Divergence, alpha: Tensor):
        if isinstance(alpha, (int, float)) and not alpha > 0:
            raise InputError(f"alpha={alpha} must be a positive number.")
        self.divergence = divergence
        self.alpha = alpha

    def conjugate(self, s: Tensor) -> Tensor:
        return self.alpha * self.divergence.conjugate(s / self.alpha)

    def conjugate_derivative(self, s: Tensor) -> Tensor:
        return self.divergence.conjugate_derivative(s / self.alpha)

    def potential(self, values: Tensor) -> Tensor:
        """Return the potential for a network's values; see `potential_values`."""
        return self.alpha * potential_values(self.divergence, values / self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {
            "divergence": keras.saving.serialize_keras_object(self.divergence),
            "alpha": float(self.alpha),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Scaled":
        return cls(keras.saving.deserialize_keras_object(config["divergence"]), config["alpha"])


NAMES: dict[str, Callable[[], Divergence]] = {
    "kl": KL,
    "chi2": ChiSquared,
    "softplus": Softplus,
    "softplus_plain": lambda: Softplus(normalized=False),
    "jsd": JensenShannon,
    "jsd_logits": lambda: JensenShannon(logits=True),
    "balanced": Balanced,
}


def get(identifier: str | Divergence) -> Divergence:
    """Return a divergence from its name, or the object itself.

    Args:
        identifier: A name in `NAMES`, or a `Divergence`.

    Raises:
        InputError: If no divergence has this name, or the object is not a `Divergence` and
            lacks `conjugate` or `conjugate_derivative`.
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


def potential_values(divergence: Divergence, values: Tensor) -> Tensor:
    """Return the potential v for the values of a network.

    Most divergences accept any value. One whose Ψ*(−v) is not finite everywhere has a method
    `potential(values)` that maps the network's values to where it is.
    """
    plain = divergence.divergence if isinstance(divergence, Scaled) else divergence
    return getattr(divergence, "potential")(values) if hasattr(plain, "potential") else values  # noqa: B009


def generator_values(divergence: Divergence, values: Tensor) -> Tensor:
    """Return what the generator maximizes for the values of the potential's network.

    It is the potential, except for `JensenShannon(logits=True)`.
    """
    plain = divergence.divergence if isinstance(divergence, Scaled) else divergence
    return values if getattr(plain, "logits", False) else potential_values(divergence, values)
