"""Layers of NCSN++ and of the potentials, NHWC.

References: Song et al. 2021 (NCSN++, arXiv 2011.13456), Karras et al. 2020 (StyleGAN2: minibatch
standard deviation), Xiao et al. 2022 (the style-modulated NCSN++).
"""

import math
from typing import Any

import keras
from keras import layers, ops

from uotm_keras import backend
from uotm_keras.backend import keras_hooks
from uotm_keras.backend.partition import current_blocks
from uotm_keras.backend.splitting import group_size
from uotm_keras.networks.resampling import FIRResample
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

_PACKAGE = "uotm_keras"
INVERSE_SQRT_2 = 1.0 / math.sqrt(2.0)
NEARLY_ZERO = 1e-10
"""Variance scale of the layers whose initial output is almost zero."""


def variance_scaling(scale: float = 1.0, mode: str = "fan_avg") -> keras.Initializer:
    """Return a new uniform `VarianceScaling`, so that no two layers share initial values."""
    return keras.initializers.VarianceScaling(scale, mode, "uniform")


@keras.saving.register_keras_serializable(_PACKAGE)
class Convolution(layers.Conv2D):
    """`keras.layers.Conv2D` with the backend's fastest kernel for stride 1 and "same" padding.

    Other strides, dilations, paddings and groups use Keras's own convolution. The data format is
    "channels_last" unless it is given, whatever `keras.config.image_data_format()` says.
    """

    def __init__(
        self, filters: int, kernel_size: Any, *, data_format: str = "channels_last", **kwargs: Any
    ) -> None:
        super().__init__(filters, kernel_size, data_format=data_format, **kwargs)

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        backend.arrange_kernel(keras_hooks.convolution_kernel(self))
        self._plain = (
            self.strides == (1, 1)
            and self.dilation_rate == (1, 1)
            and self.padding == "same"
            and self.groups == 1
            and self.data_format == "channels_last"
            and all(size % 2 for size in self.kernel_size)
        )

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if self._plain:
            return backend.convolution(inputs, ops.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)


def conv(
    filters: int, size: int, scale: float = 1.0, mode: str = "fan_avg", **arguments: Any
) -> Convolution:
    """Return a convolution with zero padding and uniform variance-scaling initialization."""
    arguments = {"padding": "same", **arguments}
    return Convolution(filters, size, kernel_initializer=variance_scaling(scale, mode), **arguments)


def head_policy() -> keras.DTypePolicy:
    """Return the policy of the last convolution: float32 if the others compute in float16.

    Its initial output can be about 1e-7. float16 rounds that to 0, and with it the sign that
    selects the slope of the LeakyReLU that follows.
    """
    policy = keras.config.dtype_policy()
    return keras.DTypePolicy("float32") if policy.compute_dtype == "float16" else policy


def group_count(channels: int) -> int:
    """Return min(C/4, 32), or the next smaller number that divides C."""
    wanted = max(1, min(channels // 4, 32))
    return next(n for n in range(wanted, 0, -1) if channels % n == 0)


def group_normalize(x: Tensor, scale: Tensor, shift: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Group-normalize `x` and apply a per-channel scale and shift.

    The computation is in float32 whatever the dtype of `x`. Normalization and modulation are
    merged into one multiplication and one addition per element.

    Args:
        x: tensor of shape (B, H, W, C).
        scale, shift: float32 tensors of shape (B, C) or (1, C).
        epsilon: added to the variance. Defaults to 1e-6.

    Returns:
        A tensor with the shape and dtype of `x`.
    """
    channels = x.shape[-1]
    groups = group_count(channels)
    h = ops.cast(x, "float32")

    def over_groups(per_channel: Tensor) -> Tensor:
        grouped = ops.reshape(per_channel, (-1, groups, channels // groups))
        mean = ops.mean(grouped, axis=-1, keepdims=True)
        # Broadcast by adding zeros: TensorFlow's repeat is many operations and slow to trace.
        return ops.reshape(mean + ops.zeros((channels // groups,), "float32"), (-1, channels))

    mean = over_groups(ops.mean(h, axis=(1, 2)))
    # Two passes: E[x²] − E[x]² loses all digits if the mean is large.
    centered = h - mean[:, None, None, :]
    # A product: torch's square is a general power and several times slower.
    variance = over_groups(ops.mean(centered * centered, axis=(1, 2)))
    factor = ops.rsqrt(variance + epsilon) * scale
    return ops.cast(centered * factor[:, None, None, :] + shift[:, None, None, :], x.dtype)


@keras.saving.register_keras_serializable(_PACKAGE)
class GroupNorm(layers.Layer):
    """Group normalization with a learned scale and shift per channel, ε = 1e-6."""

    def build(self, input_shape: tuple) -> None:
        channels = input_shape[-1]
        # float32 under a mixed policy too, like the rest of the normalization.
        self.scale = self.add_weight(
            name="scale", shape=(channels,), initializer="ones", autocast=False
        )
        self.shift = self.add_weight(
            name="shift", shape=(channels,), initializer="zeros", autocast=False
        )

    def call(self, x: Tensor) -> Tensor:
        scale, shift = (ops.cast(w, "float32")[None] for w in (self.scale, self.shift))
        return group_normalize(x, scale, shift)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


@keras.saving.register_keras_serializable(_PACKAGE)
class AdaptiveGroupNorm(layers.Layer):
    """Group normalization whose scale γ and shift β are a linear function of a style vector.

    Call it on `x` of shape (B, H, W, C) and `style` of shape (B, E). γ is initially near 1 and
    β near 0.
    """

    def build(self, x_shape: tuple, style_shape: tuple) -> None:
        channels = x_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(style_shape[-1], 2 * channels),
            initializer=variance_scaling(mode="fan_out"),
        )
        self.bias = self.add_weight(
            name="bias",
            shape=(2 * channels,),
            initializer=lambda shape, dtype: ops.cast(ops.arange(shape[0]) < channels, dtype),
            autocast=False,
        )

    def call(self, x: Tensor, style: Tensor) -> Tensor:
        modulation = ops.cast(ops.matmul(style, self.kernel), "float32")
        modulation = modulation + ops.cast(self.bias, "float32")
        scale, shift = ops.split(modulation, 2, axis=-1)
        return group_normalize(x, scale, shift)

    def compute_output_shape(self, x_shape: tuple, style_shape: tuple) -> tuple:
        return x_shape


@keras.saving.register_keras_serializable(_PACKAGE)
class SelfAttention(layers.Layer):
    """Single-head attention over all pixels; the residual sum is divided by √2."""

    def build(self, input_shape: tuple) -> None:
        channels = input_shape[-1]

        def pointwise(name: str, scale: float) -> layers.Dense:
            layer = layers.Dense(
                channels, kernel_initializer=variance_scaling(scale), name=name,
                dtype=self.dtype_policy,
            )  # fmt: skip
            layer.build(input_shape)
            return layer

        self.norm = GroupNorm(name="norm", dtype=self.dtype_policy)
        self.norm.build(input_shape)
        self.query = pointwise("query", 0.1)
        self.key = pointwise("key", 0.1)
        self.value = pointwise("value", 0.1)
        self.output_projection = pointwise("output_projection", NEARLY_ZERO)

    def call(self, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        h = ops.reshape(self.norm(x), (-1, height * width, channels))
        query, key, value = self.query(h), self.key(h), self.value(h)
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
        # In float32: JAX would sum over all pixels in the dtype of the scores.
        weights = ops.softmax(ops.cast(scores, "float32") * (channels**-0.5))
        h = self.output_projection(ops.matmul(ops.cast(weights, value.dtype), value))
        return (x + ops.reshape(h, (-1, height, width, channels))) * INVERSE_SQRT_2

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


@keras.saving.register_keras_serializable(_PACKAGE)
class StyledResidualBlock(layers.Layer):
    """BigGAN-type residual block of NCSN++, modulated by a style vector.

    Call it on `x` of shape (B, H, W, C) and `style` of shape (B, E). The residual sum is divided
    by √2.

    Args:
        filters: int, the number of output channels.
        resample: `"up"`, `"down"` or None. Defaults to None.
        dropout: float in [0, 1), the dropout rate before the second convolution. Defaults to 0.
        rematerialize: bool. Whether training recomputes the activations inside the block for
            the gradient instead of storing them. Excludes dropout. Defaults to False.

    Raises:
        InputError: `rematerialize` is combined with a nonzero `dropout`.
    """

    def __init__(
        self,
        filters: int,
        resample: str | None = None,
        dropout: float = 0.0,
        rematerialize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if rematerialize and dropout:
            raise InputError(
                f"dropout={dropout} must be 0 with rematerialize=True: the recomputation would "
                "draw a different dropout mask."
            )
        self.filters, self.resample_mode, self.dropout_rate = filters, resample, dropout
        self.rematerialize = bool(rematerialize)

    def build(self, x_shape: tuple, style_shape: tuple) -> None:
        policy = self.dtype_policy
        self.norm_1 = AdaptiveGroupNorm(name="norm_1", dtype=policy)
        self.norm_1.build(x_shape, style_shape)
        self.resample = None
        shape = x_shape
        if self.resample_mode:
            self.resample = FIRResample(self.resample_mode, name="resample", dtype=policy)
            self.resample.build(x_shape)
            shape = self.resample.compute_output_shape(x_shape)
        self.conv_1 = conv(self.filters, 3, name="conv_1", dtype=policy)
        self.conv_1.build(shape)
        inner_shape = (*shape[:-1], self.filters)
        self.norm_2 = AdaptiveGroupNorm(name="norm_2", dtype=policy)
        self.norm_2.build(inner_shape, style_shape)
        self.dropout = (
            layers.Dropout(self.dropout_rate, name="dropout", dtype=policy)
            if self.dropout_rate
            else None
        )
        self.conv_2 = conv(self.filters, 3, NEARLY_ZERO, name="conv_2", dtype=policy)
        self.conv_2.build(inner_shape)
        self.shortcut = None
        if self.resample_mode or x_shape[-1] != self.filters:
            self.shortcut = conv(self.filters, 1, name="shortcut", dtype=policy)
            self.shortcut.build(shape)

    def call(self, x: Tensor, style: Tensor, training: bool = False) -> Tensor:
        if self.rematerialize and training:
            return keras.remat(self._inner)(x, style)
        return self._inner(x, style, training)

    def _inner(self, x: Tensor, style: Tensor, training: bool = False) -> Tensor:
        h = ops.silu(self.norm_1(x, style))
        if self.resample:
            h, x = self.resample(h), self.resample(x)
        h = self.conv_1(h)
        h = ops.silu(self.norm_2(h, style))
        if self.dropout:
            h = self.dropout(h, training=training)
        h = self.conv_2(h)
        if self.shortcut:
            x = self.shortcut(x)
        return (x + h) * INVERSE_SQRT_2

    def compute_output_shape(self, x_shape: tuple, style_shape: tuple) -> tuple:
        if self.resample:
            x_shape = self.resample.compute_output_shape(x_shape)
        return (*x_shape[:-1], self.filters)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters,
            "resample": self.resample_mode,
            "dropout": self.dropout_rate,
            "rematerialize": self.rematerialize,
        }


@keras.saving.register_keras_serializable(_PACKAGE)
class PixelNorm(layers.Layer):
    """Normalize the last axis: z / √(mean(z²) + 1e-8)."""

    def call(self, z: Tensor) -> Tensor:
        h = ops.cast(z, "float32")
        mean_square = ops.mean(ops.square(h), axis=-1, keepdims=True)
        return ops.cast(h * ops.rsqrt(mean_square + 1e-8), z.dtype)


@keras.saving.register_keras_serializable(_PACKAGE)
class DownResidualBlock(layers.Layer):
    """Residual block of the potentials: two LeakyReLU(0.2) and 3×3 convolutions.

    The residual sum is divided by √2.

    Args:
        filters: int, the number of output channels.
        down: bool. Whether to halve the height and width by FIR filtering. Defaults to True.
    """

    def __init__(self, filters: int, down: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.down = filters, down

    def build(self, input_shape: tuple) -> None:
        policy = self.dtype_policy
        inner_shape = (*input_shape[:-1], self.filters)
        self.conv_1 = conv(self.filters, 3, mode="fan_out", name="conv_1", dtype=policy)
        self.conv_1.build(input_shape)
        if self.down:
            self.resample_h = FIRResample("down", name="resample_h", dtype=policy)
            self.resample_h.build(inner_shape)
            inner_shape = self.resample_h.compute_output_shape(inner_shape)
            self.resample_x = FIRResample("down", name="resample_x", dtype=policy)
            self.resample_x.build(input_shape)
        self.conv_2 = conv(self.filters, 3, NEARLY_ZERO, "fan_out", name="conv_2", dtype=policy)
        self.conv_2.build(inner_shape)
        self.shortcut = conv(
            self.filters, 1, mode="fan_out", use_bias=False, name="shortcut", dtype=policy
        )
        self.shortcut.build((*inner_shape[:-1], input_shape[-1]))

    def call(self, x: Tensor) -> Tensor:
        h = self.conv_1(ops.leaky_relu(x, 0.2))
        h = ops.leaky_relu(h, 0.2)
        if self.down:
            h, x = self.resample_h(h), self.resample_x(x)
        return (self.shortcut(x) + self.conv_2(h)) * INVERSE_SQRT_2

    def get_config(self) -> dict:
        return {**super().get_config(), "filters": self.filters, "down": self.down}


@keras.saving.register_keras_serializable(_PACKAGE)
class MinibatchStddev(layers.Layer):
    """Append a channel with the standard deviation of the features in a group of samples.

    With G samples per group, sample i shares a group with i + B/G, i + 2B/G, …. The channel is
    √(variance over the group + 1e-8), averaged over pixels and channels. G is the largest of 4, 3,
    2 and 1 that divides the batch size B. (The released code fails if 4 does not divide B.)
    Inside `statistics_blocks`, B is the size of a block.
    """

    def call(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        blocks = current_blocks()
        if batch is None:
            batch = ops.shape(x)[0]
        group = group_size(batch // blocks)
        h = ops.cast(x, "float32")
        h = ops.reshape(h, (blocks, group, -1, height, width, channels))
        stddev = ops.sqrt(ops.var(h, axis=1) + 1e-8)
        stddev = ops.mean(stddev, axis=(2, 3, 4))
        channel = ops.reshape(ops.tile(stddev, (1, group)), (-1, 1, 1, 1))
        channel = ops.broadcast_to(channel, (batch, height, width, 1))
        return ops.concatenate([x, ops.cast(channel, x.dtype)], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] + 1)
