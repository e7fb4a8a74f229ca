"""The NCSN++ generator of the paper."""

from typing import Any

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.conditioning import Classes, Condition, with_condition
from uotm_keras.networks.layers import (
    INVERSE_SQRT_2,
    NEARLY_ZERO,
    GroupNorm,
    PixelNorm,
    SelfAttention,
    StyledResidualBlock,
    conv,
    variance_scaling,
)
from uotm_keras.networks.resampling import FIRResample
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor


@keras.saving.register_keras_serializable("uotm_keras")
class NCSNpp(ConfiguredModel):
    """NCSN++ as a one-step generator T(x, z), modulated by a latent vector.

    The network is a U-Net of BigGAN-type residual blocks with FIR resampling and a residual input
    pyramid. The latent vector passes through a mapping network and modulates the group
    normalization of every block. Call it as `generator([x, z])` with `x` of shape (B, H, W, C)
    and `z` of shape (B, latent_dim). The output is float32 images of shape (B, H, W, C) in
    [−1, 1].

    The defaults give the paper's CIFAR-10 network (44,820,611 parameters). For CelebA-HQ at
    256 px use `base_channels=64, channel_multipliers=(1, 1, 2, 2, 4, 4), mapping_layers=3`.

    Args:
        image_shape: tuple (height, width, channels). The height and width must be divisible by
            2 ** (number of levels − 1).
        base_channels: int, the number of channels of the first level. Defaults to 128.
        channel_multipliers: tuple of ints, the channels of each level relative to
            `base_channels`. Defaults to (1, 2, 2, 2).
        num_res_blocks: int, the number of residual blocks per level of the encoder; the decoder
            has one more. Defaults to 2.
        attention_resolutions: tuple of ints, the heights at which attention follows the blocks.
            Defaults to (16,).
        latent_dim: int, the length of z. Defaults to 100.
        style_dim: int, the width of the mapping network. Defaults to 256.
        mapping_layers: int, the number of mapping layers after the first. Defaults to 4.
        dropout: float in [0, 1), the dropout rate in the residual blocks. Defaults to 0.
        rematerialize: bool. Whether training recomputes the activations inside the residual
            blocks for the gradient instead of storing them, which saves memory and costs about a
            third more computation. Excludes dropout. Defaults to False.
        num_classes: int, the number of classes of a class-conditional generator, called as
            `generator([x, z, labels])` with `labels` of shape (B,); or a tuple of k ints, for k
            labels per example. Defaults to None.
        condition_dim: int, the length of a vector to condition on, instead of `num_classes`.
            Defaults to None.

    Raises:
        InputError: the height or width cannot be halved once per level, or `rematerialize` is
            combined with `dropout`.

    Example:
        >>> import numpy as np
        >>> generator = NCSNpp((16, 16, 3), base_channels=8, channel_multipliers=(1, 2))
        >>> generator([np.zeros((2, 16, 16, 3)), np.zeros((2, 100))]).shape == (2, 16, 16, 3)
        True

    Reference:
        UOTM (arXiv 2305.14777), appendix B; Song et al. 2021 (arXiv 2011.13456).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        base_channels: int = 128,
        channel_multipliers: tuple[int, ...] = (1, 2, 2, 2),
        num_res_blocks: int = 2,
        attention_resolutions: tuple[int, ...] = (16,),
        latent_dim: int = 100,
        style_dim: int = 256,
        mapping_layers: int = 4,
        dropout: float = 0.0,
        rematerialize: bool = False,
        num_classes: Classes = None,
        condition_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        height, width, channels = image_shape
        factor = 2 ** (len(channel_multipliers) - 1)
        if height % factor or width % factor:
            raise InputError(
                f"image_shape={tuple(image_shape)} does not fit {len(channel_multipliers)} levels; "
                f"use a height and width divisible by {factor}."
            )
        source = keras.Input((height, width, channels), name="source")
        latent = keras.Input((latent_dim,), name="latent")

        condition = Condition.of(num_classes, condition_dim)
        style = PixelNorm(name="pixel_norm")(latent)
        if condition is not None:
            style = ops.concatenate([style, condition.style(latent_dim)], axis=-1)
        for i in range(mapping_layers + 1):
            style = layers.Dense(
                style_dim,
                activation="silu",
                kernel_initializer=variance_scaling(mode="fan_out"),
                name=f"mapping_{i}",
            )(style)

        def block(h: Tensor, filters: int, name: str, resample: str | None = None) -> Tensor:
            return StyledResidualBlock(filters, resample, dropout, rematerialize, name=name)(
                h, style
            )

        h = conv(base_channels, 3, name="stem")(source)
        pyramid, skips = source, [h]
        last_level = len(channel_multipliers) - 1
        for level, multiplier in enumerate(channel_multipliers):
            for i in range(num_res_blocks):
                h = block(h, base_channels * multiplier, f"down_{level}_block_{i}")
                if h.shape[1] in attention_resolutions:
                    h = SelfAttention(name=f"down_{level}_attention_{i}")(h)
                skips.append(h)
            if level != last_level:
                h = block(h, h.shape[-1], f"down_{level}_resample", "down")
                pyramid = FIRResample("blur", name=f"pyramid_{level}_blur")(pyramid)
                pyramid = conv(
                    h.shape[-1], 3, strides=2, padding="valid", name=f"pyramid_{level}_conv"
                )(pyramid)
                h = pyramid = (pyramid + h) * INVERSE_SQRT_2
                skips.append(h)

        h = block(h, h.shape[-1], "middle_block_0")
        h = SelfAttention(name="middle_attention")(h)
        h = block(h, h.shape[-1], "middle_block_1")

        for level, multiplier in reversed(list(enumerate(channel_multipliers))):
            for i in range(num_res_blocks + 1):
                h = ops.concatenate([h, skips.pop()], axis=-1)
                h = block(h, base_channels * multiplier, f"up_{level}_block_{i}")
            if h.shape[1] in attention_resolutions:
                h = SelfAttention(name=f"up_{level}_attention")(h)
            if level != 0:
                h = block(h, h.shape[-1], f"up_{level}_resample", "up")

        h = ops.silu(GroupNorm(name="head_norm")(h))
        h = conv(channels, 3, NEARLY_ZERO, name="head_conv")(h)
        image = layers.Activation("tanh", dtype="float32", name="image")(h)
        inputs = with_condition([source, latent], condition)
        super().__init__(inputs=inputs, outputs=image, **kwargs)

        self.image_shape = (height, width, channels)
        self.base_channels = base_channels
        self.channel_multipliers = tuple(channel_multipliers)
        self.num_res_blocks = num_res_blocks
        self.attention_resolutions = tuple(attention_resolutions)
        self.latent_dim = latent_dim
        self.style_dim = style_dim
        self.mapping_layers = mapping_layers
        self.dropout = dropout
        self.rematerialize = rematerialize
        self.num_classes, self.condition_dim = num_classes, condition_dim
