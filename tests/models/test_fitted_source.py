"""The source with the mean and the deviation of the data."""

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.models.fitted_source import FittedSource
from uotm_keras.objectives.costs import enlarge_bicubic

SHAPE = (16, 16, 3)


def images(n=40) -> np.ndarray:
    rng = np.random.default_rng(0)
    gradient = np.linspace(-1, 1, 16)[:, None, None] * np.array([0.5, -0.3, 0.2])
    return (gradient + 0.2 * rng.standard_normal((n, *SHAPE)) + 0.3).astype("float32")


def make(**arguments) -> uk.UOTM:
    keras.utils.set_random_seed(0)
    model = uk.UOTM(
        uk.networks.LightGenerator(SHAPE, 4), uk.networks.LightPotential(SHAPE, 4),
        cost=uk.costs.Quadratic(0.1), **{"source": "fitted", **arguments},
    )  # fmt: skip
    model.compile()
    return model


def test_of_the_datas_shape_it_has_their_mean_and_variance():
    data = images()
    source = FittedSource(SHAPE, SHAPE)
    source.adapt(data)
    np.testing.assert_allclose(source.mean, data.mean(axis=0), atol=1e-6)
    noise = np.random.default_rng(1).standard_normal((2000, *SHAPE)).astype("float32")
    x = ops.convert_to_numpy(source(noise))
    assert x.var(axis=0).sum() == pytest.approx(data.var(axis=0).sum(), rel=0.01)


def test_a_smaller_one_has_them_once_enlarged():
    data = images()
    source = FittedSource((8, 8, 3), SHAPE)
    source.adapt(data)
    noise = np.random.default_rng(1).standard_normal((4000, 8, 8, 3)).astype("float32")
    x = ops.convert_to_numpy(enlarge_bicubic(source(noise), (16, 16)))
    assert x.var(axis=0).sum() == pytest.approx(data.var(axis=0).sum(), rel=0.01)
    # The mean image is smooth but for the noise of 40 examples.
    assert np.abs(x.mean(axis=0) - data.mean(axis=0)).mean() < 0.05


def test_fit_adapts_once_and_the_cost_is_measured_from_it():
    model, data = make(), images()
    assert not model.fitted_source.adapted
    model.fit(data, batch_size=20, epochs=1, verbose=0)
    mean = np.array(model.fitted_source.mean)
    model.fit(data + 0.5, batch_size=20, epochs=1, verbose=0)
    np.testing.assert_array_equal(model.fitted_source.mean, mean)
    noise = np.random.default_rng(2).standard_normal((5, 8, 8, 3)).astype("float32")
    moved = model.transport(noise)
    x = ops.convert_to_numpy(enlarge_bicubic(model.fitted_source(noise), (16, 16)))
    cost = 0.1 * ((x - moved) ** 2).sum(axis=(1, 2, 3))
    v = ops.convert_to_numpy(model.potential(moved))[:, 0]
    np.testing.assert_allclose(model.source_weights(noise, batch_size=5), np.exp(v - cost), 1e-4)


def test_both_players_measure_the_cost_from_it():
    model, data = make(), images()
    model.adapt_source(data)
    noise = np.random.default_rng(2).standard_normal((8, 8, 8, 3)).astype("float32")
    moved = model.transport(noise, use_ema=False)
    x = ops.convert_to_numpy(enlarge_bicubic(model.fitted_source(noise), (16, 16)))
    cost = 0.1 * ((x - moved) ** 2).sum(axis=(1, 2, 3)).mean()
    # The potential first: the other update changes the map.
    for logs in (model.update_potential(data[:8], noise), model.update_generator(noise)):
        assert float(logs["cost"]) == pytest.approx(cost, rel=1e-4)


def test_it_is_saved_with_the_model(tmp_path):
    model = make()
    model.adapt_source(images())
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.source == "fitted" and loaded.fitted_source.adapted
    np.testing.assert_array_equal(loaded.fitted_source.mean, model.fitted_source.mean)
    np.testing.assert_array_equal(loaded.generate(2, seed=0), model.generate(2, seed=0))


def test_nothing_is_trained_or_measured_before_it_is_fitted():
    for call in ("train_on_batch", "test_on_batch", "evaluate"):
        with pytest.raises(uk.InputError, match="is not fitted yet: call fit, or adapt_source"):
            getattr(make(), call)(images(4))
    model = make()
    model.adapt_source(images())
    model.train_on_batch(images(4))
    assert set(model.evaluate(images(8), return_dict=True, verbose=0)) >= {"cost", "loss"}


def test_other_sources_have_no_weights_for_it():
    names = [v.path for v in make(source="gaussian").variables]
    assert not any("fitted" in name for name in names)
    with pytest.raises(uk.InputError, match="source='gaussian' has nothing to fit"):
        make(source="gaussian").adapt_source(images())


@pytest.mark.parametrize(
    "data, words",
    [
        (np.zeros((9, *SHAPE), "float32"), "all the same"),
        (np.full((9, *SHAPE), np.nan, "float32"), "not finite"),
        (np.zeros((9, 8, 8, 3), "float32"), "of shape"),
        (iter([images(4)]), "call adapt_source"),
    ],
)
def test_data_that_do_not_fit(data, words):
    with pytest.raises(uk.InputError, match=words):
        make().adapt_source(data)


def test_shapes_that_do_not_fit():
    with pytest.raises(uk.InputError, match="needs a source of the data's shape"):
        FittedSource((2,), (3,))
    generator = uk.networks.ResMLPGenerator((2,), 0, 4, 1)
    potential = uk.networks.ResMLPPotential((2,), 4, 1)
    with pytest.raises(uk.InputError, match="not supported by S-JKO"):
        uk.SJKO(generator, potential, source="fitted")
