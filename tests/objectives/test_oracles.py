"""Closed forms between Gaussians, against certificates of optimality and POT."""

import numpy as np
import ot
import pytest

import uotm_keras as uk
from uotm_keras.objectives import oracles


def pair(dim, seed=0):
    rng = np.random.default_rng(seed)

    def covariance():
        root = rng.normal(size=(dim, 2 * dim))
        return root @ root.T / (2 * dim)

    return rng.normal(size=dim), covariance(), rng.normal(size=dim), covariance()


def log_density(points, mean, covariance):
    centred = points - mean
    quadratic = np.sum(centred * np.linalg.solve(covariance, centred.T).T, axis=1)
    return -(quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2


def test_published_example():
    exact = oracles.gaussian_kl_uot([0.0], [[1.0]], [1.5], [[0.25]], 0.6)
    np.testing.assert_allclose(exact.matrix, [[0.65044]], atol=5e-6)
    np.testing.assert_allclose(exact.source_mean, [0.72], atol=5e-6)
    np.testing.assert_allclose(exact.target_mean, [1.32], atol=5e-6)
    np.testing.assert_allclose(exact.source_covariance, [[0.70449]], atol=5e-6)
    np.testing.assert_allclose(exact.target_covariance, [[0.29805]], atol=5e-6)
    assert exact.mass == pytest.approx(0.73080, abs=5e-6)
    assert exact.value == pytest.approx(0.53840, abs=5e-6)


@pytest.mark.parametrize("dim", [1, 2, 5, 16])
@pytest.mark.parametrize("tau", [0.02, 0.6])
def test_kl_uot_is_certified_by_duality(dim, tau):
    """Feasible dual functions and a plan of the same value: both are optimal."""
    a, A, b, B = pair(dim, dim)
    exact = oracles.gaussian_kl_uot(a, A, b, B, tau)
    m = exact.mass

    def f(x):
        relaxed = log_density(x, exact.source_mean, exact.source_covariance)
        return -np.log(m) - relaxed + log_density(x, a, A)

    def g(y):
        relaxed = log_density(y, exact.target_mean, exact.target_covariance)
        return -np.log(m) - relaxed + log_density(y, b, B)

    rng = np.random.default_rng(1)
    x, y = 3 * rng.normal(size=(2, 4000, dim))
    cost = tau * np.sum((x - y) ** 2, axis=1)
    assert np.all(f(x) + g(y) <= cost + 1e-8 * (1 + cost))
    moved = exact.map(x)
    on_graph = tau * np.sum((x - moved) ** 2, axis=1)
    np.testing.assert_allclose(f(x) + g(moved), on_graph, rtol=1e-8, atol=1e-8)
    # ∫(1 − e^−f)dμ + ∫(1 − e^−g)dν, where e^−f is dπ₀/dμ, of mass m.
    assert exact.value == pytest.approx(2 * (1 - m), rel=1e-12)
    # The plan's own value: on its support the cost is f + g.
    points = rng.multivariate_normal(exact.source_mean, exact.source_covariance, 200_000)
    shift = exact.map(points) - points
    spent = m * tau * np.mean(np.sum(shift**2, axis=1))
    assert spent + exact.relaxation == pytest.approx(exact.value, rel=5e-3)
    image = np.cov(exact.map(points).T).reshape(dim, dim)
    np.testing.assert_allclose(image, exact.target_covariance, atol=0.02 * np.trace(B))


def test_kl_uot_against_a_discrete_solver():
    grid = np.linspace(-5, 5, 91)
    p, q = np.exp(-(grid**2) / 2), np.exp(-((grid - 1.5) ** 2) / 0.5)
    p, q = p / p.sum(), q / q.sum()
    cost = 0.6 * (grid[:, None] - grid[None]) ** 2
    plan = ot.unbalanced.mm_unbalanced(
        p, q, cost, reg_m=1.0, div="kl", numItermax=20_000, stopThr=1e-10
    )
    exact = oracles.gaussian_kl_uot([0.0], [[1.0]], [1.5], [[0.25]], 0.6)
    assert plan.sum() == pytest.approx(exact.mass, rel=5e-3)
    assert plan.sum(1) @ grid / plan.sum() == pytest.approx(exact.source_mean[0], abs=0.01)
    assert plan.sum(0) @ grid / plan.sum() == pytest.approx(exact.target_mean[0], abs=0.01)


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_balanced_transport_is_pots(dim):
    a, A, b, B = pair(dim, dim)
    exact = oracles.gaussian_ot(a, A, b, B, 0.3)
    matrix, _ = ot.gaussian.bures_wasserstein_mapping(a, b, A, B)
    np.testing.assert_allclose(exact.matrix, matrix, rtol=1e-6, atol=1e-9)
    distance = ot.gaussian.bures_wasserstein_distance(a, b, A, B)
    assert exact.value == pytest.approx(0.3 * float(distance) ** 2, rel=1e-6)
    np.testing.assert_allclose(exact.map(a[None]), b[None])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([0.0], [[1.0]], [0.0], [[1.0]], 0.0), "tau=0.0 must be a positive"),
        (([0.0], [[1.0]], [0.0, 1.0], [[1.0]], 1.0), r"target_mean of shape \(2,\) must have"),
        (([0.0], [[1.0]], [0.0], [[-1.0]], 1.0), "target_covariance must be a symmetric positive"),
    ],
)
def test_mistakes(arguments, message):
    for solve in (oracles.gaussian_kl_uot, oracles.gaussian_ot):
        with pytest.raises(uk.InputError, match=message):
            solve(*arguments)
