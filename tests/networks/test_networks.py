import json
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.networks import layers

SHAPES = json.loads(
    (Path(__file__).parents[1] / "golden/released_state_dict_shapes.json").read_text()
)
CELEBA = {"base_channels": 64, "channel_multipliers": (1, 1, 2, 2, 4, 4), "mapping_layers": 3}


@pytest.mark.parametrize(
    "preset, size, arguments, parameters, stored",
    [
        ("cifar10", 32, {}, 44_820_611, 48_103_811),
        ("celeba_hq_256", 256, CELEBA, 37_983_299, 39_644_547),
    ],
)
def test_generators_have_the_released_names_shapes_and_counts(
    preset, size, arguments, parameters, stored
):
    generator = uk.networks.NCSNpp((size, size, 3), **arguments)
    assert generator.count_params() == parameters
    released = SHAPES[f"{preset}/generator"]
    assert sum(int(np.prod(shape)) for shape in released.values()) == stored
    ours = uk.convert.released_generator_state(generator)
    live = {name: tuple(shape) for name, shape in released.items() if ".Dense_0." not in name}
    assert {name: array.shape for name, array in ours.items()} == live


@pytest.mark.parametrize(
    "preset, size, make, parameters",
    [
        ("cifar10", 32, uk.networks.SmallPotential, 12_247_809),
        ("celeba_hq_256", 256, uk.networks.LargePotential, 26_881_537),
    ],
)
def test_potentials_have_the_released_names_shapes_and_counts(preset, size, make, parameters):
    potential = make((size, size, 3))
    assert potential.count_params() == parameters
    released = {n: tuple(s) for n, s in SHAPES[f"{preset}/potential"].items()}
    ours = uk.convert.released_potential_state(potential)
    assert {name: array.shape for name, array in ours.items()} == released


def tiny_generator(**arguments):
    return uk.networks.NCSNpp(
        (16, 16, 3), base_channels=8, channel_multipliers=(1, 2), num_res_blocks=1,
        attention_resolutions=(8,), latent_dim=4, style_dim=8, mapping_layers=1, **arguments,
    )  # fmt: skip


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch has no symbolic tensors")
def test_networks_are_built_without_being_run(monkeypatch):
    """Keras infers unknown shapes by running the layer on a real batch of 83 images."""
    devices, normalize = [], layers.group_normalize

    def recorded(x, *arguments):
        devices.append(x.device.type)
        return normalize(x, *arguments)

    monkeypatch.setattr(layers, "group_normalize", recorded)
    generator = tiny_generator()
    assert "cpu" not in devices and "cuda" not in devices
    generator([ops.zeros((2, *input.shape[1:])) for input in generator.inputs])
    assert "cpu" in devices or "cuda" in devices


NETWORKS = {
    "ncsnpp": tiny_generator,
    "small_potential": lambda: uk.networks.SmallPotential((16, 16, 3), 2),
    "large_potential": lambda: uk.networks.LargePotential((64, 64, 1), 2),
    "mlp": lambda: uk.networks.ResMLPGenerator((4, 4, 1), 3, width=8, output_activation="tanh"),
    "mlp_deterministic": lambda: uk.networks.ResMLPGenerator(2, 0, width=8, residual=True),
    "mlp_potential": lambda: uk.networks.ResMLPPotential(2, width=8),
    "small": lambda: uk.networks.SmallGenerator((32, 32, 3), 8),
    "small_resnet": lambda: uk.networks.SmallResNetPotential((32, 32, 3), 8),
}


def random_inputs(network, batch=4):
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(batch, *i.shape[1:])).astype("float32") for i in network.inputs]
    return inputs if len(inputs) > 1 else inputs[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_rebuilt_from_config(name):
    network = NETWORKS[name]()
    again = type(network).from_config(network.get_config())
    again.set_weights(network.get_weights())
    inputs = random_inputs(network)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(network(inputs)), ops.convert_to_numpy(again(inputs))
    )


@pytest.mark.parametrize("name", ["ncsnpp", "mlp", "small"])
def test_image_generators_stay_within_the_range(name):
    network = NETWORKS[name]()
    images = ops.convert_to_numpy(network(random_inputs(network)))
    assert images.shape[1:] == tuple(network.outputs[0].shape[1:])
    assert np.abs(images).max() <= 1.0


@pytest.mark.parametrize("name", ["small_potential", "large_potential", "mlp_potential"])
def test_potentials_return_one_value_per_sample(name):
    network = NETWORKS[name]()
    assert tuple(network(random_inputs(network)).shape) == (4, 1)


def test_dropout_acts_in_training_only():
    network = tiny_generator(dropout=0.5)
    # The last convolution of each block is initially zero and would hide the dropout.
    rng = np.random.default_rng(0)
    network.set_weights([0.3 * rng.normal(size=w.shape) for w in network.weights])
    inputs = random_inputs(network)
    plain = ops.convert_to_numpy(network(inputs))
    np.testing.assert_array_equal(plain, ops.convert_to_numpy(network(inputs)))
    assert np.abs(plain - ops.convert_to_numpy(network(inputs, training=True))).max() > 1e-3


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: uk.networks.NCSNpp((28, 28, 1)), "divisible by 8"),
        (lambda: uk.networks.SmallPotential((30, 30, 3)), "divisible by 8"),
        (lambda: uk.networks.LargePotential((32, 32, 3)), "divisible by 64"),
        (lambda: uk.networks.SmallGenerator((48, 48, 3)), "square images"),
    ],
)
def test_unsupported_image_sizes(make, message):
    with pytest.raises(uk.InputError, match=message):
        make()


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantized_network_reloads_with_its_weights(mode, tmp_path):
    generator = tiny_generator()
    inputs = [np.ones((2, 16, 16, 3), "float32"), np.ones((2, 4), "float32")]
    # Zero at first, and then quantization could not be seen.
    generator.set_weights([np.full_like(w, 0.01) + w for w in generator.get_weights()])
    before = ops.convert_to_numpy(generator(inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convolutions stay as they are
        generator.quantize(mode)
    quantized = ops.convert_to_numpy(generator(inputs))
    assert np.abs(quantized - before).max() > 0
    generator.save(tmp_path / "generator.keras")
    again = keras.saving.load_model(tmp_path / "generator.keras")
    np.testing.assert_allclose(ops.convert_to_numpy(again(inputs)), quantized, atol=1e-6)
    modes = {getattr(layer.dtype_policy, "quantization_mode", None) for layer in again.layers}
    assert modes == {None, mode}
    plain = tiny_generator()
    assert "quantized" not in plain.get_config()
