import numpy as np
import pytest
from keras import ops
from scipy import signal

import uotm_keras as uk
from uotm_keras.networks import layers

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0


def run(layer, *inputs) -> np.ndarray:
    return ops.convert_to_numpy(layer(*[ops.convert_to_tensor(x) for x in inputs]))


def image(*shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def correlate(plane: np.ndarray, padding: tuple[int, int], gain: float = 1.0) -> np.ndarray:
    return signal.correlate2d(np.pad(plane, padding), gain * FIR, mode="valid")


def test_fir_up_is_zero_insertion_and_filtering():
    x = image(2, 6, 4, 3)
    ours = run(layers.FIRResample("up"), x)
    inserted = np.zeros((12, 8))
    inserted[::2, ::2] = x[1, :, :, 2]
    np.testing.assert_allclose(ours[1, :, :, 2], correlate(inserted, (2, 1), 4.0), atol=1e-5)


def test_fir_down_is_filtering_and_striding():
    x = image(2, 6, 4, 3)
    ours = run(layers.FIRResample("down"), x)
    expected = correlate(x[1, :, :, 2], (1, 1))[::2, ::2]
    np.testing.assert_allclose(ours[1, :, :, 2], expected, atol=1e-5)


def test_fir_blur_pads_two_on_each_side():
    x = image(2, 6, 4, 3)
    ours = run(layers.FIRResample("blur"), x)
    np.testing.assert_allclose(ours[1, :, :, 2], correlate(x[1, :, :, 2], (2, 2)), atol=1e-5)


def test_odd_sizes_cannot_be_halved():
    with pytest.raises(uk.InputError, match="7×8"):
        layers.FIRResample("down")(ops.zeros((1, 7, 8, 3)))


@pytest.mark.parametrize(
    "channels, groups", [(4, 1), (8, 2), (128, 32), (512, 32), (36, 9), (2, 1)]
)
def test_group_count(channels, groups):
    assert layers.group_count(channels) == groups


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_group_norm_normalizes_each_group(offset):
    x = image(2, 5, 5, 8) + offset
    grouped = x.astype("float64").reshape(2, 25, 2, 4)
    mean = grouped.mean(axis=(1, 3), keepdims=True)
    variance = grouped.var(axis=(1, 3), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
    # Far from zero the float32 input itself has lost three digits.
    tolerance = 1e-5 if offset == 0 else 1e-3
    np.testing.assert_allclose(run(layers.GroupNorm(), x), expected, atol=tolerance)


def test_adaptive_group_norm_starts_near_plain_normalization():
    x = image(2, 4, 4, 8)
    layer = layers.AdaptiveGroupNorm()
    ours = run(layer, x, np.zeros((2, 6), "float32"))
    np.testing.assert_allclose(ours, run(layers.GroupNorm(), x), atol=1e-6)
    kernel = np.random.default_rng(1).normal(size=(6, 16)).astype("float32")
    layer.kernel.assign(kernel)
    style = image(2, 6)
    scale, shift = np.split(style @ kernel + np.repeat([1, 0], 8), 2, axis=1)
    expected = run(layers.GroupNorm(), x) * scale[:, None, None] + shift[:, None, None]
    np.testing.assert_allclose(run(layer, x, style), expected, atol=1e-4)


def test_minibatch_stddev_groups_are_strided():
    x = image(8, 2, 2, 3)
    ours = run(layers.MinibatchStddev(), x)
    assert ours.shape == (8, 2, 2, 4)
    np.testing.assert_array_equal(ours[..., :3], x)
    for i in range(8):
        group = x[i % 2 :: 2].astype("float64")
        expected = np.sqrt(group.var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(ours[i, :, :, 3], expected, rtol=1e-5)


@pytest.mark.parametrize("batch, group", [(1, 1), (2, 2), (3, 3), (5, 1), (6, 3), (10, 2), (12, 4)])
def test_minibatch_stddev_of_any_batch(batch, group):
    x = image(batch, 2, 2, 3)
    ours = run(layers.MinibatchStddev(), x)[:, 0, 0, 3]
    rest = batch // group
    for i in range(batch):
        expected = np.sqrt(x[i % rest :: rest].astype("float64").var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(ours[i], expected, rtol=1e-4)


def test_attention_starts_as_the_identity_over_root_two():
    x = image(2, 4, 4, 8)
    np.testing.assert_allclose(run(layers.SelfAttention(), x), x / np.sqrt(2), atol=1e-4)


def test_attention_is_softmax_attention():
    x = image(1, 2, 2, 8)
    layer = layers.SelfAttention()
    layer.build(x.shape)
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    h = run(layer.norm, x).reshape(4, 8).astype("float64")

    def dense(projection, h):
        kernel, bias = (ops.convert_to_numpy(w) for w in projection.weights)
        return h @ kernel + bias

    query, key, value = (dense(p, h) for p in (layer.query, layer.key, layer.value))
    scores = np.exp(query @ key.T / np.sqrt(8))
    attended = scores / scores.sum(1, keepdims=True) @ value
    expected = (x.reshape(4, 8) + dense(layer.output_projection, attended)) / np.sqrt(2)
    np.testing.assert_allclose(run(layer, x).reshape(4, 8), expected, rtol=1e-4, atol=1e-4)


def test_variance_scaling_of_a_convolution():
    layer = layers.conv(64, 3, scale=2.0, mode="fan_out")
    layer.build((None, 8, 8, 32))
    kernel = ops.convert_to_numpy(layer.kernel)
    limit = np.sqrt(3 * 2.0 / (64 * 9))
    assert np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
