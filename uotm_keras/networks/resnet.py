"""The papers' "small" backbone, that of the OTM baseline (Rout et al. 2022)."""

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.layers import Convolution, GroupNorm
from uotm_keras.utils.errors import InputError


def _resnet_conv(filters: int, name: str):
    return Convolution(filters, 3, padding="same", name=name)


def _doublings(image_shape: tuple[int, int, int]) -> int:
    height, width, _ = image_shape
    for count in range(1, 8):
        if height == width == 4 * 2**count:
            return count
    raise InputError(
        f"image_shape={image_shape}: the small backbone needs square images of 8, 16, 32, 64, "
        "128, 256 or 512 px."
    )


@keras.saving.register_keras_serializable("uotm_keras")
class SmallGenerator(ConfiguredModel):
    """T(x) from an 8×8 Gaussian: dense, residual up-blocks, tanh; no latent.

    Its norms are group norms, so that a sample depends on no other sample of the batch.

    Called on x (B, 8, 8, C), gives images (B, H, W, C) in [−1, 1]. The cost compares T(x)
    with x enlarged bicubically (`costs.Quadratic` does).

    Args:
        image_shape: (height, width, channels), square, a power of two from 8.
        base_channels: channels of each block.
    """

    def __init__(self, image_shape: tuple[int, int, int], base_channels: int = 128, **kwargs):
        image_shape = tuple(image_shape)
        channels = image_shape[-1]
        source = keras.Input((8, 8, channels), name="source")
        h = layers.Dense(4 * 4 * base_channels, name="stem")(
            ops.reshape(source, (-1, 64 * channels))
        )
        h = ops.reshape(h, (-1, 4, 4, base_channels))
        for i in range(_doublings(image_shape)):
            bypass = layers.UpSampling2D(name=f"up_{i}_bypass")(h)
            h = ops.relu(GroupNorm(name=f"up_{i}_norm_0")(h))
            h = layers.UpSampling2D(name=f"up_{i}_nearest")(h)
            h = _resnet_conv(base_channels, f"up_{i}_conv_0")(h)
            h = ops.relu(GroupNorm(name=f"up_{i}_norm_1")(h))
            h = _resnet_conv(base_channels, f"up_{i}_conv_1")(h)
            h = h + bypass
        h = ops.relu(GroupNorm(name="head_norm")(h))
        h = _resnet_conv(channels, "head_conv")(h)
        image = layers.Activation("tanh", dtype="float32", name="image")(h)
        super().__init__(inputs=source, outputs=image, **kwargs)
        self.image_shape = image_shape
        self.base_channels = base_channels


@keras.saving.register_keras_serializable("uotm_keras")
class SmallResNetPotential(ConfiguredModel):
    """v(y) of the small backbone: residual down-blocks with average pooling, then dense.

    Called on images (B, H, W, C) in [−1, 1]; gives v of shape (B, 1), float32.

    Args:
        image_shape: (height, width, channels), square, a power of two from 8.
        base_channels: channels of each block.
    """

    def __init__(self, image_shape: tuple[int, int, int], base_channels: int = 128, **kwargs):
        image_shape = tuple(image_shape)
        image = keras.Input(image_shape, name="image")
        h = image
        halvings = _doublings(image_shape) - 1
        for i in range(4):
            down = i < halvings
            bypass = h
            if h.shape[-1] != base_channels:
                bypass = Convolution(base_channels, 1, padding="same", name=f"block_{i}_bypass")(
                    bypass
                )
            if i:
                h = ops.relu(h)
            h = ops.relu(_resnet_conv(base_channels, f"block_{i}_conv_0")(h))
            h = _resnet_conv(base_channels, f"block_{i}_conv_1")(h)
            h = h + bypass
            if down:
                h = layers.AveragePooling2D(2, name=f"block_{i}_pool")(h)
        h = ops.sum(ops.cast(ops.relu(h), "float32"), axis=(1, 2))
        value = layers.Dense(1, dtype="float32", name="value")(h)
        super().__init__(inputs=image, outputs=value, **kwargs)
        self.image_shape = image_shape
        self.base_channels = base_channels
