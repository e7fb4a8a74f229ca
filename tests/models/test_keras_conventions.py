"""What a user of Keras expects of `compile`, `fit`, `evaluate`, and callbacks."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk

POINTS = (2,)
IMAGES = (4, 4, 1)


def make(shape=POINTS, latent_dim=2, rates=(1e-3, 5e-4), compiled=True, **arguments) -> uk.UOTM:
    keras.utils.set_random_seed(0)
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(shape, latent_dim, width=8, blocks=1),
        uk.networks.ResMLPPotential(shape, width=8, blocks=1),
        **{"ema_decay": 0.5, **arguments},
    )
    if compiled:
        model.compile(*map(uk.optimizers.Adam, rates))
    return model


def data(n=32, shape=POINTS, seed=0) -> np.ndarray:
    return np.tanh(np.random.default_rng(seed).normal(size=(n, *shape))).astype("float32")


def rates(model) -> list[float]:
    optimizers = model.generator_optimizer, model.potential_optimizer
    return [float(ops.convert_to_numpy(o.learning_rate)) for o in optimizers]


class TestLearningRates:
    def test_scheduler_scales_both(self):
        model = make()
        scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        history = model.fit(data(), batch_size=16, epochs=2, callbacks=[scheduler], verbose=0)
        np.testing.assert_allclose(rates(model), [2.5e-4, 1.25e-4], rtol=1e-5)
        np.testing.assert_allclose(history.history["learning_rate"], [5e-4, 2.5e-4], rtol=1e-5)
        assert float(ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(2.5e-4)

    def test_reduced_on_plateau(self):
        model = make()
        plateau = keras.callbacks.ReduceLROnPlateau(
            monitor="cost", mode="min", factor=0.1, patience=0, min_delta=1e9
        )
        model.fit(data(), batch_size=16, epochs=2, callbacks=[plateau], verbose=0)
        np.testing.assert_allclose(rates(model), [1e-4, 5e-5], rtol=1e-5)

    def test_the_rate_set_is_the_rate_used(self):
        """With SGD an update is proportional to the rate."""
        moved = []
        for factor in (1.0, 10.0):
            model = make(compiled=False)
            model.compile(keras.optimizers.SGD(1e-3), keras.optimizers.SGD(1e-3))
            before = [np.array(w) for w in model.potential.get_weights()]
            model.optimizer.learning_rate = 1e-3 * factor
            model.fit(data(), batch_size=32, verbose=0)
            after = model.potential.get_weights()
            moved.append(
                np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)])
            )
        np.testing.assert_allclose(moved[1], 10 * moved[0], rtol=1e-2, atol=1e-6)


class TestLogs:
    def test_loss_is_the_sum_of_both(self):
        history = make().fit(data(), batch_size=16, verbose=0).history
        total = history["potential_loss"][0] + history["generator_loss"][0]
        assert history["loss"][0] == pytest.approx(total, rel=1e-5)

    def test_masses_are_means_of_the_weights(self):
        model = make(gradient_penalty=None)
        model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0))
        y = data()
        history = model.fit(y, batch_size=32, verbose=0).history
        weights = model.target_weights(y)
        assert history["target_mass"][0] == pytest.approx(weights.mean(), rel=1e-5)
        rng = np.random.default_rng(1)
        x, z = rng.normal(size=(2, 4000, 2)).astype("float32")
        assert history["source_mass"][0] == pytest.approx(
            model.source_weights(x, z).mean(), rel=0.2
        )


class TestNonFiniteUpdates:
    def test_weights_survive_a_batch_of_nan(self):
        model = make()
        y = data(48)
        y[16:32] = np.nan
        history = model.fit(y, batch_size=16, shuffle=False, verbose=0).history
        for weight in model.get_weights():
            assert np.isfinite(weight).all()
        assert history["skipped_updates"][0] == 1  # the generator does not see y
        assert np.isfinite(model.generate(4, seed=0)).all()

    def test_terminate_on_nan_stops(self):
        model = make()
        history = model.fit(
            np.full((32, 2), np.nan, "float32"), batch_size=16, epochs=5, verbose=0,
            callbacks=[keras.callbacks.TerminateOnNaN()],
        )  # fmt: skip
        assert len(history.epoch) <= 1

    def test_early_stopping_without_arguments(self):
        model = make()
        model.fit(
            data(), batch_size=16, epochs=2, validation_split=0.5, verbose=0,
            callbacks=[keras.callbacks.EarlyStopping()],
        )  # fmt: skip


class TestEvaluation:
    def test_validation_data_and_split(self):
        for arguments in ({"validation_split": 0.5}, {"validation_data": (data(8, seed=1), None)}):
            history = make().fit(data(), batch_size=8, verbose=0, **arguments).history
            for name in ("loss", "potential_loss", "generator_loss", "cost", "source_mass"):
                assert np.isfinite(history[f"val_{name}"][0])

    def test_evaluate_is_the_semi_dual_of_the_average(self):
        model = make(cost=uk.costs.Quadratic(0.1))
        model.fit(data(), batch_size=16, verbose=0)
        y = data(4096, seed=1)
        logs = model.evaluate(y, batch_size=4096, verbose=0, return_dict=True)
        assert logs == model.evaluate(y, batch_size=4096, verbose=0, return_dict=True)
        rng = np.random.default_rng(2)
        x, z = rng.normal(size=(2, 4096, 2)).astype("float32")
        moved = model.transport(x, z)
        v = [ops.convert_to_numpy(model.potential(a))[:, 0] for a in (moved, y)]
        cost = 0.1 * ((x - moved) ** 2).sum(1)
        potential_loss = np.expm1(v[0] - cost).mean() + np.expm1(-v[1]).mean()
        assert logs["cost"] == pytest.approx(cost.mean(), rel=0.1)
        assert logs["potential_loss"] == pytest.approx(potential_loss, abs=0.05)
        assert logs["generator_loss"] == pytest.approx((cost - v[0]).mean(), abs=0.05)
        assert set(logs) == {
            "loss", "potential_loss", "generator_loss", "cost", "source_mass", "target_mass"
        }  # fmt: skip

    def test_evaluation_does_not_touch_training(self):
        one, other = make(), make()
        options = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}
        one.fit(data(), **options)
        other.fit(data(), **options, validation_data=data(8, seed=1))
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_test_on_batch(self):
        logs = make().test_on_batch(data(8), return_dict=True)
        assert np.isfinite(logs["potential_loss"])

    def test_compiled_metrics_see_data_and_samples(self):
        model = make(compiled=False)
        model.compile(metrics=[keras.metrics.MeanSquaredError(name="mse")])
        logs = model.evaluate(data(), verbose=0, return_dict=True)
        assert logs["mse"] > 0

    def test_frechet_distance_as_a_compiled_metric(self):
        model = make(compiled=False)
        fid = uk.metrics.FrechetInceptionDistance("features", name="frechet")
        model.compile(metrics=[fid], run_eagerly=True)
        y = data(64, seed=3)
        logs = model.evaluate(y, batch_size=64, verbose=0, return_dict=True)
        assert float(logs["frechet"]) > 0


class TestSampleWeights:
    @pytest.mark.parametrize("pairing", ["paired", "all_pairs"])
    def test_weight_two_is_the_example_twice(self, pairing):
        """A batch in which half of the examples weigh 2 and half 0 is the first half doubled."""
        y = data(8)
        noise = [np.tile(a, (2, 1)) for a in np.random.default_rng(1).normal(size=(2, 4, 2))]
        x, z = (a.astype("float32") for a in noise)
        losses = []
        for real, weight in (
            (y, np.repeat([2.0, 0.0], 4).astype("float32")),
            (np.concatenate([y[:4], y[:4]]), None),
        ):
            model = make(gradient_penalty=None, pairing=pairing, source="data")
            logs = model.train_on_batch(x, real, sample_weight=weight, return_dict=True)
            losses.append([logs["potential_loss"], logs["target_mass"]])
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)

    def test_weights_of_the_source(self):
        x, y = data(8, seed=1), data(8)
        zeros, ones = np.zeros(8, "float32"), np.ones(8, "float32")
        model = make(source="data", gradient_penalty=None)
        logs = model.train_on_batch(x, y, sample_weight=(zeros, ones), return_dict=True)
        assert logs["cost"] == 0 and logs["source_mass"] == 0 and logs["target_mass"] > 0

    def test_without_a_source_dataset(self):
        history = make().fit(
            data(), sample_weight=np.zeros(32, "float32"), batch_size=32, verbose=0
        )
        assert history.history["target_mass"][0] == 0

    def test_class_weight_is_refused(self):
        with pytest.raises(uk.InputError, match="class_weight is not supported"):
            make().fit(data(), np.zeros(32), class_weight={0: 1.0}, verbose=0)


class TestRegularizers:
    def test_added_to_the_loss_of_its_own_network(self):
        inputs = keras.Input((2,))
        dense = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))
        potential = keras.Model(inputs, dense(inputs))
        generator = uk.networks.ResMLPGenerator(2, 0, width=4, blocks=1)
        model = uk.UOTM(generator, potential, gradient_penalty=None)
        model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0))
        logs = model.update_potential(data(8), data(8, seed=1))
        logs = {k: float(ops.convert_to_numpy(v)) for k, v in logs.items()}
        penalty = 0.5 * float((dense.get_weights()[0] ** 2).sum())
        assert logs["loss"] - logs["real"] - logs["fake"] == pytest.approx(penalty, rel=1e-4)

    def test_add_loss_is_refused(self):
        @keras.saving.register_keras_serializable("test")
        class Adds(keras.layers.Layer):
            def call(self, x):
                if not isinstance(x, keras.KerasTensor):
                    self.add_loss(ops.sum(x))
                return x

        inputs = keras.Input((2,))
        potential = keras.Model(inputs, keras.layers.Dense(1)(Adds()(inputs)))
        model = uk.UOTM(uk.networks.ResMLPGenerator(2, 0, width=4, blocks=1), potential)
        model.compile()
        with pytest.raises(uk.InputError, match="add_loss"):
            model.update_potential(data(8), data(8, seed=1))


class TestInputs:
    @pytest.mark.parametrize(
        "images, shown",
        [
            (np.full((8, *IMAGES), 200, "uint8"), "uint8 in [200, 200]"),
            (np.linspace(0, 255, 8 * 16).reshape(8, *IMAGES).astype("float32"), "[0, 255]"),
            (np.linspace(0, 1, 8 * 16).reshape(8, *IMAGES).astype("float32"), "[0, 1]"),
        ],
    )
    def test_range_of_images_is_checked(self, images, shown):
        model = make(IMAGES)
        with pytest.warns(UserWarning) as caught:
            model.fit(images, batch_size=8, verbose=0)
        ours = [str(w.message) for w in caught if "expected range is [-1, 1]" in str(w.message)]
        assert len(ours) == 1 and shown in ours[0]
        if images.dtype == np.uint8:
            with pytest.warns(UserWarning, match="expected range"):
                model.target_weights(images)

    def test_right_range_is_silent(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            make(IMAGES).fit(data(8, IMAGES), batch_size=8, verbose=0)

    def test_same_array_twice(self):
        y = data()
        with pytest.raises(uk.InputError, match="same array"):
            make().fit(y, y, verbose=0)

    @pytest.mark.parametrize("x", [{"a": data()}, [data(), data()], (data(),)])
    def test_structures(self, x):
        with pytest.raises(uk.InputError, match="accepted are one array of data"):
            make().fit(x, verbose=0)

    def test_a_dataset_by_name(self):
        model = make((8, 8, 1))
        history = model.fit(uk.data.get("digits"), batch_size=600, epochs=2, verbose=0)
        assert len(history.epoch) == 2 and int(model.step) == 2 * (1797 // 600)

    def test_evaluates_a_dataset_once_and_in_order(self):
        dataset = uk.data.get("digits:3")
        model = make((8, 8, 1))
        whole = dataset.take(np.arange(len(dataset)))
        expected = model.evaluate(whole, batch_size=50, verbose=0, return_dict=True)
        assert model.evaluate(dataset, batch_size=50, verbose=0, return_dict=True) == expected
        history = model.fit(whole, batch_size=100, verbose=0, validation_data=dataset).history
        assert np.isfinite(history["val_loss"][0])

    def test_arguments_by_position_as_in_keras(self):
        """x, y, batch_size, epochs, verbose, callbacks."""
        calls = []
        callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: calls.append(e))
        make().fit(data(), None, 16, 2, 0, [callback])
        assert calls == [0, 1]

    def test_latent_alone(self):
        """A DCGAN's generator: noise of any shape, and no cost."""
        for cost in (uk.costs.Zero(), uk.costs.Quadratic(0)):
            noise = keras.Input((5,))
            h = keras.layers.Dense(16, activation="tanh")(noise)
            generator = keras.Model(noise, keras.layers.Reshape(IMAGES)(h))
            potential = uk.networks.ResMLPPotential(IMAGES, width=8, blocks=1)
            model = uk.UOTM(generator, potential, cost=cost)
            model.compile()
            history = model.fit(data(16, IMAGES), batch_size=8, verbose=0).history
            assert history["cost"][0] == 0
            assert model.generate(3, seed=0).shape == (3, *IMAGES)


def functional(output):
    inputs = keras.Input((2,))
    return keras.Model(inputs, output(inputs))


class Subclassed(keras.Model):
    def call(self, x):
        return x


class TestConstruction:
    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"cost": "quadratic"}, "cost='quadratic'"),
            ({"gradient_penalty": "r1"}, "gradient_penalty='r1'"),
        ],
    )
    def test_strings_for_objects(self, arguments, message):
        with pytest.raises(uk.InputError, match=message):
            make(**arguments)

    def test_potential_of_several_values(self):
        with pytest.raises(uk.InputError, match="one value per example"):
            uk.UOTM(
                uk.networks.ResMLPGenerator(2, 0, width=4, blocks=1),
                functional(keras.layers.Dense(3)),
            )

    def test_network_without_inputs(self):
        network = Subclassed()
        network.build((None, 2))
        with pytest.raises(uk.InputError, match="has no inputs"):
            uk.UOTM(network, uk.networks.ResMLPPotential(2, width=4, blocks=1))

    @pytest.mark.parametrize("frozen", ["generator", "potential"])
    def test_nothing_to_train(self, frozen):
        model = make(compiled=False)
        getattr(model, frozen).trainable = False
        with pytest.raises(uk.InputError, match=f"the {frozen} has no trainable weights"):
            model.compile()

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"optimizer": "adam"}, "generator_optimizer and potential_optimizer"),
            ({"loss": "mse"}, "does not take loss"),
            ({"weighted_metrics": ["mse"]}, "does not take weighted_metrics"),
            ({"accumulate": 0}, "accumulate=0"),
            ({"row_order": "columns"}, "row_order='columns'"),
        ],
    )
    def test_compile_arguments(self, arguments, message):
        with pytest.raises(uk.InputError, match=message):
            make(compiled=False).compile(**arguments)

    def test_one_optimizer_for_both(self):
        adam = keras.optimizers.Adam()
        with pytest.raises(uk.InputError, match="same object"):
            make(compiled=False).compile(adam, adam)

    def test_batch_normalization_under_r1(self):
        """Its moving statistics are updated inside the differentiated function."""
        inputs = keras.Input((2,))
        normalize = keras.layers.BatchNormalization()
        h = keras.layers.Dense(4)(normalize(inputs))
        potential = keras.Model(inputs, keras.layers.Dense(1)(h))
        generator = uk.networks.ResMLPGenerator(2, 0, width=4, blocks=1)
        model = uk.UOTM(generator, potential, gradient_penalty=uk.penalties.R1(0.1))
        model.compile()
        model.fit(data() + 3, batch_size=16, epochs=3, verbose=0)
        assert np.isfinite(model.get_weights()[0]).all()
        assert (np.abs(ops.convert_to_numpy(normalize.moving_mean)) > 0.01).all()


class TestSummary:
    def test_average_has_its_name_and_parameters_are_counted(self):
        model = make()
        lines = []
        model.summary(print_fn=lambda line, **_: lines.append(line))
        text = "\n".join(lines)
        assert "ema_generator" in text
        own = model.generator.count_params() + model.potential.count_params()
        trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        assert trainable == own
        assert f"{trainable:,}" in text

    def test_a_quantized_generator_reloads(self, tmp_path):
        model = make()
        model.fit(data(), batch_size=16, verbose=0)
        generator = model.ema_generator
        x, z = data(8), data(8, seed=1)
        before = ops.convert_to_numpy(generator([x, z]))
        generator.quantize("int8")
        quantized = ops.convert_to_numpy(generator([x, z]))
        generator.save(tmp_path / "generator.keras")
        again = keras.saving.load_model(tmp_path / "generator.keras")
        np.testing.assert_allclose(ops.convert_to_numpy(again([x, z])), quantized, atol=1e-6)
        assert 0 < np.abs(quantized - before).max() < 0.1
