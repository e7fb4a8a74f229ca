"""The NCSN++ generator of the paper."""

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.layers import (
    INVERSE_SQRT_2,
    NEARLY_ZERO,
    FIRResample,
    GroupNorm,
    PixelNorm,
    SelfAttention,
    StyledResidualBlock,
    conv,
    variance_scaling,
)
from uotm_keras.utils.errors import InputError


@keras.saving.register_keras_serializable("uotm_keras")
class NCSNpp(ConfiguredModel):
    """NCSN++ as a one-step generator T(x, z), modulated by a latent (UOTM, appendix B).

    A U-Net of BigGAN-type residual blocks with FIR resampling and a residual input
    pyramid; the latent passes through a mapping network and modulates each block's group
    normalisation. Called as `generator([x, z])` with x (B, H, W, C) and z
    (B, latent_dim), it gives images (B, H, W, C) in [−1, 1].

    The defaults are the CIFAR-10 network (44 820 611 parameters). CelebA-HQ at 256 px has
    `base_channels=64, channel_multipliers=(1, 1, 2, 2, 4, 4), mapping_layers=3`.

    Args:
        image_shape: (height, width, channels).
        base_channels: channels of the first level.
        channel_multipliers: channels of each level over `base_channels`.
        num_res_blocks: residual blocks a level on the way down; one more on the way up.
        attention_resolutions: heights at which attention follows the blocks.
        latent_dim: length of z.
        style_dim: width of the mapping network.
        mapping_layers: its depth after the first layer.
        dropout: fraction dropped within the residual blocks during training.
        rematerialize: whether training keeps the residual blocks' ends alone and computes
            their inside again for the gradient: less memory, a third more work.

    Raises:
        InputError: the image's size cannot be halved once a level; dropout with
            rematerialize.

    Example:
        >>> generator = NCSNpp((32, 32, 3))
        >>> images = generator([source, latent])
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
        **kwargs,
    ):
        image_shape = tuple(image_shape)
        height, width, channels = image_shape
        factor = 2 ** (len(channel_multipliers) - 1)
        if height % factor or width % factor:
            raise InputError(
                f"image_shape={image_shape}: {len(channel_multipliers)} levels need a height "
                f"and width divisible by {factor}."
            )
        source = keras.Input(image_shape, name="source")
        latent = keras.Input((latent_dim,), name="latent")

        style = PixelNorm(name="pixel_norm")(latent)
        for i in range(mapping_layers + 1):
            style = layers.Dense(
                style_dim,
                activation="silu",
                kernel_initializer=variance_scaling(mode="fan_out"),
                name=f"mapping_{i}",
            )(style)

        def block(h, filters, name, resample=None):
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
        super().__init__(inputs=[source, latent], outputs=image, **kwargs)

        self.image_shape = image_shape
        self.base_channels = base_channels
        self.channel_multipliers = tuple(channel_multipliers)
        self.num_res_blocks = num_res_blocks
        self.attention_resolutions = tuple(attention_resolutions)
        self.latent_dim = latent_dim
        self.style_dim = style_dim
        self.mapping_layers = mapping_layers
        self.dropout = dropout
        self.rematerialize = rematerialize
