"""The paper's two potentials v(y)."""

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.layers import (
    NEARLY_ZERO,
    DownResidualBlock,
    MinibatchStddev,
    conv,
    variance_scaling,
)
from uotm_keras.utils.errors import InputError


def _head_policy() -> keras.DTypePolicy:
    """That of the last convolution: float32 where others compute in float16.

    It may start at some 1e-7, which float16 rounds to 0, and with it the sign that decides
    the slope of the LeakyReLU after it.
    """
    policy = keras.config.dtype_policy()
    return keras.DTypePolicy("float32") if policy.compute_dtype == "float16" else policy


class _ConvolutionalPotential(ConfiguredModel):
    """A stem, residual blocks, minibatch standard deviation, and a head: (B, H, W, C) → (B, 1)."""

    BLOCKS: tuple[tuple[int, bool], ...] = ()
    """(channels over `base_channels`, whether the block halves the size) of each block."""
    FINAL_SCALE = 1.0

    def __init__(self, image_shape: tuple[int, int, int], base_channels: int = 64, **kwargs):
        image_shape = tuple(image_shape)
        height, width, _ = image_shape
        factor = 2 ** sum(down for _, down in self.BLOCKS)
        if height % factor or width % factor:
            raise InputError(
                f"image_shape={image_shape}: {type(self).__name__} needs a height and width "
                f"divisible by {factor}."
            )
        image = keras.Input(image_shape, name="image")
        h = conv(2 * base_channels, 1, mode="fan_out", name="stem")(image)
        for i, (multiplier, down) in enumerate(self.BLOCKS):
            h = DownResidualBlock(multiplier * base_channels, down, name=f"block_{i}")(h)
        h = MinibatchStddev(name="minibatch_stddev")(h)
        h = conv(
            8 * base_channels, 3, self.FINAL_SCALE, "fan_out", name="final_conv",
            dtype=_head_policy(),
        )(h)  # fmt: skip
        # Summed in float32, where TensorFlow would sum in the dtype of what it is given.
        h = ops.sum(ops.cast(ops.leaky_relu(h, 0.2), "float32"), axis=(1, 2))
        value = layers.Dense(
            1, kernel_initializer=variance_scaling(mode="fan_out"), dtype="float32", name="value"
        )(h)
        super().__init__(inputs=image, outputs=value, **kwargs)
        self.image_shape = image_shape
        self.base_channels = base_channels


@keras.saving.register_keras_serializable("uotm_keras")
class SmallPotential(_ConvolutionalPotential):
    """The potential for images of about 32 px (12 247 809 parameters at 64 base channels).

    Called on images (B, H, W, C) in [−1, 1]; gives v of shape (B, 1), float32.

    Args:
        image_shape: (height, width, channels), sizes divisible by 8.
        base_channels: the paper's ngf.

    Raises:
        InputError: a size that three halvings do not divide.
    """

    BLOCKS = ((2, False), (4, True), (8, True), (8, True))
    FINAL_SCALE = NEARLY_ZERO


@keras.saving.register_keras_serializable("uotm_keras")
class LargePotential(_ConvolutionalPotential):
    """The potential for images of 256 px (26 881 537 parameters at 64 base channels).

    Called on images (B, H, W, C) in [−1, 1]; gives v of shape (B, 1), float32.

    Args:
        image_shape: (height, width, channels), sizes divisible by 64.
        base_channels: the paper's ngf.

    Raises:
        InputError: a size that six halvings do not divide.
    """

    BLOCKS = ((4, True), (8, True), (8, True), (8, True), (8, True), (8, True))
