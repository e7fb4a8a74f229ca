"""The paper's two convolutional potentials v(y)."""

from typing import Any

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.conditioning import Classes, Condition, with_condition
from uotm_keras.networks.layers import (
    NEARLY_ZERO,
    DownResidualBlock,
    MinibatchStddev,
    conv,
    head_policy,
    variance_scaling,
)
from uotm_keras.utils.errors import InputError


class _ConvolutionalPotential(ConfiguredModel):
    """Stem, residual blocks, minibatch standard deviation and head: (B, H, W, C) → (B, 1)."""

    BLOCKS: tuple[tuple[int, bool], ...] = ()
    """(channels relative to `base_channels`, whether the block halves the size) of each block."""
    FINAL_SCALE = 1.0

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        base_channels: int = 64,
        num_classes: Classes = None,
        condition_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        height, width, channels = image_shape
        factor = 2 ** sum(down for _, down in self.BLOCKS)
        if height % factor or width % factor:
            raise InputError(
                f"image_shape={tuple(image_shape)} does not fit {type(self).__name__}; use a "
                f"height and width divisible by {factor}."
            )
        image = keras.Input((height, width, channels), name="image")
        h = conv(2 * base_channels, 1, mode="fan_out", name="stem")(image)
        for i, (multiplier, down) in enumerate(self.BLOCKS):
            h = DownResidualBlock(multiplier * base_channels, down, name=f"block_{i}")(h)
        h = MinibatchStddev(name="minibatch_stddev")(h)
        h = conv(
            8 * base_channels, 3, self.FINAL_SCALE, "fan_out", name="final_conv",
            dtype=head_policy(),
        )(h)  # fmt: skip
        # In float32: TensorFlow would sum in the dtype of its input.
        h = ops.sum(ops.cast(ops.leaky_relu(h, 0.2), "float32"), axis=(1, 2))
        value = layers.Dense(
            1, kernel_initializer=variance_scaling(mode="fan_out"), dtype="float32", name="value"
        )(h)
        condition = Condition.of(num_classes, condition_dim)
        if condition is not None:
            value = value + condition.projection(h)
        super().__init__(inputs=with_condition(image, condition), outputs=value, **kwargs)
        self.image_shape = (height, width, channels)
        self.base_channels = base_channels
        self.num_classes, self.condition_dim = num_classes, condition_dim


@keras.saving.register_keras_serializable("uotm_keras")
class SmallPotential(_ConvolutionalPotential):
    """Potential v(y) for images of about 32 px.

    With the default 64 base channels it has 12,247,809 parameters. Call it on images of shape
    (B, H, W, C) in [−1, 1]. The output is float32 of shape (B, 1).

    Args:
        image_shape: tuple (height, width, channels); height and width divisible by 8.
        base_channels: int, the paper's ngf. Defaults to 64.
        num_classes: int, the number of classes of a conditional potential, called as
            `potential([y, labels])` with `labels` of shape (B,); or a tuple of k ints, for k
            labels per example. Defaults to None.
        condition_dim: int, the length of a vector to condition on, instead of `num_classes`.
            Defaults to None.

    Raises:
        InputError: the height or width is not divisible by 8.

    Reference:
        UOTM (arXiv 2305.14777), appendix B.
    """

    BLOCKS = ((2, False), (4, True), (8, True), (8, True))
    FINAL_SCALE = NEARLY_ZERO


@keras.saving.register_keras_serializable("uotm_keras")
class LargePotential(_ConvolutionalPotential):
    """Potential v(y) for images of 256 px.

    With the default 64 base channels it has 26,881,537 parameters. Call it on images of shape
    (B, H, W, C) in [−1, 1]. The output is float32 of shape (B, 1).

    Args:
        image_shape: tuple (height, width, channels); height and width divisible by 64.
        base_channels: int, the paper's ngf. Defaults to 64.
        num_classes, condition_dim: As in `SmallPotential`. Default to None.

    Raises:
        InputError: the height or width is not divisible by 64.

    Reference:
        UOTM (arXiv 2305.14777), appendix B.
    """

    BLOCKS = ((4, True), (8, True), (8, True), (8, True), (8, True), (8, True))
