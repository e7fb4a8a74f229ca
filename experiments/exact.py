"""Exact transport between finite clouds, by POT's solvers."""

import numpy as np

from uotm_keras import InputError


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
    """The plan of KL-unbalanced transport without entropy, and the optimum.

    By `ot.unbalanced.mm_unbalanced` (Chapel et al. 2021), with weights 1/n on both sides.
    """
    ot = _pot()
    p, q = (np.full(len(cloud), 1 / len(cloud)) for cloud in (x, y))
    cost = tau * ot.dist(np.asarray(x, float), np.asarray(y, float))
    plan = ot.unbalanced.mm_unbalanced(
        p, q, cost, reg_m=1.0, div="kl", numItermax=iterations, stopThr=1e-12
    )
    value = float(np.sum(plan * cost))
    value += kl(plan.sum(1), p) + kl(plan.sum(0), q)
    return plan, value


def kl(r: np.ndarray, p: np.ndarray) -> float:
    """Σ r log(r/p) − r + p, with 0 log 0 = 0."""
    ratio = np.where(r > 0, r / p, 1.0)
    return float(np.sum(r * np.log(ratio) - r + p))


def relaxed_plan(
    p: np.ndarray, q: np.ndarray, cost: np.ndarray, source_is_fixed: bool, iterations: int = 20_000
) -> tuple[np.ndarray, float]:
    """The plan of KL-unbalanced transport between two weightings, without entropy.

    Args:
        p, q: weights (n,) and (m,), positive, with sum 1.
        cost: (n, m).
        source_is_fixed: whether the plan's first marginal is p itself; else both are relaxed.
        iterations: of `ot.unbalanced.mm_unbalanced`, or of the steps below.

    Returns:
        The plan (n, m), and by how much it may be above the optimum (its duality gap).
    """
    ot = _pot()
    if not source_is_fixed:
        plan = ot.unbalanced.mm_unbalanced(
            p, q, cost, reg_m=1.0, div="kl", numItermax=iterations, stopThr=1e-13
        )
        column = plan.sum(0)
        g = -np.log(np.maximum(column / q, 1e-300))
        f = (cost - g).min(1)
        value = np.sum(plan * cost) + kl(plan.sum(1), p) + kl(column, q)
        return plan, float(value - p @ -np.expm1(-f) - q @ -np.expm1(-g))
    # Mirror descent by KL: with this step the objective never rises, which is relatively 1-smooth.
    plan, kernel = p[:, None] * q, np.exp(-cost)
    for _ in range(iterations):
        plan *= kernel * (q / plan.sum(0))
        plan *= (p / plan.sum(1))[:, None]
    r = plan.sum(0)
    g = -np.log(np.maximum(r / q, 1e-300))
    f = (cost - g).min(1)
    return plan, float(np.sum(plan * cost) + kl(r, q) - p @ f - q @ -np.expm1(-g))
