"""The loss over all pairs: which problem it solves, and the weights and masses of that problem."""

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from keras import ops

import uotm_keras as uk
from uotm_keras.objectives import divergences
from uotm_keras.objectives.semi_dual import SemiDual

CONJUGATES = {
    "kl": np.expm1,
    "chi2": lambda s: np.where(s >= -2, s**2 / 4 + s, -1),
    "softplus": lambda s: 2 * np.logaddexp(0, s) - 2 * np.log(2),
    "balanced": lambda s: s,
}


@pytest.mark.parametrize("source", CONJUGATES)
@pytest.mark.parametrize("target", CONJUGATES)
def test_at_the_best_potential_weights_make_the_data_what_is_generated(source, target):
    """On a line of six points, where SciPy minimizes the loss over v itself."""
    if source == target == "balanced":
        pytest.skip("the loss of v is linear: the generator must fit the data exactly")
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.full(6, 60.0), 2)  # softplus needs q < 2p
    costs = rng.uniform(0, 1.5, 40)

    def loss(v):
        fake = CONJUGATES[source](v[:, None] - costs).mean(axis=1)
        return q @ fake + p @ CONJUGATES[target](-v)

    best = scipy.optimize.minimize(loss, np.zeros(6), options={"gtol": 1e-7}).x
    objective = SemiDual(
        uk.costs.Quadratic(), *map(divergences.get, (source, target)), pairing="all_pairs"
    )
    density = objective.target_density(
        ops.convert_to_tensor(best, "float32"), ops.convert_to_tensor(costs, "float32")
    )
    np.testing.assert_allclose(p * ops.convert_to_numpy(density), q, rtol=2e-3)


def fixed_source_plan(m, s, tau, weight):
    """Transport of N(0, 1), kept, to N(m, s²), relaxed by weight·KL: slope and mean of the map.

    The relaxed marginal is N(b, M²). With v = −weight·log(dπ₁/dν), the map's first-order
    condition 2τ(T(x) − x) = v'(T(x)) is linear in x: its two coefficients give M and b.
    """
    t, r = 2 * tau, weight / s**2
    slope = (t + np.sqrt(t**2 + 4 * weight * (r + t))) / (2 * (r + t))
    return slope, r * m / (r + t)


def flat(network) -> np.ndarray:
    return np.concatenate([np.ravel(weights) for weights in network.get_weights()])


M, S, TAU = 1.5, 0.5, 0.6


def points_model(slope=1.0, mean=0.0, form=(0.0, 0.0, 0.0), **arguments):
    """A model whose map is affine and whose potential is a quadratic."""
    x, y = keras.Input((1,)), keras.Input((1,))
    generator = keras.Model(x, keras.layers.Dense(1)(x))
    generator.set_weights([np.array([[slope]]), np.array([mean])])
    powers = ops.concatenate([y, y**2], axis=-1)
    potential = keras.Model(y, keras.layers.Dense(1)(powers))
    potential.set_weights([np.reshape(form[1:], (2, 1)), np.array(form[:1])])
    return uk.UOTM(
        generator, potential, cost=uk.costs.Quadratic(TAU), gradient_penalty=None, source="data",
        ema_decay=0.0, **arguments,
    )  # fmt: skip


OBJECTIVES = {
    "all_pairs": {"pairing": "all_pairs"},
    "halved": {"source_divergence": "balanced",
               "target_divergence": divergences.Scaled(divergences.KL(), 0.5)},
}  # fmt: skip


def test_the_closed_form_is_the_exact_solver_s():
    """Between fine grids, by mirror descent; ½·KL with c is KL with 2c."""
    from experiments import exact

    x = np.linspace(-4, 4, 120)
    y = np.linspace(M - 6 * S, M + 6 * S, 120)
    p, q = np.exp(-(x**2) / 2), np.exp(-(((y - M) / S) ** 2) / 2)
    p, q = p / p.sum(), q / q.sum()
    plan, _, gap = exact.relaxed_plan(p, q, 2 * TAU * (x[:, None] - y) ** 2, True, 4_000)
    slope, mean = fixed_source_plan(M, S, TAU, 0.5)
    middle = np.abs(x) < 2
    moved = (plan @ y / plan.sum(1))[middle]
    assert gap < 1e-3
    np.testing.assert_allclose(moved, mean + slope * x[middle], atol=0.03)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_closed_form_is_stationary_for_both_objectives(name):
    """Neither player moves from the plan of fixed-μ with ½·KL; the weights are the plan's."""
    slope, mean = fixed_source_plan(M, S, TAU, 0.5)
    x = scipy.special.ndtri((np.arange(1_000)[:, None] + 0.5) / 1_000)  # quantiles
    y = (M + S * x).astype("float32")
    moved = mean + slope * x
    # v = ½·log(dν/dπ₁), a difference of two log densities of Gaussians.
    form = 0.5 * np.array(
        [
            (mean / slope) ** 2 / 2 - (M / S) ** 2 / 2 + np.log(slope / S),
            M / S**2 - mean / slope**2,
            1 / (2 * slope**2) - 1 / (2 * S**2),
        ]
    )
    if name == "all_pairs":
        form[0] -= 0.5 * np.log(np.mean(np.exp(-TAU * (moved - x) ** 2)))
    model = points_model(slope, mean, form, **OBJECTIVES[name])
    rate = 0.01
    model.compile(keras.optimizers.SGD(rate), keras.optimizers.SGD(rate))
    logs = model.update_potential(y, x.astype("float32"))
    model.update_generator(x.astype("float32"))
    moves = flat(model.potential) - form[[1, 2, 0]], flat(model.generator) - [slope, mean]
    assert np.abs(np.concatenate(moves)).max() / rate < 0.03
    assert float(logs["source_mass"]) == pytest.approx(1.0, abs=1e-5)
    assert float(logs["target_mass"]) == pytest.approx(1.0, abs=0.03)

    model = points_model(slope, mean, form, **OBJECTIVES[name])
    some = np.linspace(0, 2, 9, dtype="float32")[:, None]
    density = (S / slope) * np.exp(((some - M) / S) ** 2 / 2 - ((some - mean) / slope) ** 2 / 2)
    costs = model.transport_costs(x)
    np.testing.assert_allclose(model.target_weights(some, costs=costs), density[:, 0], rtol=2e-3)
    np.testing.assert_array_equal(model.source_weights(some), 1.0)


@pytest.mark.one_backend
@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_finds_the_closed_form(name):
    """The paired objective would find a slope of 0.650 and a map of mean 0.85 at 0."""
    slope, mean = fixed_source_plan(M, S, TAU, 0.5)
    model = points_model(**OBJECTIVES[name])
    steps = 400
    model.compile(
        *(
            uk.optimizers.Adam(uk.schedules.CosineAnnealing(rate, 0, steps), 0.0, 0.9)
            for rate in (0.01, 0.05)
        )
    )
    # Quantiles instead of samples: no noise, and a bias of at most 0.024 from the tails.
    x = scipy.special.ndtri((np.arange(1_000)[:, None] + 0.5) / 1_000).astype("float32")
    for _ in range(steps):
        model.update_potential(M + S * x, x)
        model.update_generator(x)
    np.testing.assert_allclose(flat(model.generator), [slope, mean], atol=0.03)


def test_which_costs_the_weights_take():
    y = np.linspace(0, 2, 5, dtype="float32")[:, None]
    model = points_model(pairing="all_pairs")
    with pytest.raises(uk.InputError, match=r"costs=model.transport_costs\(source\)"):
        model.target_weights(y)
    # Unless the source is relaxed, the weights are those of the paired objective.
    balanced = points_model(pairing="all_pairs", source_divergence="balanced")
    np.testing.assert_array_equal(balanced.target_weights(y), np.ones(5))
    model.source = "gaussian"
    model.generator.set_weights([np.array([[0.5]]), np.array([1.0])])
    model.ema_generator.set_weights(model.generator.get_weights())
    found = model.target_weights(y)
    assert found[0] == pytest.approx(1 / np.exp(-model.transport_costs()).mean(), rel=1e-5)
    x = np.random.default_rng(3).normal(size=(100_000, 1))
    assert found[0] == pytest.approx(1 / np.exp(-TAU * (1 - 0.5 * x) ** 2).mean(), rel=0.1)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_of_the_source_weigh_both_sides_of_the_table(accumulate):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 8, 1)).astype("float32")
    weight = rng.uniform(0.5, 1.5, 8).astype("float32")
    slope, mean, form = 0.7, 0.4, np.array([0.1, -0.3, 0.2])
    model = points_model(slope, mean, form, pairing="all_pairs")
    model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0), accumulate=accumulate)
    logs = model.train_on_batch(x, y, sample_weight=(weight, np.ones(8)), return_dict=True)
    moved = mean + slope * x
    v_fake, v_real = (np.polyval(form[::-1], points)[:, 0] for points in (moved, y))
    k = np.mean(weight * np.exp(-TAU * (moved - x)[:, 0] ** 2))
    expected = np.mean(weight * np.exp(v_fake)) * k - weight.mean() ** 2
    expected += np.mean(np.expm1(-v_real))
    assert float(logs["potential_loss"]) == pytest.approx(expected, abs=1e-5)
    assert float(logs["target_mass"]) == pytest.approx(np.mean(np.exp(-2 * v_real)) / k, rel=1e-5)
    assert float(logs["source_mass"]) == pytest.approx(weight.mean(), rel=1e-5)
