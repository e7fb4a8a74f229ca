"""The linear layer of the map and the quadratic form of the potential."""

import keras
import numpy as np

import uotm_keras as uk


def test_affine_map_starts_near_the_identity_and_learns_a_matrix():
    network = uk.networks.ResMLPGenerator(3, 0, width=8, affine=True)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    for name in ("kernel", "bias"):
        variable = getattr(network.get_layer("head_1"), name)
        variable.assign(np.zeros(variable.shape))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(network(x)), x, atol=1e-6)
    matrix = np.random.default_rng(1).normal(size=(3, 3)).astype("float32")
    network.get_layer("linear").set_weights([matrix])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(network(x)), x @ matrix, atol=1e-5)


def test_quadratic_potential():
    plain = uk.networks.ResMLPPotential(3, width=8)
    network = uk.networks.ResMLPPotential(3, width=8, quadratic=True)
    for layer in plain.layers:
        if layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())
    y = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    base = keras.ops.convert_to_numpy(plain(y))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(network(y)), base, atol=1e-6)
    Q = np.random.default_rng(1).normal(size=(3, 3)).astype("float32")
    network.get_layer("form").set_weights([Q])
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(network(y))[:, 0],
        base[:, 0] + np.einsum("bi,ij,bj->b", y, Q, y), rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    again = uk.networks.ResMLPPotential.from_config(network.get_config())
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(again(y)), keras.ops.convert_to_numpy(network(y))
    )
