"""Costs with a frozen network inside: they train as their formula does, and stay frozen."""

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk

MATRIX = np.random.default_rng(0).normal(size=(2, 5)).astype("float32")


class ByFormula:
    """‖xM − yM‖² with a constant M."""

    def __call__(self, source, target):
        matrix = ops.convert_to_tensor(MATRIX)
        return ops.sum(ops.square(ops.matmul(source - target, matrix)), axis=-1)


@keras.saving.register_keras_serializable("test_own_costs")
class ByNetwork:
    """The same of a network's features; its weights are in the configuration."""

    def __init__(self, network):
        self.network = network
        network.trainable = False

    def __call__(self, source, target):
        difference = self.network(source, training=False) - self.network(target, training=False)
        return ops.sum(ops.square(difference), axis=-1)

    def get_config(self):
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "weights": [weights.tolist() for weights in self.network.get_weights()],
        }

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config["network"])
        network.set_weights([np.array(w, "float32") for w in config["weights"]])
        return cls(network)


@keras.saving.register_keras_serializable("test_own_costs")
class AsLayer(keras.layers.Layer):
    """The same as a Keras layer, whose weight the model tracks and saves."""

    def __init__(self, **kwargs):
        super().__init__(trainable=False, **{**kwargs, "name": "own_cost"})
        self.matrix = self.add_weight(shape=(2, 5), initializer="zeros", trainable=False)
        self.built = True

    def call(self, source, target):
        return ops.sum(ops.square(ops.matmul(source - target, self.matrix)), axis=-1)

    def get_config(self):
        return {}


def network() -> keras.Model:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(5, use_bias=False)(inputs))
    model.set_weights([MATRIX])
    return model


def layer() -> AsLayer:
    cost = AsLayer()
    cost.matrix.assign(MATRIX)
    return cost


def trained(cost) -> uk.UOTM:
    keras.utils.set_random_seed(1)
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(2, 0, width=8, blocks=1),
        uk.networks.ResMLPPotential(2, width=8, blocks=1), cost=cost, seed=2,
    )  # fmt: skip
    model.compile(*(keras.optimizers.SGD(0.01) for _ in range(2)))
    points = np.random.default_rng(3).normal(size=(24, 2)).astype("float32")
    model.fit(points, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("make", [lambda: ByNetwork(network()), layer], ids=["network", "layer"])
def test_trains_as_the_formula_does(make, tmp_path):
    cost = make()
    model, expected = trained(cost), trained(ByFormula())
    for mine, right in zip(
        model.generator.get_weights() + model.potential.get_weights(),
        expected.generator.get_weights() + expected.potential.get_weights(), strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(mine, right, rtol=1e-4, atol=1e-6)
    # Frozen: neither trained nor among what is trained.
    assert len(model.trainable_variables) == len(expected.trainable_variables)
    x, y = np.random.default_rng(4).normal(size=(2, 6, 2)).astype("float32")
    right = np.sum(((x - y) @ MATRIX) ** 2, axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(model.cost(x, y)), right, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(ops.convert_to_numpy(loaded.cost(x, y)), right, rtol=1e-5)
    points = np.random.default_rng(3).normal(size=(24, 2)).astype("float32")
    loaded.fit(points, batch_size=8, epochs=1, verbose=0)


def test_the_potential_also_sees_the_cost():
    """Ψ1* of kl depends on it: without the cost the potential's weights would differ."""
    with_cost = trained(ByNetwork(network()))
    without = trained(uk.costs.Quadratic(0.0))
    difference = max(
        np.abs(a - b).max()
        for a, b in zip(
            with_cost.potential.get_weights(), without.potential.get_weights(), strict=True
        )
    )
    assert difference > 1e-4
