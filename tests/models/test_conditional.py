"""A UOTM whose networks take a condition."""

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.objectives import oracles

CLASSES = 3
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2] * 8)


def points(seed=0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((len(LABELS), 2))
    return (noise * 0.1 + LABELS[:, None]).astype("float32")


def networks(width=8, latent_dim=2, **condition):
    keras.utils.set_random_seed(0)
    condition = condition or {"num_classes": CLASSES}
    generator = uk.networks.ResMLPGenerator(2, latent_dim, width, 1, **condition)
    potential = uk.networks.ResMLPPotential(2, width, 1, **condition)
    rng = np.random.default_rng(0)
    for variable in potential.trainable_variables:  # v does not depend on c at first
        variable.assign(variable + 0.2 * rng.standard_normal(variable.shape))
    return generator, potential


def make(**arguments) -> uk.UOTM:
    condition = {k: arguments.pop(k) for k in ("num_classes", "condition_dim") if k in arguments}
    model = uk.UOTM(*networks(**condition), **{"cost": uk.costs.Quadratic(0.1), **arguments})
    model.compile(uk.optimizers.Adam(1e-2), uk.optimizers.Adam(1e-2))
    return model


@pytest.fixture(scope="module")
def trained() -> uk.UOTM:
    model = make()
    model.fit(points(), LABELS, batch_size=16, epochs=2, verbose=0)
    return model


def test_the_losses_are_those_of_each_class(trained):
    """Against the formula, with v and T evaluated class by class."""
    model, (x, z) = make(), np.random.default_rng(1).standard_normal((2, 64, 2)).astype("float32")
    expected, total = 0.0, len(LABELS)
    for label in range(CLASSES):
        rows = LABELS == label
        moved = model.transport(x[rows], z[rows], use_ema=False, condition=label)
        cost = 0.1 * ((x[rows] - moved) ** 2).sum(axis=1)
        v = [
            ops.convert_to_numpy(model.potential([y, np.full(len(y), label)]))[:, 0]
            for y in (moved, points()[rows])
        ]
        expected += (np.expm1(v[0] - cost).sum() + np.expm1(-v[1]).sum()) / total
    logs = model.update_potential(points(), x, z, condition=LABELS)
    assert float(logs["real"] + logs["fake"]) == pytest.approx(expected, abs=1e-4)


def test_the_penalty_of_some_rows_takes_their_conditions():
    x = np.zeros((64, 2), "float32")
    order = np.random.default_rng(2).permutation(64)
    y, labels = points()[order], LABELS[order]
    half = make(gradient_penalty=uk.penalties.R1(1.0, 0.5))
    some = half.update_potential(y, x, x, condition=labels)["penalty"]
    full = make(gradient_penalty=uk.penalties.R1(1.0))
    theirs = full.update_potential(y[:32], x[:32], x[:32], condition=labels[:32])["penalty"]
    assert float(some) == pytest.approx(float(theirs), rel=1e-5)
    mixed = make(gradient_penalty=uk.penalties.R1(1.0))
    others = mixed.update_potential(y[:32], x[:32], x[:32], condition=labels[32:])["penalty"]
    assert float(others) != pytest.approx(float(theirs), rel=0.01)


@pytest.mark.parametrize(
    "penalty",
    [
        uk.penalties.WassersteinGP(1.0),
        pytest.param(uk.penalties.SourceGradient(1.0), marks=pytest.mark.one_backend),
        pytest.param(uk.penalties.GradientOptimality(1.0), marks=pytest.mark.one_backend),
    ],
    ids=lambda penalty: type(penalty).__name__,
)
def test_micro_batches_give_the_same_weights(penalty):
    results = []
    for parts in (1, 2):
        model = make(gradient_penalty=penalty)
        model.compile(accumulate=parts)
        model.fit(points(), LABELS, batch_size=16, epochs=1, shuffle=False, verbose=0)
        results.append(np.concatenate([w.ravel() for w in model.generator.get_weights()]))
    np.testing.assert_allclose(*results, atol=2e-5)


def test_a_sample_depends_on_its_seed_and_condition_alone(trained):
    drawn = trained.generate(20, seed=3)
    np.testing.assert_allclose(trained.generate(7, seed=3, batch_size=3), drawn[:7], atol=1e-5)
    keys = [(3, i) for i in range(20)]
    given = trained.conditions.draw(keys)
    np.testing.assert_allclose(trained.generate(20, seed=3, condition=given), drawn, atol=1e-5)
    ones = trained.generate(20, seed=3, condition=1)
    np.testing.assert_allclose(ones[given == 1], drawn[given == 1], atol=1e-5)


def test_conditions_are_drawn_with_the_frequencies_of_the_data(trained):
    drawn = trained.conditions.draw([(0, i) for i in range(20_000)])
    shares = np.bincount(drawn, minlength=CLASSES) / len(drawn)
    np.testing.assert_allclose(shares, np.bincount(LABELS) / len(LABELS), atol=0.012)


def test_it_is_saved(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.generate(5, seed=0), trained.generate(5, seed=0), atol=1e-6)
    trained.save_weights(tmp_path / "m.weights.h5")
    other = make()
    other.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_allclose(other.generate(5, seed=0), trained.generate(5, seed=0), atol=1e-6)


class Pairs(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = slice(16 * index, 16 * index + 16)
        return points()[rows], LABELS[rows, None].astype("uint8")


def test_batches_of_pairs_train_as_arrays_do():
    results = []
    for data in ((points(), LABELS), (Pairs(),)):
        model = make()
        model.fit(*data, batch_size=16 if len(data) == 2 else None, shuffle=False, verbose=0)
        results.append(model.generate(4, seed=0))
    np.testing.assert_allclose(*results, atol=1e-6)
    dataset = uk.data.PointDataset(points(), "mine", labels=LABELS)
    model = make()
    model.fit(dataset, batch_size=16, validation_data=dataset, verbose=0)
    assert np.isfinite(model.evaluate(dataset, verbose=0, return_dict=True)["loss"])


def test_sources_with_conditions():
    x, weights = points(1), []
    for data in ((x, (points(), LABELS)), (x, points(), LABELS)):
        model = make(source="data")
        if len(data) == 2:
            model.fit(*data, batch_size=64, verbose=0)
        else:
            model.adapt_conditions(LABELS)
            model.train_on_batch(x, (points(), LABELS))
        weights.append(model.transport(x, np.zeros((64, 2)), condition=LABELS))
    np.testing.assert_allclose(*weights, atol=1e-5)
    assert model.transport_costs(x, condition=LABELS).shape == (64,)
    assert model.source_weights(x, condition=LABELS).shape == (64,)
    assert model.target_weights(x, condition=2).shape == (64,)


def test_sjko_in_each_class():
    model = uk.SJKO(*networks(), phase_steps=2, data_noise=0.1)
    model.compile()
    history = model.fit(points(), LABELS, batch_size=16, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_vectors_keep_rows_of_the_data():
    model = make(condition_dim=1)
    conditions = np.linspace(0, 1, 5000)[:, None].astype("float32")
    model.adapt_conditions(conditions)
    drawn = model.conditions.draw([(0, i) for i in range(2000)])
    assert np.isin(drawn, conditions).all()
    np.testing.assert_allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.04)


BAD_FIT = [
    ((points(),), "the networks are conditional: fit and evaluate need pairs"),
    ((points(), LABELS.astype("float32")), "conditions are float32 .* integer labels from 0 to 2"),
    ((points(), LABELS + 1), "condition 3 is out of range: accepted are integer labels from 0"),
    ((points(), np.stack([LABELS, LABELS], 1)), r"conditions are int64 of shape \(64, 2\)"),
    ((iter([points()]),), r"call adapt_conditions\(conditions\) first"),
    ((uk.data.PointDataset(points(), "mine"),), "mine has no labels to condition on"),
    (
        (uk.data.PointDataset(points(), "mine", labels=LABELS * 2),),
        "the class 1 of mine has no examples",
    ),
]


@pytest.mark.one_backend
@pytest.mark.parametrize(("data", "words"), BAD_FIT)
def test_data_that_do_not_fit(data, words):
    with pytest.raises(uk.InputError, match=words):
        make().fit(*data, batch_size=16, verbose=0)


@pytest.mark.one_backend
def test_conditions_that_do_not_fit(trained):
    x = points()
    for condition, words in (
        (3, "condition 3 is out of range"),
        (-1, "condition -1 is out of range"),
        (0.5, "conditions are float"),
        ("cat", "condition='cat': accepted are integer labels"),
        ([1, 2], "condition has 2 rows for 64 examples"),
    ):
        with pytest.raises(uk.InputError, match=words):
            trained.generate(64, condition=condition)
    with pytest.raises(uk.InputError, match="this UOTM is conditional: give condition"):
        trained.transport(x)
    with pytest.raises(uk.InputError, match="this UOTM is conditional: give condition"):
        trained.update_generator(x, x)
    with pytest.raises(uk.InputError, match="has not seen conditions to draw from"):
        make().generate(3)
    unseen = make()
    unseen.adapt_conditions(np.zeros(5, int))
    with pytest.raises(uk.InputError, match="condition 1: the training data had no examples"):
        unseen.generate(2, condition=1)
    plain = uk.UOTM(uk.networks.ResMLPGenerator(2, 2, 8), uk.networks.ResMLPPotential(2, 8))
    for call in (
        lambda: plain.generate(2, condition=1),
        lambda: plain.target_weights(x, condition=LABELS),
        lambda: plain.adapt_conditions(LABELS),
    ):
        with pytest.raises(uk.InputError, match="this UOTM is unconditional"):
            call()


@pytest.mark.one_backend
def test_networks_that_do_not_fit():
    generator, potential = networks()
    with pytest.raises(uk.InputError, match="the generator has an input named 'condition' but"):
        uk.UOTM(generator, uk.networks.ResMLPPotential(2, 8))
    with pytest.raises(uk.InputError, match="conditioned on integer labels .* and the potential"):
        uk.UOTM(generator, uk.networks.ResMLPPotential(2, 8, num_classes=4))
    with pytest.raises(uk.InputError, match="pairing='all_pairs' would pair samples of different"):
        uk.UOTM(generator, potential, pairing="all_pairs")


def test_networks_of_ones_own():
    """Any Keras model with an input named "condition" and an embedding of it."""

    def network(name, units):
        x, c = keras.Input((2,)), keras.Input((), dtype="int32", name="condition")
        h = keras.layers.concatenate([x, keras.layers.Embedding(CLASSES, 4)(c)])
        return keras.Model([x, c], keras.layers.Dense(units)(h), name=name)

    model = uk.UOTM(network("t", 2), network("v", 1))
    model.compile()
    model.fit(points(), LABELS, batch_size=16, verbose=0)
    assert model.generate(3, seed=0, condition=[0, 1, 2]).shape == (3, 2)


@pytest.mark.one_backend("jax")
@pytest.mark.parametrize("kind", ["kl", "balanced"])
def test_gaussians_of_each_label(kind):
    """One-dimensional maps against the closed form, after a short training."""
    means, spreads = np.array([-1.0, 0.0, 1.5]), np.array([0.5, 1.0, 0.7])
    keras.utils.set_random_seed(0)
    steps, tau = 1500, 0.8
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(1, 0, 16, 1, affine=True, num_classes=CLASSES),
        uk.networks.ResMLPPotential(1, 16, 1, quadratic=True, num_classes=CLASSES),
        cost=uk.costs.Quadratic(tau), source_divergence=kind, target_divergence=kind,
        gradient_penalty=uk.penalties.GradientOptimality(1 / tau), generator_steps=4,
        ema_decay=0.99,
    )  # fmt: skip
    model.compile(
        uk.optimizers.Adam(uk.schedules.CosineAnnealing(2e-3, 0.0, 4 * steps)),
        uk.optimizers.Adam(uk.schedules.CosineAnnealing(2e-3, 0.0, steps)),
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 64 * steps)
    y = means[labels] + spreads[labels] * rng.standard_normal(len(labels))
    model.fit(y[:, None].astype("float32"), labels, batch_size=64, verbose=0)
    x = rng.standard_normal((4000, 1)).astype("float32")
    solve = oracles.gaussian_kl_uot if kind == "kl" else oracles.gaussian_ot
    for label in range(CLASSES):
        exact = solve([0.0], [[1.0]], means[label : label + 1], [[spreads[label] ** 2]], tau)
        error = np.mean((model.transport(x, condition=label) - exact.map(x)) ** 2)
        assert 100 * error / spreads[label] ** 2 < 0.5
