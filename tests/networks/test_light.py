"""The light networks: shapes, values at the start, serialization."""

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.networks import LightGenerator, LightPotential
from uotm_keras.networks.light import channels_from_pixels, pixels_from_channels


@pytest.mark.parametrize("size, channels", [(8, 1), (32, 3), (64, 3)])
def test_shapes_and_the_start(size, channels):
    keras.utils.set_random_seed(0)
    shape = (size, size, channels)
    generator, potential = LightGenerator(shape, 8), LightPotential(shape, 8)
    x = np.random.default_rng(0).standard_normal((6, 8, 8, channels)).astype("float32")
    images = ops.convert_to_numpy(generator(x))
    assert images.shape == (6, *shape) and np.abs(images).max() <= 1 and images.std() > 0.05
    values = ops.convert_to_numpy(potential(images))
    assert values.shape == (6, 1) and np.abs(values).max() < 1.0
    noise = np.random.default_rng(1).uniform(-1, 1, (6, *shape)).astype("float32")
    assert np.abs(ops.convert_to_numpy(potential(noise))).max() < 1.0


def test_pixels_become_channels_and_return():
    images = np.arange(2 * 4 * 6 * 3, dtype="float32").reshape(2, 4, 6, 3)
    small = ops.convert_to_numpy(channels_from_pixels(ops.convert_to_tensor(images)))
    assert small.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(small[0, 1, 2, 3:6], images[0, 2, 5])
    np.testing.assert_array_equal(
        ops.convert_to_numpy(pixels_from_channels(ops.convert_to_tensor(small), 3)), images
    )


def test_a_latent_changes_the_image():
    generator = LightGenerator((16, 16, 1), 4, latent_dim=5)
    x = np.zeros((1, 8, 8, 1), "float32")
    one, other = (ops.convert_to_numpy(generator([x, np.full((1, 5), z)])) for z in (0.0, 2.0))
    assert np.abs(one - other).max() > 1e-4


@pytest.mark.parametrize(
    "make", [lambda: LightGenerator((16, 16, 3), 4, 3), lambda: LightPotential((16, 16, 3), 4)]
)
def test_they_are_rebuilt_from_their_config(make, tmp_path):
    network = make()
    network.save(tmp_path / "n.keras")
    loaded = keras.saving.load_model(tmp_path / "n.keras")
    for a, b in zip(network.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [LightGenerator, LightPotential])
@pytest.mark.parametrize("shape", [(4, 4, 3), (24, 24, 3), (16, 32, 3)])
def test_other_sizes(make, shape):
    with pytest.raises(uk.InputError, match="use square images of 8, 16"):
        make(shape)
