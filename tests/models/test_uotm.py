"""The model: losses against arithmetic, training, sampling, saving."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.utils.seeds import sample_noise

SHAPE = (4, 4, 1)


def make(latent_dim=3, shape=SHAPE, **arguments) -> uk.UOTM:
    keras.utils.set_random_seed(0)
    generator = uk.networks.ResMLPGenerator(shape, latent_dim, width=16, blocks=1)
    potential = uk.networks.ResMLPPotential(shape, width=16, blocks=1)
    model = uk.UOTM(generator, potential, **{"ema_decay": 0.9, **arguments})
    model.compile(uk.optimizers.Adam(1e-3), uk.optimizers.Adam(1e-3))
    return model


def batch(n=8, shape=SHAPE, seed=0) -> np.ndarray:
    return np.tanh(np.random.default_rng(seed).normal(size=(n, *shape))).astype("float32")


def noise(n=8, seed=1) -> tuple[np.ndarray, np.ndarray]:
    return tuple(sample_noise([(seed, i) for i in range(n)], SHAPE, (3,)))


def numbers(logs) -> dict[str, float]:
    return {name: float(ops.convert_to_numpy(value)) for name, value in logs.items()}


def potential_of(model, samples) -> np.ndarray:
    return ops.convert_to_numpy(model.potential(ops.convert_to_tensor(samples)))[:, 0]


# --- losses -------------------------------------------------------------------------------


@pytest.mark.parametrize("pairing", ["paired", "all_pairs"])
@pytest.mark.parametrize("names", [("kl", "chi2"), ("balanced", "softplus")])
def test_potential_update_reports_the_semi_dual(pairing, names):
    model = make(
        source_divergence=names[0],
        target_divergence=names[1],
        pairing=pairing,
        cost=uk.costs.Quadratic(0.1),
        gradient_penalty=uk.penalties.R1(0.7),
    )
    real, (source, latent) = batch(), noise()
    moved = model.transport(source, latent, use_ema=False)
    cost = 0.1 * ((source - moved) ** 2).sum(axis=(1, 2, 3))
    v_fake, v_real = potential_of(model, moved), potential_of(model, real)
    table = v_fake - cost if pairing == "paired" else v_fake[:, None] - cost[None, :]
    conjugates = {
        "kl": np.expm1,
        "chi2": lambda s: np.where(s >= -2, s**2 / 4 + s, -1),
        "softplus": lambda s: 2 * np.log1p(np.exp(s)) - 2 * np.log(2),
        "balanced": lambda s: s,
    }
    logs = numbers(model.update_potential(real, source, latent))
    assert logs["fake"] == pytest.approx(conjugates[names[0]](table).mean(), rel=1e-4)
    assert logs["real"] == pytest.approx(conjugates[names[1]](-v_real).mean(), rel=1e-4)
    assert logs["cost"] == pytest.approx(cost.mean(), rel=1e-4)
    assert logs["loss"] == pytest.approx(logs["real"] + logs["fake"] + logs["penalty"], rel=1e-5)


def finite_difference_gradient(model, points, h=1e-2) -> np.ndarray:
    gradient = np.zeros(points.shape)
    for pixel in np.ndindex(points.shape[1:]):
        step = np.zeros(points.shape[1:], "float32")
        step[pixel] = h
        slope = (potential_of(model, points + step) - potential_of(model, points - step)) / (2 * h)
        gradient[(slice(None), *pixel)] = slope
    return gradient


def test_r1_is_the_squared_gradient_at_the_data():
    model = make(gradient_penalty=uk.penalties.R1(2.0))
    real = batch()
    gradient = finite_difference_gradient(model, real)
    logs = numbers(model.update_potential(real, *noise()))
    expected = (gradient**2).sum(axis=(1, 2, 3)).mean()
    assert logs["penalty"] == pytest.approx(expected, rel=1e-2)


def test_wasserstein_gp_is_taken_between_data_and_samples():
    model = make(gradient_penalty=uk.penalties.WassersteinGP(10.0))
    real, (source, latent) = batch(), noise()
    mixing = np.random.default_rng(5).uniform(size=(8, 1, 1, 1)).astype("float32")
    moved = model.transport(source, latent, use_ema=False)
    gradient = finite_difference_gradient(model, real + mixing * (moved - real))
    norms = np.sqrt((gradient**2).sum(axis=(1, 2, 3)))
    logs = numbers(model.update_potential(real, source, latent, mixing))
    assert logs["penalty"] == pytest.approx(5 * ((norms - 1) ** 2).mean(), rel=1e-2)


@pytest.mark.parametrize("pairing", ["paired", "all_pairs"])
def test_gradient_optimality_is_the_slope_of_the_transform_s_problem(pairing):
    model = make(
        gradient_penalty=uk.penalties.GradientOptimality(3.0),
        cost=uk.costs.Quadratic(0.1),
        pairing=pairing,
    )
    source, latent = noise()
    moved = model.transport(source, latent, use_ema=False)
    residual = finite_difference_gradient(model, moved) - 2 * 0.1 * (moved - source)
    logs = numbers(model.update_potential(batch(), source, latent))
    assert logs["penalty"] == pytest.approx(3 * (residual**2).sum(axis=(1, 2, 3)).mean(), rel=1e-2)
    assert logs["loss"] == pytest.approx(logs["real"] + logs["fake"] + logs["penalty"], rel=1e-5)


def test_source_gradient_goes_through_the_map_and_leaves_it():
    """T(x) = Ax and v(y) = ⟨b, y⟩ + |y|²/2: ∇_x v(T(x)) = Aᵀ(b + Ax)."""
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(2, 2)), rng.normal(size=2)
    x, y = keras.Input((2,)), keras.Input((2,))
    generator = keras.Model(x, keras.layers.Dense(2, use_bias=False)(x))
    generator.set_weights([A.T])
    squares = ops.sum(y**2, axis=-1, keepdims=True)
    potential = keras.Model(
        y, keras.layers.Dense(1, use_bias=False)(ops.concatenate([y, squares], axis=-1))
    )
    weights = np.array([*b, 0.5])[:, None]
    potential.set_weights([weights])
    model = uk.UOTM(
        generator, potential, source="data", source_divergence="balanced",
        target_divergence="balanced", gradient_penalty=uk.penalties.SourceGradient(0.3),
    )  # fmt: skip
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
    source, real = rng.normal(size=(2, 8, 2))
    slopes = (b + source @ A.T) @ A
    logs = numbers(model.update_potential(real.astype("float32"), source.astype("float32")))
    assert logs["penalty"] == pytest.approx(0.3 * np.mean(np.sum(slopes**2, 1)), rel=1e-4)
    np.testing.assert_allclose(generator.get_weights()[0], A.T, rtol=1e-6)
    # One SGD step of ⟨b, E[T] − E[y]⟩ + λ·E‖Aᵀ(b + Ax)‖² in b.
    slope = (source @ A.T - real).mean(0) + 0.6 * (slopes @ A.T).mean(0)
    found = (weights - potential.get_weights()[0])[:2, 0] / 0.1
    np.testing.assert_allclose(found, slope, rtol=1e-3, atol=1e-3)


def test_gradient_optimality_vanishes_at_the_optimum():
    # Of a shift by b the map is x + b and the potential 2τ⟨b, y⟩.
    x = keras.Input((2,))
    generator = keras.Model(x, keras.layers.Dense(2, kernel_initializer="identity")(x))
    generator.layers[-1].bias.assign([1.0, -2.0])
    y = keras.Input((2,))
    potential = keras.Model(y, keras.layers.Dense(1, use_bias=False)(y))
    potential.layers[-1].kernel.assign([[1.0], [-2.0]])
    points = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    for scale, optimal in ((1.0, True), (0.5, False)):
        model = uk.UOTM(
            generator,
            potential,
            cost=uk.costs.Quadratic(0.5 * scale),
            gradient_penalty=uk.penalties.GradientOptimality(1.0),
            source="data",
        )
        model.compile(uk.optimizers.Adam(1e-9), uk.optimizers.Adam(1e-9))
        penalty = numbers(model.update_potential(points + [1.0, -2.0], points))["penalty"]
        assert penalty == pytest.approx(0.0 if optimal else 5 * scale**2, abs=1e-6)


def test_generator_update_reports_cost_minus_potential():
    model = make(cost=uk.costs.Quadratic(0.1))
    source, latent = noise()
    moved = model.transport(source, latent, use_ema=False)
    cost = 0.1 * ((source - moved) ** 2).sum(axis=(1, 2, 3)).mean()
    potential = potential_of(model, moved).mean()
    logs = numbers(model.update_generator(source, latent))
    assert logs["cost"] == pytest.approx(cost, rel=1e-4)
    assert logs["potential"] == pytest.approx(potential, rel=1e-4)
    assert logs["loss"] == pytest.approx(cost - potential, rel=1e-4)


def test_each_update_moves_its_own_player_only():
    model = make()
    generator, potential = model.generator.get_weights(), model.potential.get_weights()
    model.update_potential(batch(), *noise())
    for old, new in zip(generator, model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    moved = model.potential.get_weights()
    # A constant added to the potential changes kl's loss, so that every weight has a gradient.
    assert all((old != new).any() for old, new in zip(potential, moved, strict=True))
    model.update_generator(*noise())
    for old, new in zip(moved, model.potential.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert any(
        (old != new).any()
        for old, new in zip(generator, model.generator.get_weights(), strict=True)
    )


def test_average_of_the_generator():
    model = make(ema_decay=0.75)
    before = model.generator.get_weights()
    model.update_generator(*noise())
    for old, new, average in zip(
        before, model.generator.get_weights(), model.ema_generator.get_weights(), strict=True
    ):
        np.testing.assert_allclose(average, 0.75 * old + 0.25 * new, atol=1e-6)


def test_divergence_schedule_scales_both_divergences():
    model = make(divergence_schedule=uk.schedules.LinearAlpha(0.5, 4.0, until=2))
    real, (source, latent) = batch(), noise()
    model.step.assign(1)
    v_real = potential_of(model, real)
    logs = numbers(model.update_potential(real, source, latent))
    alpha = 2.25
    assert logs["real"] == pytest.approx(alpha * np.expm1(-v_real / alpha).mean(), rel=1e-4)


def test_weights_are_the_conjugates_derivatives():
    model = make(source_divergence="chi2", target_divergence="kl", cost=uk.costs.Quadratic(0.1))
    real, (source, latent) = batch(), noise()
    np.testing.assert_allclose(
        model.target_weights(real, batch_size=3), np.exp(-potential_of(model, real)), rtol=1e-5
    )
    moved = model.transport(source, latent)
    excess = potential_of(model, moved) - 0.1 * ((source - moved) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(
        model.source_weights(source, latent), np.maximum(excess / 2 + 1, 0), rtol=1e-4
    )


# --- the paper's Adam ---------------------------------------------------------------------


def test_adam_places_epsilon_as_torch_does():
    optimizer = uk.optimizers.Adam(0.1, 0.5, 0.9, 0.3)
    variable = keras.Variable(np.array([1.0, -2.0], "float32"))
    optimizer.build([variable])
    x, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for step in range(1, 6):
        gradient = np.array([0.5 * step, -1.0])
        m, v = 0.5 * m + 0.5 * gradient, 0.9 * v + 0.1 * gradient**2
        x = x - 0.1 * (m / (1 - 0.5**step)) / (np.sqrt(v / (1 - 0.9**step)) + 0.3)
        optimizer.apply([ops.convert_to_tensor(gradient, "float32")], [variable])
    np.testing.assert_allclose(ops.convert_to_numpy(variable), x, rtol=1e-5)


# --- fit ----------------------------------------------------------------------------------


def test_fit_is_the_two_updates_in_turn():
    """`train_step` under the compiler against the updates called by hand."""
    trained, by_hand = make(potential_steps=2, generator_steps=3), make()
    data = batch(16)
    trained.fit(data, batch_size=8, shuffle=False, verbose=0)

    def draw():
        source = keras.random.normal((8, *SHAPE), seed=by_hand.noise_seed)
        return source, keras.random.normal((8, 3), seed=by_hand.noise_seed)

    for real in (data[:8], data[8:]):
        for _ in range(2):
            by_hand.update_potential(real, *draw())
        for _ in range(3):
            by_hand.update_generator(*draw())
    assert int(trained.step) == 2
    for a, b in zip(trained.get_weights(), by_hand.get_weights(), strict=True):
        if a.dtype == np.float32:
            np.testing.assert_allclose(a, b, atol=2e-5)


def test_fit_logs_and_ignores_labels():
    history = make().fit((batch(20)), np.arange(20), batch_size=8, epochs=2, verbose=0).history
    assert set(history) == {
        "potential_loss", "generator_loss", "cost", "penalty", "source_mass", "target_mass",
        "skipped_updates", "loss",
    }  # fmt: skip
    assert len(history["cost"]) == 2 and np.isfinite(history["cost"]).all()


def test_fit_takes_pairs_from_a_source_set():
    model = make(latent_dim=0, shape=(2,), source="data", cost=uk.costs.Quadratic(1.0))
    rng = np.random.default_rng(0)
    source = rng.normal(size=(64, 2)).astype("float32")
    model.fit(source, source + 3.0, batch_size=16, verbose=0)
    moved = make(latent_dim=0, shape=(2,), cost=uk.costs.Quadratic(1.0))
    moved.fit(source, source + 3.0, batch_size=16, verbose=0)  # "auto" sees the pairs
    for a, b in zip(model.get_weights(), moved.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(uk.InputError, match="pairs of batches"):
        model.fit(source, batch_size=16, verbose=0)
    with pytest.raises(uk.InputError, match="transport"):
        model.generate(3)


def test_learns_a_shift():
    """Balanced transport of N(0, I) onto N((1, −1), I): the map is the shift itself."""
    keras.utils.set_random_seed(0)
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(2, 0, width=32, blocks=1, residual=True),
        uk.networks.ResMLPPotential(2, width=32, blocks=1),
        cost=uk.costs.Quadratic(0.5),
        source_divergence="balanced",
        target_divergence="balanced",
        gradient_penalty=None,
        generator_steps=4,
        ema_decay=0.95,
    )
    model.compile(uk.optimizers.Adam(2e-3), uk.optimizers.Adam(2e-3))
    shift = np.array([1.0, -1.0], "float32")
    data = np.random.default_rng(0).normal(size=(128 * 250, 2)).astype("float32") + shift
    model.fit(data, batch_size=128, verbose=0)
    source = np.random.default_rng(1).normal(size=(512, 2)).astype("float32")
    error = model.transport(source) - (source + shift)
    assert (error**2).sum(axis=1).mean() / 2 < 0.05  # of the target's variance


# --- sampling -----------------------------------------------------------------------------


def test_samples_depend_on_seed_and_index_alone():
    model = make()
    samples = model.generate(10, seed=3)
    assert samples.shape == (10, *SHAPE) and samples.dtype == np.float32
    np.testing.assert_allclose(model.generate(10, seed=3, batch_size=4), samples, atol=1e-6)
    np.testing.assert_allclose(model.generate(4, seed=3), samples[:4], atol=1e-6)
    assert np.abs(model.generate(10, seed=4) - samples).max() > 1e-3
    assert np.abs(model.generate(10) - model.generate(10)).max() > 1e-3


def test_samples_come_from_the_average():
    model = make(ema_decay=0.5)
    for _ in range(3):
        model.update_generator(*noise())
    averaged, raw = model.generate(5, seed=0), model.generate(5, seed=0, use_ema=False)
    assert np.abs(averaged - raw).max() > 1e-4
    model.ema_generator.set_weights(model.generator.get_weights())
    np.testing.assert_allclose(model.generate(5, seed=0), raw, atol=1e-6)


def test_noise_is_standard_normal_and_independent():
    (rows,) = sample_noise([(s, i) for s in range(20) for i in range(50)], (20,))
    assert abs(rows.mean()) < 0.03 and abs(rows.std() - 1) < 0.02
    correlation = np.corrcoef(rows.T)
    assert np.abs(correlation - np.eye(20)).max() < 0.15


# --- saving -------------------------------------------------------------------------------

CONTINUE = """
import json, sys, keras, numpy as np, uotm_keras
folder = sys.argv[1]
model = keras.saving.load_model(folder + "/model.keras")
history = model.fit(np.load(folder + "/data.npy"), batch_size=8, shuffle=False, verbose=0).history
np.savez(folder + "/continued.npz", *model.get_weights(), samples=model.generate(4, seed=0))
json.dump(history, open(folder + "/history.json", "w"))
"""


def test_saved_loaded_elsewhere_and_continued(tmp_path):
    model = make(divergence_schedule=uk.schedules.CosineAlpha(0.5, 2.0, until=10))
    data = batch(24)
    model.fit(data, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "data.npy", data)
    history = model.fit(data, batch_size=8, shuffle=False, verbose=0).history
    subprocess.run(
        [sys.executable, "-c", CONTINUE, str(tmp_path)], check=True, env=dict(os.environ)
    )
    assert json.loads((tmp_path / "history.json").read_text()) == history
    with np.load(tmp_path / "continued.npz") as continued:
        np.testing.assert_array_equal(continued["samples"], model.generate(4, seed=0))
        for i, weight in enumerate(model.get_weights()):
            np.testing.assert_array_equal(continued[f"arr_{i}"], weight)


def test_dropout_state_is_saved(tmp_path):
    keras.utils.set_random_seed(0)
    generator = uk.networks.NCSNpp(
        (8, 8, 1), 4, (1, 1), 1, (4,), latent_dim=3, style_dim=4, mapping_layers=1, dropout=0.3
    )
    model = uk.UOTM(generator, uk.networks.SmallPotential((8, 8, 1), 1))
    model.compile()
    model.fit(batch(8, (8, 8, 1)), batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    states = seed_states(model)
    assert len(states) > 2
    for a, b in zip(states, seed_states(again), strict=True):
        np.testing.assert_array_equal(a, b)


def seed_states(model) -> list[np.ndarray]:
    variables = [v for v in model.non_trainable_variables if v.name == "seed_generator_state"]
    return [ops.convert_to_numpy(v) for v in variables]


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"pairing": "pairs"}, "pairing='pairs'.*paired, all_pairs"),
        ({"source": "images"}, "source='images'"),
        ({"potential_steps": 0}, "potential_steps=0"),
        ({"generator_steps": 1.5}, "generator_steps=1.5"),
        ({"ema_decay": 1.0}, "ema_decay=1.0"),
        ({"source_divergence": "klx"}, "did you mean 'kl'"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(uk.InputError, match=message):
        make(**arguments)


def test_networks_that_do_not_fit_together():
    with pytest.raises(uk.InputError, match="the two shapes must be the same"):
        uk.UOTM(uk.networks.ResMLPGenerator(2, 1), uk.networks.ResMLPPotential(3))


def test_data_that_do_not_fit_the_networks():
    with pytest.raises(uk.InputError, match="do not fit the networks"):
        make().fit(batch(8, (5, 4, 1)), batch_size=4, verbose=0)


def test_updates_before_compile():
    model = uk.UOTM(uk.networks.ResMLPGenerator(2, 0, width=4), uk.networks.ResMLPPotential(2, 4))
    with pytest.raises(uk.InputError, match="compile"):
        model.update_generator(np.zeros((4, 2)))


@pytest.mark.parametrize("n, seed", [(0, 0), (2.5, 0), (1, -1)])
def test_bad_sampling_arguments(n, seed):
    with pytest.raises(uk.InputError):
        make().generate(n, seed=seed)


def test_import_takes_no_optional_package():
    code = (
        "import sys, keras; before = set(sys.modules); import uotm_keras; "
        "heavy = {'scipy', 'sklearn', 'PIL', 'matplotlib', 'tensorflow_datasets', 'grain', 'rich',"
        " 'tensorboard', 'mlxtend'}; heavy |= {'tensorflow', 'jax', 'torch'} - "
        "{keras.backend.backend()}; print(sorted(heavy & (set(sys.modules) - before)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert output.strip().endswith("[]"), output
