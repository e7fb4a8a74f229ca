"""Mixed precision: what stays float32, how float16 is scaled, how near float32 training is."""

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.networks import layers
from uotm_keras.utils.seeds import sample_noise

MIXED = ("mixed_bfloat16", "mixed_float16")
HALVES = {"mixed_bfloat16": ml_dtypes.bfloat16, "mixed_float16": np.float16}
ROUNDING = {"mixed_bfloat16": 2.0**-8, "mixed_float16": 2.0**-11}
"""The largest relative error of one rounding, or a little more."""
SHAPE = (8, 8, 1)


@pytest.fixture(autouse=True)
def _policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def array(x) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")), "float64")


def batch(n=16, seed=0) -> np.ndarray:
    return np.tanh(np.random.default_rng(seed).normal(size=(n, *SHAPE))).astype("float32")


def noise(n=16, seed=1) -> list[np.ndarray]:
    return sample_noise([(seed, i) for i in range(n)], SHAPE, (3,))


def make(policy, seed=0, rate=1e-3, **arguments) -> uk.UOTM:
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(SHAPE, 3, width=32, blocks=1, output_activation="tanh"),
        uk.networks.ResMLPPotential(SHAPE, width=32, blocks=1),
        **{"ema_decay": 0.9, "seed": seed, **arguments},
    )
    model.compile(uk.optimizers.Adam(rate), uk.optimizers.Adam(rate))
    return model


NETWORKS = {
    "ncsnpp": lambda: uk.networks.NCSNpp(
        SHAPE, 4, (1, 2), 1, (4,), latent_dim=3, style_dim=4, mapping_layers=0
    ),
    "small": lambda: uk.networks.SmallGenerator(SHAPE, 4),
    "mlp": lambda: uk.networks.ResMLPGenerator(SHAPE, 3, width=8, blocks=1),
    "small_potential": lambda: uk.networks.SmallPotential(SHAPE, 2),
    "large_potential": lambda: uk.networks.LargePotential((64, 64, 1), 1),
    "small_resnet": lambda: uk.networks.SmallResNetPotential(SHAPE, 4),
    "mlp_potential": lambda: uk.networks.ResMLPPotential(SHAPE, width=8, blocks=1),
}


# --- dtypes -------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", MIXED)
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_and_outputs_are_float32_and_the_inside_is_not(name, policy):
    keras.config.set_dtype_policy(policy)
    network = NETWORKS[name]()
    half = keras.config.dtype_policy().compute_dtype
    assert {v.dtype for v in network.weights} == {"float32"}
    assert [output.dtype for output in network.outputs] == ["float32"]
    computed = [
        tensor.dtype
        for layer in network.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
        for tensor in [layer.output]
    ]
    assert computed.count(half) >= len(computed) - 2 and half in computed


@pytest.mark.parametrize("policy", MIXED)
def test_losses_penalty_and_state_are_float32(policy):
    model = make(policy)
    logs = {
        **model.update_potential(batch(), *noise()),
        **{f"generator_{k}": v for k, v in model.update_generator(*noise()).items()},
    }
    assert {keras.backend.standardize_dtype(v.dtype) for v in logs.values()} == {"float32"}
    assert {v.dtype for v in model.ema_generator.weights} == {"float32"}
    variables = [*model.variables, *model.optimizer.variables]
    assert {v.dtype for v in variables if "int" not in v.dtype} == {"float32"}
    assert model.generate(3, seed=0).dtype == np.float32
    assert model.target_weights(batch(3)).dtype == np.float32


@pytest.mark.parametrize("policy", MIXED)
def test_networks_keep_their_policy(policy, tmp_path):
    """Whatever Keras's own is later on: in the average, in a file, and for the loss scales."""
    model = make(policy)
    keras.config.set_dtype_policy("float32")
    again = uk.UOTM(model.generator, model.potential)
    again.compile()
    again.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    for each in (again, loaded):
        for network in (each.generator, each.potential, each.ema_generator):
            assert sum(layer.dtype_policy.name == policy for layer in network.layers) > 3
        scaled = isinstance(each.generator_optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (policy == "mixed_float16")
    np.testing.assert_array_equal(loaded.generate(4, seed=0), again.generate(4, seed=0))


# --- sums ---------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", MIXED)
def test_group_norm_sums_in_float32(policy):
    """Against NumPy's float64 of the rounded input, to one rounding of the output."""
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 8)) + 30.0
    x = x.astype(HALVES[policy])
    scale, shift = np.linspace(0.5, 1.5, 8) + 1e-3, np.linspace(-1.0, 1.0, 8) + 1e-3
    layer = layers.GroupNorm(dtype=policy)
    layer.build(x.shape)
    layer.scale.assign(scale.astype("float32"))
    layer.shift.assign(shift.astype("float32"))
    grouped = x.astype("float64").reshape(2, 256, 2, 4)
    mean, variance = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape) * scale + shift
    ours = layer(ops.cast(x.astype("float32"), keras.DTypePolicy(policy).compute_dtype))
    assert keras.backend.standardize_dtype(ours.dtype) == keras.DTypePolicy(policy).compute_dtype
    np.testing.assert_allclose(array(ours), expected, rtol=ROUNDING[policy], atol=1e-4)


@pytest.mark.parametrize("policy", MIXED)
def test_adaptive_group_norm_modulates_in_float32(policy):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(HALVES[policy])
    layer = layers.AdaptiveGroupNorm(dtype=policy)
    layer.build(x.shape, (2, 3))
    bias = np.repeat([1.001, 0.101], 8)
    layer.bias.assign(bias.astype("float32"))
    grouped = x.astype("float64").reshape(2, 64, 2, 4)
    mean, variance = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape) * 1.001 + 0.101
    half = keras.DTypePolicy(policy).compute_dtype
    ours = layer(ops.cast(x.astype("float32"), half), ops.zeros((2, 3), half))
    np.testing.assert_allclose(array(ours), expected, rtol=ROUNDING[policy], atol=1e-4)


@pytest.mark.parametrize("policy", MIXED)
def test_minibatch_stddev_sums_in_float32(policy):
    x = (np.random.default_rng(0).normal(size=(4, 16, 16, 8)) + 30.0).astype(HALVES[policy])
    ours = array(layers.MinibatchStddev(dtype=policy)(ops.convert_to_tensor(x)))[..., -1]
    expected = np.sqrt(x.astype("float64").var(axis=0) + 1e-8).mean()
    np.testing.assert_allclose(ours, expected, rtol=ROUNDING[policy])


@pytest.mark.parametrize("policy", MIXED)
@pytest.mark.parametrize("name", ["small_potential", "large_potential", "small_resnet"])
def test_potentials_sum_their_pixels_in_float32(name, policy):
    keras.config.set_dtype_policy(policy)
    potential = NETWORKS[name]()
    assert potential.get_layer("value").input.dtype == "float32"


def test_small_potential_starts_in_float16_as_in_float32():
    """Its last convolution starts at some 1e-7, whose sign decides the slope of a LeakyReLU."""
    values = []
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(0)
        potential = uk.networks.SmallPotential(SHAPE, 4)
        features = keras.Model(potential.input, potential.get_layer("value").input)
        values.append(array(features(batch())))
    assert np.linalg.norm(values[1] - values[0]) < 0.05 * np.linalg.norm(values[0])


@pytest.mark.parametrize("policy", MIXED)
def test_penalties_square_and_sum_in_float32(policy):
    """Squares of 300 are infinite in float16; bfloat16 stops adding ones at 256."""
    gradient = ops.full((2, 64, 64, 1), 300.0, HALVES[policy].__name__)
    assert float(uk.penalties.R1(2.0).value(gradient)) == pytest.approx(4096 * 9e4, rel=1e-2)
    ones = ops.ones((2, 64, 64, 1), HALVES[policy].__name__)
    assert float(uk.penalties.R1(2.0).value(ones)) == pytest.approx(4096)
    assert float(uk.penalties.WassersteinGP(2.0).value(ones)) == pytest.approx(63.0**2)


@pytest.mark.parametrize("policy", MIXED)
def test_average_moves_by_steps_that_half_precision_would_lose(policy):
    model = make(policy, ema_decay=0.9999)
    before = model.ema_generator.get_weights()
    model.generator.set_weights([w + 1.0 for w in before])
    for average in model.ema_generator.weights:
        average.assign(np.ones(average.shape, "float32"))
    model.update_generator(*noise())
    for new, average in zip(
        model.generator.get_weights(), model.ema_generator.get_weights(), strict=True
    ):
        np.testing.assert_allclose(average, 0.9999 + 1e-4 * new, rtol=0, atol=2e-7)


# --- penalty and gradients against float32's ------------------------------------------------

GRADIENT_BAND = {"mixed_bfloat16": 3e-2, "mixed_float16": 4e-3}
"""Of a player's whole gradient. Measured on four seeds: at most 0.013 and 0.0019."""


def _first_updates(policy, gamma, seed=0) -> tuple[float, list[np.ndarray]]:
    """The penalty, and by how much each player moves in an update of plain descent."""
    model = make(policy, seed, gradient_penalty=uk.penalties.R1(gamma))
    model.compile(keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0))
    players = model.potential, model.generator
    before = [player.get_weights() for player in players]
    penalty = float(model.update_potential(batch(), *noise())["penalty"])
    model.update_generator(*noise())
    return penalty, [
        np.concatenate([(n - o).ravel() for n, o in zip(player.get_weights(), old, strict=True)])
        for player, old in zip(players, before, strict=True)
    ]


@pytest.mark.parametrize("policy", MIXED)
@pytest.mark.parametrize("gamma", [0.2, 200.0])
def test_penalty_and_gradients_are_those_of_float32(gamma, policy):
    """With γ = 200 the second derivatives of R1 are most of the potential's gradient."""
    exact, moves = _first_updates("float32", gamma)
    penalty, ours = _first_updates(policy, gamma)
    assert penalty == pytest.approx(exact, rel=GRADIENT_BAND[policy])
    for a, b in zip(ours, moves, strict=True):
        assert np.linalg.norm(a - b) < GRADIENT_BAND[policy] * np.linalg.norm(b)


# --- float16: a loss scale a player ---------------------------------------------------------


def _state(optimizer) -> dict[str, float]:
    return {
        "scale": float(ops.convert_to_numpy(optimizer.dynamic_scale)),
        "updates": int(ops.convert_to_numpy(optimizer.iterations)),
    }


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_only_float16_is_scaled(policy):
    model = make(policy)
    for optimizer in (model.generator_optimizer, model.potential_optimizer):
        assert not isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def test_an_overflow_of_one_update():
    model = make("mixed_float16")
    model.update_potential(batch(), *noise())
    model.potential_optimizer.dynamic_scale.assign(2.0**60)
    before = model.potential.get_weights()
    moments = [array(v) for v in model.potential_optimizer.inner_optimizer.variables]
    logs = model.update_potential(batch(), *noise())
    assert np.isfinite(float(logs["loss"]))
    assert _state(model.potential_optimizer) == {"scale": 2.0**59, "updates": 1}
    assert _state(model.generator_optimizer) == {"scale": 2.0**15, "updates": 0}
    for old, new in zip(before, model.potential.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, v in zip(moments, model.potential_optimizer.inner_optimizer.variables, strict=True):
        np.testing.assert_array_equal(old, array(v))
    model.update_generator(*noise())
    assert _state(model.generator_optimizer) == {"scale": 2.0**15, "updates": 1}


@pytest.mark.parametrize("player, other", [("generator", "potential"), ("potential", "generator")])
def test_training_goes_on_after_overflows(player, other, tmp_path):
    """In `fit`: the player's scale is halved until its gradients are finite."""
    model = make("mixed_float16")
    optimizers = {
        "generator": model.generator_optimizer, "potential": model.potential_optimizer,
    }  # fmt: skip
    optimizers[player].dynamic_scale.assign(2.0**60)
    model.fit(batch(16 * 60), batch_size=16, verbose=0)
    ours, theirs = _state(optimizers[player]), _state(optimizers[other])
    halvings = 60 - np.log2(ours["scale"])
    assert 30 < halvings < 60 and ours["updates"] == 60 - halvings
    assert theirs == {"scale": 2.0**15, "updates": 60}
    assert int(model.step) == 60
    assert all(np.isfinite(w).all() for w in model.get_weights())
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert _state(getattr(again, f"{player}_optimizer")) == ours
    assert _state(getattr(again, f"{other}_optimizer")) == theirs


def test_a_loss_scale_grows_after_finite_gradients():
    model = make("mixed_float16")
    assert model.potential_optimizer.dynamic_growth_steps == 2000
    model.potential_optimizer.dynamic_growth_steps = 4
    model.fit(batch(16 * 9), batch_size=16, verbose=0)
    assert _state(model.potential_optimizer) == {"scale": 2.0**17, "updates": 9}
    assert _state(model.generator_optimizer) == {"scale": 2.0**15, "updates": 9}


# --- a short run ----------------------------------------------------------------------------

BAND = {"mixed_bfloat16": (0.04, 0.035), "mixed_float16": (0.002, 0.002)}
"""Of a loss, over the largest of its values; of the samples' RMS, over their deviation.
Measured on four seeds of each backend: at most 0.019, 0.017; 0.001, 0.0008."""
ITERATIONS = 30


def _short_run(policy, seed=0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The losses of each iteration, and samples."""
    from sklearn.datasets import load_digits

    digits = (load_digits().images[..., None] / 8 - 1).astype("float32")
    rng = np.random.default_rng(seed)
    model = make(policy, seed)

    def batches():
        while True:
            yield (digits[rng.integers(0, len(digits), 16)],)

    history = model.fit(batches(), steps_per_epoch=1, epochs=ITERATIONS, verbose=0).history
    return {k: np.array(v) for k, v in history.items()}, model.generate(64, seed=0)


def _distances(run, exact) -> tuple[float, float]:
    (losses, samples), (exact_losses, exact_samples) = run, exact
    names = ("potential_loss", "generator_loss", "cost", "penalty", "source_mass", "target_mass")
    assert not losses["skipped_updates"].any()
    return (
        max(
            np.abs(losses[k] - exact_losses[k]).max() / np.abs(exact_losses[k]).max() for k in names
        ),
        np.sqrt(np.mean((samples - exact_samples) ** 2)) / exact_samples.std(),
    )


@pytest.fixture(scope="module")
def exact_run():
    before = keras.config.dtype_policy()
    run = _short_run("float32")
    keras.config.set_dtype_policy(before)
    return run


@pytest.mark.parametrize("policy", MIXED)
def test_a_short_run_tracks_float32(policy, exact_run):
    losses, samples = _distances(_short_run(policy), exact_run)
    # Not by being float32.
    assert losses > 1e-6
    assert losses < BAND[policy][0] and samples < BAND[policy][1]


# --- commands and exports -------------------------------------------------------------------


def test_killed_and_resumed_equals_never_stopped(tmp_path, monkeypatch):
    from tiny_run import TinyRun, assert_same

    from uotm_keras.training.metrics_log import MetricsLog

    flags = {
        "dataset": "digits", "dtype_policy": "mixed_bfloat16", "checkpoint_every": 4,
        "log_every": 3, "max_steps": 10, "sample_every": 0,
    }  # fmt: skip
    whole, killed = TinyRun(tmp_path / "whole"), TinyRun(tmp_path / "killed")
    assert whole.train(**flags) == 0

    class Killed(BaseException):
        pass

    def die(self, step, values):
        write(self, step, values)
        if step == 6:
            raise Killed

    write = MetricsLog.write
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", die)
        with pytest.raises(Killed):
            killed.train(**flags)
    keras.config.set_dtype_policy("float32")
    assert killed.train(**flags) == 0
    assert_same(killed, whole, 10)


def test_exports_give_float32(tmp_path):
    from uotm_keras.exporting import load_exported

    model = make("mixed_bfloat16")
    model.export(tmp_path / "export")
    source, latent = noise(5)
    ours = load_exported(tmp_path / "export").call(source, latent)
    assert ours.dtype == np.float32
    expected = model.transport(source, latent)
    np.testing.assert_allclose(ours, expected, atol=8 * ROUNDING["mixed_bfloat16"])
