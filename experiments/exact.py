"""Exact transport between finite point clouds, computed with POT."""

from types import ModuleType

import numpy as np

from uotm_keras import InputError

FIXED_SOURCE = {"uotm": False, "fixed_mu": True}
"""Methods whose exact solution is a `relaxed_plan`, and whether their source marginal is fixed."""


def _pot() -> ModuleType:
    try:
        import ot
    except ImportError:
        raise InputError(
            "Exact transport needs POT, which is not installed; run pip install pot or "
            "pip install '.[dev]'."
        ) from None
    return ot


def squared_w2(x: np.ndarray, y: np.ndarray) -> float:
    """Return W₂² between two clouds with equal weights, computed by `ot.emd2`."""
    ot = _pot()
    return float(ot.emd2([], [], ot.dist(np.asarray(x, float), np.asarray(y, float))))


def matching(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return, for each x, the index of the y that the optimal plan assigns to it.

    The cost is the squared distance; both clouds have the same number of points.
    """
    ot = _pot()
    plan = ot.emd([], [], ot.dist(np.asarray(x, float), np.asarray(y, float)))
    return plan.argmax(1)


def unbalanced_plan(
    x: np.ndarray, y: np.ndarray, tau: float, iterations: int = 200_000
) -> tuple[np.ndarray, float]:
    """Return the KL-unbalanced plan between clouds with equal weights, and its value."""
    p, q = (np.full(len(cloud), 1 / len(cloud)) for cloud in (x, y))
    cost = tau * _pot().dist(np.asarray(x, float), np.asarray(y, float))
    return relaxed_plan(p, q, cost, False, iterations)[:2]


def relaxed_plan(
    p: np.ndarray, q: np.ndarray, cost: np.ndarray, source_is_fixed: bool, iterations: int = 20_000
) -> tuple[np.ndarray, float, float]:
    """Return the plan of KL-unbalanced transport without entropic regularization.

    Two relaxed marginals are solved by `ot.unbalanced.mm_unbalanced`, a fixed source marginal by
    mirror descent.

    Args:
        p, q: weights of shape (n,) and (m,), positive, with sum 1.
        cost: array of shape (n, m).
        source_is_fixed: bool. Whether the plan's first marginal must equal p. Otherwise both
            marginals are relaxed.
        iterations: int, the number of solver iterations.

    Returns:
        The plan of shape (n, m), its value, and its duality gap: an upper bound on the distance
        of this value from the optimum.

    Reference:
        Chapel et al. 2021 (arXiv 2106.04145).
    """
    if source_is_fixed:
        # The objective is 1-smooth relative to KL, so that this step never increases it.
        plan, kernel = p[:, None] * q, np.exp(-cost)
        for _ in range(iterations):
            plan *= kernel * (q / plan.sum(0))
            plan *= (p / plan.sum(1))[:, None]
    else:
        plan = _pot().unbalanced.mm_unbalanced(
            p, q, cost, reg_m=1.0, div="kl", numItermax=iterations, stopThr=1e-12
        )
    row, column = plan.sum(1), plan.sum(0)
    value = float(np.sum(plan * cost) + kl(column, q))
    # The dual value of the potentials that the second marginal determines.
    g = -np.log(np.maximum(column / q, 1e-300))
    f = (cost - g).min(1)
    dual = q @ -np.expm1(-g)
    if source_is_fixed:
        return plan, value, float(value - dual - p @ f)
    value += kl(row, p)
    return plan, value, float(value - dual - p @ -np.expm1(-f))


def generated(plan: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the distribution (m,) of T(x) for x drawn from p.

    It differs from the plan's second marginal unless the first marginal is p.
    """
    return p @ (plan / np.maximum(plan.sum(1, keepdims=True), 1e-300))


def kl(r: np.ndarray, p: np.ndarray) -> float:
    """Return Σ r log(r/p) − r + p, with 0 log 0 = 0."""
    ratio = np.where(r > 0, r / p, 1.0)
    return float(np.sum(r * np.log(ratio) - r + p))
