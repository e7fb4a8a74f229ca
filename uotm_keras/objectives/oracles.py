"""Exact transport between Gaussians, as a reference for trained models.

Computed with NumPy in float64. The closed form of KL-unbalanced transport follows from the
optimality conditions of Gaussian plans (Janati, Muzellec, Peyré, and Cuturi: "Entropic
optimal transport between unbalanced Gaussian measures has a closed form", NeurIPS 2020, here
without entropy). The balanced one is classical (Dowson and Landau, 1982).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from uotm_keras.utils.errors import InputError

__all__ = ["GaussianTransport", "gaussian_kl_uot", "gaussian_ot"]


class GaussianTransport(NamedTuple):
    """The optimal plan π between two Gaussians for the cost τ‖x − y‖².

    The plan is concentrated on the graph of the affine map
    x ↦ target_mean + matrix·(x − source_mean).

    Attributes:
        matrix: Matrix of the map, (d, d).
        source_mean, source_covariance: The plan's source marginal is `mass` times the
            Gaussian with this mean (d,) and covariance (d, d).
        target_mean, target_covariance: Likewise for its target marginal.
        mass: Total mass of the plan.
        value: Optimal value of the problem.
        relaxation: The part D(π₀|μ) + D(π₁|ν) of `value`.
    """

    matrix: np.ndarray
    source_mean: np.ndarray
    source_covariance: np.ndarray
    target_mean: np.ndarray
    target_covariance: np.ndarray
    mass: float
    value: float
    relaxation: float

    def map(self, x: np.ndarray) -> np.ndarray:
        """Return T(x) for points x, (B, d)."""
        return self.target_mean + (np.asarray(x) - self.source_mean) @ self.matrix.T


def gaussian_kl_uot(
    source_mean: ArrayLike,
    source_covariance: ArrayLike,
    target_mean: ArrayLike,
    target_covariance: ArrayLike,
    tau: float,
) -> GaussianTransport:
    """Compute unbalanced transport between N(a, A) and N(b, B), both marginals relaxed by KL.

    With t = 2τ, the map's matrix M is the symmetric positive definite solution of
    M(B⁻¹ + tI)M = A⁻¹ + tI.

    Args:
        source_mean: a, (d,).
        source_covariance: A, (d, d), symmetric positive definite.
        target_mean: b, (d,).
        target_covariance: B, (d, d), symmetric positive definite.
        tau: τ > 0.

    Raises:
        InputError: If τ is not positive, the dimensions differ, or a covariance is not
            symmetric positive definite.

    Example:

    >>> plan = gaussian_kl_uot([0.0], [[1.0]], [1.5], [[0.25]], tau=0.6)
    >>> round(plan.mass, 4), round(plan.value, 4)
    (0.7308, 0.5384)
    """
    a, A, b, B = _checked(source_mean, source_covariance, target_mean, target_covariance, tau)
    t, one = 2 * tau, np.eye(len(a))
    A_inverse, B_inverse = np.linalg.inv(A), np.linalg.inv(B)
    M = _positive_solution(B_inverse + t * one, A_inverse + t * one)
    delta = np.linalg.solve(one + t * (A + B), a - b)
    a_new, b_new = a - t * A @ delta, b + t * B @ delta
    A_new = _symmetric(np.linalg.inv(A_inverse + t * (one - M)))
    B_new = _symmetric(M @ A_new @ M)
    shift = M - one
    W = tau * (np.sum((a_new - b_new) ** 2) + np.trace(shift @ A_new @ shift))
    mass = math.exp(-(W + _kl(a_new, A_new, a, A) + _kl(b_new, B_new, b, B)) / 2)
    value = 2 * (1 - mass)
    return GaussianTransport(M, a_new, A_new, b_new, B_new, mass, value, value - mass * W)


def gaussian_ot(
    source_mean: ArrayLike,
    source_covariance: ArrayLike,
    target_mean: ArrayLike,
    target_covariance: ArrayLike,
    tau: float = 1.0,
) -> GaussianTransport:
    """Compute balanced transport between N(a, A) and N(b, B), whose `value` is τ·W₂².

    The arguments and errors are those of `gaussian_kl_uot`.
    """
    a, A, b, B = _checked(source_mean, source_covariance, target_mean, target_covariance, tau)
    M = _positive_solution(np.linalg.inv(B), np.linalg.inv(A))
    shift = M - np.eye(len(a))
    value = tau * (np.sum((a - b) ** 2) + np.trace(shift @ A @ shift))
    return GaussianTransport(M, a, A, b, B, 1.0, float(value), 0.0)


def _checked(
    source_mean: ArrayLike,
    source_covariance: ArrayLike,
    target_mean: ArrayLike,
    target_covariance: ArrayLike,
    tau: float,
) -> tuple[np.ndarray, ...]:
    if not (math.isfinite(tau) and tau > 0):
        raise InputError(f"tau={tau} must be a positive number.")
    given = {
        "source_mean": source_mean, "source_covariance": source_covariance,
        "target_mean": target_mean, "target_covariance": target_covariance,
    }  # fmt: skip
    arrays = {name: np.asarray(value, "float64") for name, value in given.items()}
    dim = arrays["source_mean"].size
    for name, array in arrays.items():
        shape = (dim, dim) if name.endswith("covariance") else (dim,)
        if array.shape != shape:
            raise InputError(
                f"{name} of shape {array.shape} must have the shape {shape}, as source_mean has "
                f"{dim} values."
            )
        if len(shape) == 2 and not (
            np.allclose(array, array.T) and np.linalg.eigvalsh(array).min() > 0
        ):
            raise InputError(f"{name} must be a symmetric positive definite matrix.")
    return tuple(arrays.values())


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2


def _root(matrix: np.ndarray, power: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(_symmetric(matrix))
    return (vectors * values**power) @ vectors.T


def _positive_solution(P: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Return the symmetric positive definite M with M P M = Q."""
    root, inverse = _root(P, 0.5), _root(P, -0.5)
    return _symmetric(inverse @ _root(root @ Q @ root, 0.5) @ inverse)


def _kl(
    mean: np.ndarray, covariance: np.ndarray, reference_mean: np.ndarray, reference: np.ndarray
) -> float:
    """Return the KL divergence of N(mean, covariance) from N(reference_mean, reference)."""
    ratio = np.linalg.solve(reference, covariance)
    difference = mean - reference_mean
    quadratic = difference @ np.linalg.solve(reference, difference)
    return float(np.trace(ratio) + quadratic - len(mean) - np.linalg.slogdet(ratio)[1]) / 2
