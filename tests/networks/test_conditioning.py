"""Networks with a condition."""

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.networks.conditioning import LabelEmbedding

IMAGE = (8, 8, 1)
GENERATORS = {
    "ncsnpp": lambda **k: uk.networks.NCSNpp(IMAGE, 8, (1,), 1, (8,), 6, 16, 1, **k),
    "light": lambda **k: uk.networks.LightGenerator(IMAGE, 4, **k),
    "resmlp": lambda **k: uk.networks.ResMLPGenerator(IMAGE, 3, 8, affine=True, **k),
}
POTENTIALS = {
    "small": lambda **k: uk.networks.SmallPotential(IMAGE, 2, **k),
    "light": lambda **k: uk.networks.LightPotential(IMAGE, 4, **k),
    "small_resnet": lambda **k: uk.networks.SmallResNetPotential(IMAGE, 4, **k),
    "resmlp": lambda **k: uk.networks.ResMLPPotential(IMAGE, 8, quadratic=True, **k),
}
CONDITIONS = {
    "label": ({"num_classes": 3}, np.array([0, 2, 1, 0], "int32")),
    "labels": ({"num_classes": (3, 2)}, np.array([[0, 1], [2, 0], [1, 1], [0, 0]], "int32")),
    "vector": ({"condition_dim": 2}, np.array([[0, 1], [0.5, 0], [1, 1], [2, 0]], "float32")),
}


def inputs_of(network) -> list:
    rng = np.random.default_rng(0)
    shapes = [t.shape[1:] for t in network.inputs if t.name != "condition"]
    return [rng.standard_normal((4, *shape)).astype("float32") for shape in shapes]


@pytest.mark.parametrize("kind", CONDITIONS)
@pytest.mark.parametrize("name", GENERATORS)
def test_generators_depend_on_the_condition(name, kind):
    arguments, condition = CONDITIONS[kind]
    network = GENERATORS[name](**arguments)
    inputs = inputs_of(network)
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:  # some layers are zero at first
        variable.assign(variable + 0.05 * rng.standard_normal(variable.shape))
    one, same, other = (
        ops.convert_to_numpy(network([*inputs, c]))
        for c in (condition, condition, np.roll(condition, 1, axis=0))
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-5
    again = type(network).from_config(network.get_config())
    again.set_weights(network.get_weights())
    np.testing.assert_allclose(ops.convert_to_numpy(again([*inputs, condition])), one, atol=1e-6)


@pytest.mark.parametrize("kind", CONDITIONS)
@pytest.mark.parametrize("name", POTENTIALS)
def test_potentials_start_as_without_a_condition(name, kind):
    arguments, condition = CONDITIONS[kind]
    network, plain = POTENTIALS[name](**arguments), POTENTIALS[name]()
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    (y,) = inputs_of(network)
    with_c, without = ops.convert_to_numpy(network([y, condition])), ops.convert_to_numpy(plain(y))
    np.testing.assert_allclose(with_c, without, rtol=1e-6)
    kernel = next(
        w for w in network.weights if "projection" in w.path and w.path.endswith("kernel")
    )
    kernel.assign(kernel + np.random.default_rng(0).standard_normal(kernel.shape))
    moved = ops.convert_to_numpy(network([y, condition])) - without
    assert np.ptp(moved) > 1e-3


def test_a_label_embedding_adds_one_vector_per_label():
    layer = LabelEmbedding((3, 2), 4, keras.initializers.RandomNormal(seed=0))
    labels = np.array([[2, 0], [1, 1]], "int32")
    found = ops.convert_to_numpy(layer(labels))
    table = ops.convert_to_numpy(layer.kernel)
    np.testing.assert_allclose(found, [table[2] + table[3], table[1] + table[4]], rtol=1e-6)


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_classes": 3, "condition_dim": 2}, "exclude each other"),
        ({"num_classes": 0}, "num_classes=0 must be a whole number"),
        ({"num_classes": (3, True)}, "must be a whole number"),
        ({"condition_dim": 1.5}, "condition_dim=1.5 must be a whole number"),
    ],
)
def test_arguments_that_do_not_fit(arguments, words):
    with pytest.raises(uk.InputError, match=words):
        uk.networks.ResMLPPotential(2, **arguments)
