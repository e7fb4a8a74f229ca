"""The papers' "small" backbone, taken from the OTM baseline (Rout et al. 2022)."""

from typing import Any

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.conditioning import Classes, Condition, with_condition
from uotm_keras.networks.layers import NEARLY_ZERO, Convolution, GroupNorm, variance_scaling
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor


def _resnet_conv(filters: int, name: str) -> Convolution:
    return Convolution(filters, 3, padding="same", name=name)


def _doubled(h: Tensor, name: str) -> Tensor:
    return layers.UpSampling2D(data_format="channels_last", name=name)(h)


def _doublings(image_shape: tuple[int, int, int]) -> int:
    height, width, _ = image_shape
    for count in range(1, 8):
        if height == width == 4 * 2**count:
            return count
    raise InputError(
        f"image_shape={tuple(image_shape)} does not fit the small backbone; use square images of "
        "8, 16, 32, 64, 128, 256 or 512 px."
    )


@keras.saving.register_keras_serializable("uotm_keras")
class SmallGenerator(ConfiguredModel):
    """Generator T(x) of the small backbone: dense, residual up-blocks, tanh; no latent vector.

    Call it on Gaussian noise `x` of shape (B, 8, 8, C). The output is float32 images of shape
    (B, H, W, C) in [−1, 1]. The cost compares T(x) with the bicubic upsampling of x, which
    `costs.Quadratic` computes. The normalization layers are group normalization, so that no sample
    depends on the rest of the batch.

    Args:
        image_shape: tuple (height, width, channels); height = width = a power of two from 8 to
            512.
        base_channels: int, the number of channels of each block. Defaults to 128.

    Raises:
        InputError: the images are not square or their size is not one of these powers of two.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], base_channels: int = 128, **kwargs: Any
    ) -> None:
        height, width, channels = image_shape
        source = keras.Input((8, 8, channels), name="source")
        h = layers.Dense(4 * 4 * base_channels, name="stem")(
            ops.reshape(source, (-1, 64 * channels))
        )
        h = ops.reshape(h, (-1, 4, 4, base_channels))
        for i in range(_doublings(image_shape)):
            bypass = _doubled(h, f"up_{i}_bypass")
            h = ops.relu(GroupNorm(name=f"up_{i}_norm_0")(h))
            h = _doubled(h, f"up_{i}_nearest")
            h = _resnet_conv(base_channels, f"up_{i}_conv_0")(h)
            h = ops.relu(GroupNorm(name=f"up_{i}_norm_1")(h))
            h = _resnet_conv(base_channels, f"up_{i}_conv_1")(h)
            h = h + bypass
        h = ops.relu(GroupNorm(name="head_norm")(h))
        h = _resnet_conv(channels, "head_conv")(h)
        image = layers.Activation("tanh", dtype="float32", name="image")(h)
        super().__init__(inputs=source, outputs=image, **kwargs)
        self.image_shape = (height, width, channels)
        self.base_channels = base_channels


@keras.saving.register_keras_serializable("uotm_keras")
class SmallResNetPotential(ConfiguredModel):
    """Potential v(y) of the small backbone: residual down-blocks, average pooling, dense.

    Call it on images of shape (B, H, W, C) in [−1, 1]. The output is float32 of shape (B, 1).

    Args:
        image_shape: tuple (height, width, channels); height = width = a power of two from 8 to
            512.
        base_channels: int, the number of channels of each block. Defaults to 128.
        num_classes, condition_dim: As in `SmallPotential`. Default to None.

    Raises:
        InputError: the images are not square or their size is not one of these powers of two.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        base_channels: int = 128,
        num_classes: Classes = None,
        condition_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        height, width, channels = image_shape
        image = keras.Input((height, width, channels), name="image")
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
            h = Convolution(
                base_channels, 3, padding="same", name=f"block_{i}_conv_1",
                kernel_initializer=variance_scaling(NEARLY_ZERO),
            )(h)  # fmt: skip
            h = h + bypass
            if down:
                h = layers.AveragePooling2D(2, data_format="channels_last", name=f"block_{i}_pool")(
                    h
                )
        h = ops.sum(ops.cast(ops.relu(h), "float32"), axis=(1, 2))
        # As in the paper's potentials, v is nearly 0 at first: exp(v) of a sum over all pixels
        # would overflow.
        value = layers.Dense(
            1, kernel_initializer=variance_scaling(NEARLY_ZERO), dtype="float32", name="value"
        )(h)
        condition = Condition.of(num_classes, condition_dim)
        if condition is not None:
            value = value + condition.projection(h)
        super().__init__(inputs=with_condition(image, condition), outputs=value, **kwargs)
        self.image_shape = (height, width, channels)
        self.base_channels = base_channels
        self.num_classes, self.condition_dim = num_classes, condition_dim
