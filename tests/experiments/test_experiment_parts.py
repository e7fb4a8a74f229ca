"""The measurements of the experiments, checked against exact answers."""

import dataclasses

import keras
import numpy as np
import pytest

import uotm_keras as uk
from experiments import (
    benchmark_pair,
    clouds,
    exact,
    gaussians,
    methods,
    mixture,
    outliers,
    planar_sets,
    released,
)
from experiments.results import Table, over_seeds
from uotm_keras import presets
from uotm_keras.data.toys import toy
from uotm_keras.objectives import oracles


def exact_model(transport, a, A, b, B, tau, divergence):
    """Return a two-dimensional UOTM whose map is the optimal one."""
    model = presets.point_cloud(
        2, tau, source_divergence=divergence, target_divergence=divergence, width=4
    )
    for network in (model.generator, model.ema_generator, model.potential):
        network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    for network in (model.generator, model.ema_generator):
        network.get_layer("linear").set_weights([transport.matrix.T])
        network.get_layer("head_1").bias.assign(
            transport.target_mean - transport.matrix @ transport.source_mean
        )
    return model


class Quadratic(keras.layers.Layer):
    """½ yᵀPy − yᵀq + r."""

    def __init__(self, P, q, r):
        super().__init__()
        self.P, self.q, self.r = (np.asarray(value, "float32") for value in (P, q, r))

    def call(self, y):
        ops = keras.ops
        form = 0.5 * ops.sum(ops.matmul(y, ops.convert_to_tensor(self.P)) * y, axis=-1)
        linear = ops.sum(y * ops.convert_to_tensor(self.q), axis=-1)
        return (form - linear + float(self.r))[:, None]


def test_evaluation_at_the_optimum_matches_the_closed_form():
    a, A, b, B = [0.0, 0.3], [[1.0, 0.4], [0.4, 0.7]], [0.8, -0.5], [[0.5, -0.1], [-0.1, 0.9]]
    tau = 0.4
    optimum = oracles.gaussian_kl_uot(a, A, b, B, tau)
    model = exact_model(optimum, a, A, b, B, tau, "kl")
    # v = −log dπ₁/dν, a difference of two Gaussians' log densities.
    relaxed, given = np.linalg.inv(optimum.target_covariance), np.linalg.inv(B)
    P = relaxed - given
    q = relaxed @ optimum.target_mean - given @ b
    r = (optimum.target_mean @ relaxed @ optimum.target_mean - b @ given @ b) / 2
    r += (np.linalg.slogdet(given)[1] - np.linalg.slogdet(relaxed)[1]) / 2 - np.log(optimum.mass)
    y_in = keras.Input((2,))
    model.potential = keras.Model(y_in, Quadratic(P, q, r)(y_in))
    rng = np.random.default_rng(0)
    x = clouds.gaussian(a, A)(rng, 100_000)
    y = clouds.gaussian(b, B)(rng, 100_000)
    found = clouds.evaluate(model, x, y)
    np.testing.assert_allclose(found.moved, optimum.map(x), atol=1e-4)
    assert found.mass == pytest.approx(optimum.mass, rel=5e-3)
    assert found.value == pytest.approx(optimum.value, rel=1e-2)
    assert found.divergence == pytest.approx(optimum.relaxation, rel=2e-2)
    weights = gaussians.density_ratio(x, optimum.source_mean, optimum.source_covariance, a, A)
    ratio = found.source.weights / weights
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)
    errors = gaussians.moment_errors(x, weights, optimum.source_mean, optimum.source_covariance)
    assert errors["mean"] < 1.0 and errors["covariance"] < 2.0
    wrong = gaussians.moment_errors(x, np.ones(len(x)), a, 2 * np.array(A))
    assert wrong["covariance"] == pytest.approx(50, abs=2)


@pytest.mark.parametrize("kind", ["kl", "balanced"])
def test_exact_potential_has_the_exact_value_up_to_sampling_error(kind):
    exact = gaussians.solution(2, kind, 0, 0.3)
    found = gaussians.sampled_value(2, kind, 0, 0.3, 1_000_000)
    assert found == pytest.approx(exact.value, rel=5e-3)
    few = gaussians.sampled_value(2, kind, 0, 0.3, 1_000)
    assert 1e-4 < abs(few / exact.value - 1) < 0.2


@pytest.mark.one_backend("jax")
def test_recommended_setting_finds_a_map():
    a, A, b, B = gaussians.pair(2, 0)
    optimum = oracles.gaussian_ot(a, A, b, B)
    keras.utils.set_random_seed(0)
    # A higher learning rate than the default, because training is so short.
    model = presets.point_cloud(2, iterations=600, width=32, learning_rate=4e-3)
    source, target = clouds.gaussian(a, A), clouds.gaussian(b, B)
    clouds.train(model, source, target, 600, 128, seed=0)
    assert int(model.step) == 600
    x = source(np.random.default_rng(5), 2_000)
    identity = clouds.l2_uvp(x, optimum.map(x), np.trace(B))
    trained = clouds.l2_uvp(clouds.transport(model, x), optimum.map(x), np.trace(B))
    assert trained < 2 < 20 < identity


@pytest.mark.parametrize("source_is_fixed", [True, False])
def test_relaxed_plans_are_optimal(source_is_fixed):
    rng = np.random.default_rng(0)
    p, q = (rng.dirichlet(np.ones(n)) for n in (30, 20))
    cost = np.square(rng.normal(size=(30, 1)) - rng.normal(1, 1, size=20))
    plan, _, gap = exact.relaxed_plan(p, q, cost, source_is_fixed)
    assert 0 <= gap + 1e-9 < 1e-5
    assert np.allclose(plan.sum(1), p, atol=1e-9) == source_is_fixed
    assert exact.kl(plan.sum(0), q) > 0.01


def test_training_is_reproducible():
    moved = []
    for _ in range(2):
        model = methods.build("uotm", 1, 0.1, 3, width=4, seed=3)
        clouds.train(
            model, clouds.gaussian([0.0], [[1.0]]), clouds.gaussian([1.0], [[1.0]]), 3, 8, seed=3
        )
        moved.append(clouds.transport(model, np.zeros((5, 1)), seed=1))
    np.testing.assert_array_equal(*moved)


def test_l2_uvp():
    exact_images = np.zeros((4, 2))
    assert clouds.l2_uvp(exact_images + [0.1, 0.0], exact_images, 2.0) == pytest.approx(0.5)


@pytest.mark.parametrize("name, good", [("8gaussians", 1 - np.exp(-4.5)), ("checkerboard", 1.0)])
def test_real_data_fit_their_dataset(name, good):
    fit = planar_sets.fit(name, toy(name, 20_000, seed=4).points)
    assert fit.good == pytest.approx(good, abs=3e-3)
    assert fit.found == fit.modes == 8


def test_fit_detects_missing_modes():
    points = toy("25gaussians", 20_000).points
    assert planar_sets.fit("25gaussians", points).found == 25
    assert planar_sets.fit("25gaussians", points[points[:, 0] > -1]).found == 15
    spiral = toy("spiral", 20_000).points
    whole = planar_sets.fit("spiral", spiral)
    assert whole.found == 12 and whole.good > 0.95
    middle = planar_sets.fit("spiral", spiral[np.linalg.norm(spiral, axis=1) < 2])
    assert middle.found == 3  # A quarter of the mass of the arm.
    assert planar_sets.fit("spiral", spiral + 10).good == 0
    noise = np.random.default_rng(0).uniform(-4, 4, (20_000, 2))
    assert planar_sets.fit("checkerboard", noise).good == pytest.approx(0.5, abs=0.02)


def test_exact_transport():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 1))
    assert exact.squared_w2(x, y) == pytest.approx(np.mean((np.sort(x, 0) - np.sort(y, 0)) ** 2))
    # One point each at distance 2: mass e^(−c/2), value 2(1 − e^(−c/2)).
    plan, value = exact.unbalanced_plan(np.array([[0.0]]), np.array([[2.0]]), 0.3, 2_000)
    assert plan.sum() == pytest.approx(np.exp(-0.6), rel=1e-6)
    assert value == pytest.approx(2 * (1 - np.exp(-0.6)), rel=1e-6)


def test_histogram_divergence():
    real = toy("mixture_1d", 200_000, seed=7).points[:, 0]
    assert 0 < mixture.divergence(mixture.shares(real)) < 2e-3
    rng = np.random.default_rng(0)
    grid = np.linspace(-6, 6, 200_001)
    density = np.exp(-((grid - 0.5) ** 2) / 2) / np.sqrt(2 * np.pi)
    data = 2 / 3 * np.exp(-2 * (grid - 2) ** 2) + 1 / 3 * np.exp(-2 * (grid + 1) ** 2)
    data /= np.sqrt(np.pi / 2)
    expected = np.sum(density * np.log(density / data)) * (grid[1] - grid[0])
    found = mixture.divergence(mixture.shares(0.5 + rng.normal(size=400_000)))
    assert found == pytest.approx(expected, rel=0.01)


def test_weighted_shares():
    points, weights = np.array([-100.0, 0.01, 0.02, 100.0]), np.array([1.0, 2.0, 3.0, 4.0])
    found = mixture.shares(points, weights)
    assert found[[0, -1]] == pytest.approx([0.1, 0.4]) and found.max() == pytest.approx(0.5)
    assert found.sum() == pytest.approx(1.0)


def test_exact_mixture_satisfies_the_bound():
    """D_KL(π₁ | ν) ≤ τ·W₂²; with a fixed source, T(x) is distributed as the marginal."""
    generated, marginal, gap = mixture.exact_solution("fixed_mu", 0.1)
    names = "mixture_1d_source", "mixture_1d"
    x, y = (np.sort(toy(name, 200_000).points[:, 0].astype(float)) for name in names)
    assert generated == pytest.approx(marginal, rel=1e-3) and gap < 1e-4
    assert 0.02 < marginal < 0.1 * np.mean((x - y) ** 2)


def test_exact_outliers_at_the_published_cost():
    """At ½τ fixed-μ generates 1.5 % at the outliers, as docs/reproduction.md says."""
    share, weight, gap = outliers.exact_solution("fixed_mu", 0.05, -1.0)
    assert share == pytest.approx(0.015, abs=2e-4) and gap < 1e-4
    # With a fixed source, what is generated is the target marginal.
    assert weight == pytest.approx(share / 0.01, rel=1e-3)


def test_over_seeds_and_tables():
    runs = [{"m": "a", "seed": s, "x": float(v)} for s, v in enumerate([1, 2, 3])]
    (row,) = over_seeds([*runs], ["m"])
    assert row["x"] == 2 and row["x_sd"] == 1 and row["seeds"] == 3
    diverged = {"m": "a", "seed": 3, "x": float("nan")}
    (other,) = over_seeds([*runs, diverged], ["m"])
    assert other == row | {"seeds": 4, "x_of": " (3 of 4 runs)"}
    assert "| 2.0 ± 1.0 (3 of 4 runs) |" in Table({"x": ("value", ".1f")}, [other]).markdown()
    assert np.isnan(over_seeds([diverged], ["m"])[0]["x"])
    lines = Table({"m": ("method", ""), "x": ("value", ".1f"), "y": ("none", "")}, [row]).markdown()
    assert lines.splitlines()[-1] == "| a | 2.0 ± 1.0 | – |"


def test_methods_differ_only_in_arguments():
    models = {name: methods.build(name, 2, 0.1, 100, width=4) for name in methods.METHODS}
    first = models["uotm"].generator.get_weights()
    for model in models.values():
        for mine, other in zip(model.generator.get_weights(), first, strict=True):
            np.testing.assert_array_equal(mine, other)
    assert models["wgan_gp"].cost.tau == 0 and models["wgan_gp"].gradient_penalty.weight == 10
    assert isinstance(models["otm"].source_divergence, uk.divergences.Balanced)
    assert isinstance(models["fixed_mu"].source_divergence, uk.divergences.Balanced)
    assert isinstance(models["fixed_mu"].target_divergence, uk.divergences.KL)
    assert float(models["uotm_sd"].divergence_schedule(75)) == pytest.approx(5.0)
    # Each of the five phases has the cost of the other methods, τ‖x − y‖².
    assert isinstance(models["sjko"], uk.SJKO) and models["sjko"].phase_steps == 20
    assert models["sjko"].cost.tau == pytest.approx(models["uotm"].cost.tau)


@pytest.mark.parametrize("dim", [2, 16])
def test_benchmark_recommends_the_preset(dim):
    preset = presets.point_cloud(dim, iterations=100)
    ours = benchmark_pair.build(benchmark_pair.Setting(), dim, 100, 0)
    for one, two in ((preset.generator, ours.generator), (preset.potential, ours.potential)):
        mine, other = one.get_config(), two.get_config()
        assert {**mine, "name": ""} == {**other, "name": ""}
    for attribute in ("generator_steps", "potential_steps", "ema_decay"):
        assert getattr(preset, attribute) == getattr(ours, attribute)
    assert type(preset.gradient_penalty) is type(ours.gradient_penalty)
    assert preset.gradient_penalty.get_config() == ours.gradient_penalty.get_config()
    for which in ("generator_optimizer", "potential_optimizer"):
        mine, other = (getattr(m, which).get_config() for m in (preset, ours))
        assert {**mine, "name": ""} == {**other, "name": ""}


@pytest.mark.one_backend
def test_nearest_neighbor_estimate_of_a_known_divergence():
    """D_KL(N(0, 1) ‖ N(1, 2²)) = log 2 + (1 + 1)/8 − ½."""
    x, y = np.random.default_rng(0).normal(size=(2, 20_000, 1))
    found = mixture.nearest_neighbor_divergence(x, 1 + 2 * y)
    assert found == pytest.approx(np.log(2) - 0.25, abs=0.04)


@pytest.mark.one_backend
def test_the_released_settings():
    options = released.COMMAND.defaults
    for name, penalty, steps in (("uotm", 0.01, 5), ("all_three", 0.0, 1), ("otm", 0.0, 5)):
        setting = released.SETTINGS["outliers"][name]
        model = released.build(setting, 0.1, dataclasses.replace(options, width=4), 0)
        assert model.cost.tau == 0.05 and model.potential_steps == steps
        assert getattr(model.gradient_penalty, "weight", 0.0) == penalty
    assert released.SETTINGS["mixture"]["uotm"].solves == ("fixed_mu", 2.0)
    assert released.stopped([[1, 2.0], [2, 3.0], [3, 3.0]]) == 2
    assert np.isnan(released.stopped([[1, 2.0], [2, 3.0], [3, 4.0]]))
