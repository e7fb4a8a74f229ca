"""Exact transport between finite clouds, by POT's solvers."""

import numpy as np

from uotm_keras import InputError

FIXED_SOURCE = {"uotm": False, "fixed_mu": True}
"""Methods whose solution is a `relaxed_plan`: whether their source marginal is fixed."""


def _pot():
    try:
        import ot
    except ImportError:
        raise InputError(
            "exact transport needs POT, which is not installed: pip install pot, or '.[dev]'."
        ) from None
    return ot


def squared_w2(x: np.ndarray, y: np.ndarray) -> float:
    """W₂² of two clouds of equal weights, by `ot.emd2`."""
    ot = _pot()
    return float(ot.emd2([], [], ot.dist(np.asarray(x, float), np.asarray(y, float))))


def matching(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The index of y that the optimal plan (squared distances) gives each x; as many of both."""
    ot = _pot()
    plan = ot.emd([], [], ot.dist(np.asarray(x, float), np.asarray(y, float)))
    return plan.argmax(1)


def unbalanced_plan(
    x: np.ndarray, y: np.ndarray, tau: float, iterations: int = 200_000
) -> tuple[np.ndarray, float]:
    """The plan of KL-unbalanced transport between clouds of equal weights, and the optimum."""
    p, q = (np.full(len(cloud), 1 / len(cloud)) for cloud in (x, y))
    cost = tau * _pot().dist(np.asarray(x, float), np.asarray(y, float))
    return relaxed_plan(p, q, cost, False, iterations)[:2]


def relaxed_plan(
    p: np.ndarray, q: np.ndarray, cost: np.ndarray, source_is_fixed: bool, iterations: int = 20_000
) -> tuple[np.ndarray, float, float]:
    """The plan of KL-unbalanced transport between two weightings, without entropy.

    By `ot.unbalanced.mm_unbalanced` (Chapel et al. 2021); with a fixed source by mirror descent.

    Args:
        p, q: weights (n,) and (m,), positive, with sum 1.
        cost: (n, m).
        source_is_fixed: whether the plan's first marginal is p itself; else both are relaxed.
        iterations: of either.

    Returns:
        The plan (n, m), its value, and by how much that may be above the optimum.
    """
    if source_is_fixed:
        # With this step the objective, relatively 1-smooth to KL, never rises.
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
    # The dual's value at the potentials that the second marginal gives.
    g = -np.log(np.maximum(column / q, 1e-300))
    f = (cost - g).min(1)
    dual = q @ -np.expm1(-g)
    if source_is_fixed:
        return plan, value, float(value - dual - p @ f)
    value += kl(row, p)
    return plan, value, float(value - dual - p @ -np.expm1(-f))


def generated(plan: np.ndarray, p: np.ndarray) -> np.ndarray:
    """What a generator makes of x drawn from p, (m,): not the plan's own second marginal."""
    return p @ (plan / np.maximum(plan.sum(1, keepdims=True), 1e-300))


def kl(r: np.ndarray, p: np.ndarray) -> float:
    """Σ r log(r/p) − r + p, with 0 log 0 = 0."""
    ratio = np.where(r > 0, r / p, 1.0)
    return float(np.sum(r * np.log(ratio) - r + p))
