"""Light convolutional networks, for small images on a CPU.

Most channels are at low resolutions, where a convolution is cheap, and none of the layers but the
last of the generator and the first of the potential are at full resolution.
"""

from typing import Any

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.conditioning import Classes, Condition, with_condition
from uotm_keras.networks.layers import (
    AdaptiveGroupNorm,
    MinibatchStddev,
    conv,
    head_policy,
    variance_scaling,
)
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

_SMALL = 0.1
"""Variance scale of the last layer of a residual branch."""
_STYLE = 128


def _levels(image_shape: tuple[int, int, int]) -> list[int]:
    """Return the heights of the feature maps, from 4 to half of the image's."""
    height, width, _ = image_shape
    for count in range(8):
        if height == width == 8 * 2**count:
            return [4 * 2**level for level in range(count + 1)]
    raise InputError(
        f"image_shape={tuple(image_shape)} does not fit the light networks; use square images of "
        "8, 16, 32, 64, 128, 256, 512 or 1024 px."
    )


def _channels(height: int, width: int) -> int:
    """Four times `width` up to 8 px, and half as many at each higher level, at least `width`/2."""
    return max(width * 4 * 8 // max(height, 8), width // 2, 4)


def _doubled(h: Tensor, name: str) -> Tensor:
    return layers.UpSampling2D(data_format="channels_last", name=name)(h)


def pixels_from_channels(h: Tensor, channels: int) -> Tensor:
    """(B, H, W, 4·C) to (B, 2·H, 2·W, C)."""
    _, height, width, _ = h.shape
    h = ops.reshape(h, (-1, height, width, 2, 2 * channels))  # LiteRT transposes 5 axes at most
    return ops.reshape(ops.transpose(h, (0, 1, 3, 2, 4)), (-1, 2 * height, 2 * width, channels))


def channels_from_pixels(h: Tensor) -> Tensor:
    """(B, H, W, C) to (B, H/2, W/2, 4·C)."""
    _, height, width, channels = h.shape
    h = ops.reshape(h, (-1, height // 2, 2, width // 2, 2 * channels))
    h = ops.transpose(h, (0, 1, 3, 2, 4))
    return ops.reshape(h, (-1, height // 2, width // 2, 4 * channels))


@keras.saving.register_keras_serializable("uotm_keras")
class LightGenerator(ConfiguredModel):
    """Generator T(x) or T(x, z) for a CPU: residual blocks, modulated by a style vector.

    x is standard noise of the shape (B, 8, 8, C), which the cost enlarges (see
    `costs.Quadratic`). It gives the first feature map and, together with z if there is one, the
    style that modulates every group normalization. The output is float32 images (B, H, W, C) in
    [−1, 1].

    Args:
        image_shape: Tuple (height, width, channels); height = width = a power of two from 8 to
            1024.
        width: Number of channels at 32 px; there are four times as many at 8 px and below.
            Defaults to 32.
        latent_dim: Length of z; 0 for T(x). Defaults to 0.
        num_classes, condition_dim: As in `NCSNpp`. Default to `None`.

    Raises:
        InputError: If the images are not square or of another size.

    Example:

    >>> generator = uk.networks.LightGenerator((32, 32, 3), width=8)
    >>> tuple(generator(np.zeros((2, 8, 8, 3), "float32")).shape)
    (2, 32, 32, 3)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 32,
        latent_dim: int = 0,
        num_classes: Classes = None,
        condition_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        channels = image_shape[-1]
        heights = _levels(image_shape)
        source = keras.Input((8, 8, channels), name="source")
        inputs: Any = source
        flat = style = ops.reshape(source, (-1, 64 * channels))
        if latent_dim:
            latent = keras.Input((latent_dim,), name="latent")
            inputs, style = [source, latent], ops.concatenate([flat, latent], axis=-1)
        condition = Condition.of(num_classes, condition_dim)
        if condition is not None:
            style = ops.concatenate([style, condition.style(_STYLE)], axis=-1)
        for i in range(2):
            style = layers.Dense(_STYLE, activation="silu", name=f"style_{i}")(style)
        first = _channels(4, width)
        h = layers.Dense(16 * first, name="stem")(flat)
        h = ops.reshape(h, (-1, 4, 4, first))
        for height in heights:
            h = self._block(h, style, _channels(height, width), height)
        h = AdaptiveGroupNorm(name="head_norm")(h, style)
        h = conv(4 * channels, 3, name="head")(ops.leaky_relu(h, 0.2))
        h = pixels_from_channels(h, channels)
        # Mixes neighbors that come from different channels.
        h = h + conv(channels, 3, _SMALL, name="smooth")(h)
        image = layers.Activation("tanh", dtype="float32", name="image")(h)
        inputs = with_condition(inputs, condition)
        super().__init__(inputs=inputs, outputs=image, **kwargs)
        self.image_shape = tuple(image_shape)
        self.width, self.latent_dim = width, latent_dim
        self.num_classes, self.condition_dim = num_classes, condition_dim

    def _block(self, h: Tensor, style: Tensor, filters: int, height: int) -> Tensor:
        """Two convolutions at `height`, to which a smaller `h` is enlarged first."""
        name = f"level_{height}"
        bypass = h
        if h.shape[-1] != filters:
            bypass = conv(filters, 1, name=f"{name}_bypass")(bypass)
        h = ops.leaky_relu(AdaptiveGroupNorm(name=f"{name}_norm_0")(h, style), 0.2)
        if h.shape[1] != height:
            h, bypass = _doubled(h, f"{name}_up"), _doubled(bypass, f"{name}_bypass_up")
        h = conv(filters, 3, name=f"{name}_conv_0")(h)
        h = ops.leaky_relu(AdaptiveGroupNorm(name=f"{name}_norm_1")(h, style), 0.2)
        return bypass + conv(filters, 3, _SMALL, name=f"{name}_conv_1")(h)


@keras.saving.register_keras_serializable("uotm_keras")
class LightPotential(ConfiguredModel):
    """Potential v(y) for a CPU: residual blocks, average pooling, minibatch statistics.

    Call it on images (B, H, W, C) in [−1, 1]. The output is float32 (B, 1), near 0 at first.

    Args:
        image_shape: Tuple (height, width, channels); height = width = a power of two from 8 to
            1024.
        width: Number of channels at 32 px; there are four times as many at 8 px and below.
            Defaults to 32.
        num_classes, condition_dim: As in `SmallPotential`. Default to `None`.

    Raises:
        InputError: If the images are not square or of another size.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 32,
        num_classes: Classes = None,
        condition_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        heights = _levels(image_shape)[::-1]
        image = keras.Input(tuple(image_shape), name="image")
        h = conv(_channels(heights[0], width), 3, name="stem")(channels_from_pixels(image))
        for height in heights:
            h = self._block(h, _channels(height, width), height)
        h = MinibatchStddev(name="minibatch_stddev")(h)
        h = conv(_channels(4, width), 3, name="final_conv", dtype=head_policy())(
            ops.leaky_relu(h, 0.2)
        )
        h = ops.reshape(ops.leaky_relu(h, 0.2), (-1, 16 * h.shape[-1]))
        h = ops.leaky_relu(layers.Dense(4 * width, name="hidden")(h), 0.2)
        value = layers.Dense(
            1, kernel_initializer=variance_scaling(0.01), dtype="float32", name="value"
        )(h)
        condition = Condition.of(num_classes, condition_dim)
        if condition is not None:
            value = value + condition.projection(h)
        super().__init__(inputs=with_condition(image, condition), outputs=value, **kwargs)
        self.image_shape = tuple(image_shape)
        self.width = width
        self.num_classes, self.condition_dim = num_classes, condition_dim

    def _block(self, h: Tensor, filters: int, height: int) -> Tensor:
        """Two convolutions at `height`, after a larger `h` is halved."""
        name = f"level_{height}"
        if h.shape[1] != height:
            h = layers.AveragePooling2D(2, data_format="channels_last", name=f"{name}_pool")(h)
        bypass = h
        if h.shape[-1] != filters:
            bypass = conv(filters, 1, use_bias=False, name=f"{name}_bypass")(bypass)
        h = conv(filters, 3, name=f"{name}_conv_0")(ops.leaky_relu(h, 0.2))
        return bypass + conv(filters, 3, _SMALL, name=f"{name}_conv_1")(ops.leaky_relu(h, 0.2))
