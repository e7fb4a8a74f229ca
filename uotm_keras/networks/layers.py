"""Layers of NCSN++ and of its potentials, NHWC.

Sources: Song et al. 2021 (NCSN++, arXiv 2011.13456), Karras et al. 2020 (StyleGAN2: FIR
resampling, minibatch standard deviation), Xiao et al. 2022 (the style-modulated NCSN++).
"""

import math

import keras
import numpy as np
from keras import layers, ops

from uotm_keras import backend
from uotm_keras.backend import keras_hooks
from uotm_keras.backend.partition import current_blocks
from uotm_keras.backend.splitting import group_size
from uotm_keras.utils.errors import InputError

_PACKAGE = "uotm_keras"
_FIR = np.array([1.0, 3.0, 3.0, 1.0]) / 8.0
INVERSE_SQRT_2 = 1.0 / math.sqrt(2.0)
NEARLY_ZERO = 1e-10
"""Variance scale of the layers that start as almost nothing."""


def variance_scaling(scale: float = 1.0, mode: str = "fan_avg") -> keras.Initializer:
    """Uniform variance scaling; a new instance each time, so that no two layers agree."""
    return keras.initializers.VarianceScaling(scale, mode, "uniform")


@keras.saving.register_keras_serializable(_PACKAGE)
class Convolution(layers.Conv2D):
    """`keras.layers.Conv2D`, by the backend's fastest form where stride is 1 and size is kept."""

    def build(self, input_shape):
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

    def convolution_op(self, inputs, kernel):
        if self._plain:
            return backend.convolution(inputs, ops.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)


def conv(filters: int, size: int, scale: float = 1.0, mode: str = "fan_avg", **arguments):
    """A stride-1 convolution with zero padding, uniformly initialised."""
    arguments = {"padding": "same", **arguments}
    return Convolution(filters, size, kernel_initializer=variance_scaling(scale, mode), **arguments)


def _fir_geometry(mode: str, size: int) -> tuple[int, int, int, int]:
    """(zeros-inserting factor, stride, padding in front, output size)."""
    return {
        "up": (2, 1, 2, 2 * size),
        "down": (1, 2, 1, size // 2),
        "blur": (1, 1, 2, size + 1),
    }[mode]


def fir_matrix(mode: str, size: int) -> np.ndarray:
    """One-dimensional [1, 3, 3, 1] filtering as a matrix (size_out, size).

    Args:
        mode: "up" doubles the size (zeros inserted, gain 2, padding (2, 1)); "down" halves
            it (padding (1, 1), stride 2); "blur" filters before a strided 3×3 convolution
            (padding (2, 2), size + 1 values).
        size: number of input values.
    """
    up, down, before, size_out = _fir_geometry(mode, size)
    rows, columns = np.arange(size_out)[:, None], np.arange(size)[None, :]
    taps = up * columns - down * rows + before
    inside = (taps >= 0) & (taps < 4)
    return np.where(inside, up * _FIR[np.clip(taps, 0, 3)], 0.0).astype("float32")


@keras.saving.register_keras_serializable(_PACKAGE)
class FIRResample(layers.Layer):
    """Resamples (B, H, W, C) by the separable FIR filter [1, 3, 3, 1].

    Two products with constant matrices: fast on each backend, forwards and backwards.

    Args:
        mode: "up", "down" or "blur", see `fir_matrix`.
    """

    def __init__(self, mode: str, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode

    def build(self, input_shape):
        _, height, width, _ = input_shape
        if self.mode == "down" and (height % 2 or width % 2):
            raise InputError(f"images of {height}×{width} cannot be halved: even sizes are needed.")
        self._rows = fir_matrix(self.mode, height)
        self._columns = fir_matrix(self.mode, width)
        self.built = True

    def call(self, x):
        _, height, width, channels = x.shape
        rows = ops.convert_to_tensor(self._rows, dtype=x.dtype)
        columns = ops.convert_to_tensor(self._columns, dtype=x.dtype)
        x = ops.matmul(rows, ops.reshape(x, (-1, height, width * channels)))
        x = ops.matmul(columns, ops.reshape(x, (-1, width, channels)))
        return ops.reshape(x, (-1, rows.shape[0], columns.shape[0], channels))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, *(_fir_geometry(self.mode, n)[3] for n in (height, width)), channels)

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}


def group_count(channels: int) -> int:
    """min(C/4, 32), or the next smaller number that divides C."""
    wanted = max(1, min(channels // 4, 32))
    return next(n for n in range(wanted, 0, -1) if channels % n == 0)


def group_normalise(x, scale, shift, epsilon: float = 1e-6):
    """Group normalisation of (B, H, W, C), then `scale`·x + `shift`, each (B or 1, C).

    In float32 whatever the dtype of `x`. Normalisation and modulation are one
    multiplication and one addition an element.
    """
    channels = x.shape[-1]
    groups = group_count(channels)
    h = ops.cast(x, "float32")

    def over_groups(per_channel):
        grouped = ops.reshape(per_channel, (-1, groups, channels // groups))
        mean = ops.mean(grouped, axis=-1, keepdims=True)
        # Spread by adding nothing: TensorFlow's repeat is many operations, slow to trace.
        return ops.reshape(mean + ops.zeros((channels // groups,)), (-1, channels))

    mean = over_groups(ops.mean(h, axis=(1, 2)))
    # Two passes: E[x²] − E[x]² would lose all digits where the mean is large.
    centred = h - mean[:, None, None, :]
    # A product: torch's square is a general power, several times slower.
    variance = over_groups(ops.mean(centred * centred, axis=(1, 2)))
    factor = ops.rsqrt(variance + epsilon) * scale
    return ops.cast(centred * factor[:, None, None, :] + shift[:, None, None, :], x.dtype)


@keras.saving.register_keras_serializable(_PACKAGE)
class GroupNorm(layers.Layer):
    """Group normalisation with a learned scale and shift a channel, ε = 1e-6."""

    def build(self, input_shape):
        channels = input_shape[-1]
        # float32 in a mixed policy too, as all of the normalisation.
        self.scale = self.add_weight(
            name="scale", shape=(channels,), initializer="ones", autocast=False
        )
        self.shift = self.add_weight(
            name="shift", shape=(channels,), initializer="zeros", autocast=False
        )

    def call(self, x):
        scale, shift = (ops.cast(w, "float32")[None] for w in (self.scale, self.shift))
        return group_normalise(x, scale, shift)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(_PACKAGE)
class AdaptiveGroupNorm(layers.Layer):
    """Group normalisation whose scale γ and shift β are a linear function of a style.

    Called on x (B, H, W, C) and style (B, E). γ starts around 1 and β around 0.
    """

    def build(self, x_shape, style_shape):
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

    def call(self, x, style):
        modulation = ops.cast(ops.matmul(style, self.kernel), "float32")
        modulation = modulation + ops.cast(self.bias, "float32")
        scale, shift = ops.split(modulation, 2, axis=-1)
        return group_normalise(x, scale, shift)

    def compute_output_shape(self, x_shape, style_shape):
        return x_shape


@keras.saving.register_keras_serializable(_PACKAGE)
class SelfAttention(layers.Layer):
    """One-head attention over all pixels, with a residual connection divided by √2."""

    def build(self, input_shape):
        channels = input_shape[-1]

        def pointwise(name, scale):
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

    def call(self, x):
        _, height, width, channels = x.shape
        h = ops.reshape(self.norm(x), (-1, height * width, channels))
        query, key, value = self.query(h), self.key(h), self.value(h)
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
        # Its sum over all pixels is JAX's in the scores' dtype.
        weights = ops.softmax(ops.cast(scores, "float32") * (channels**-0.5))
        h = self.output_projection(ops.matmul(ops.cast(weights, value.dtype), value))
        return (x + ops.reshape(h, (-1, height, width, channels))) * INVERSE_SQRT_2

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(_PACKAGE)
class StyledResidualBlock(layers.Layer):
    """BigGAN-type residual block of NCSN++, modulated by a style.

    Called on x (B, H, W, C) and style (B, E); the sum is divided by √2.

    Args:
        filters: output channels.
        resample: "up", "down" or None.
        dropout: fraction dropped before the second convolution.
        rematerialize: whether training forgets what is computed inside, and computes it
            again for the gradient; not together with dropout.
    """

    def __init__(
        self,
        filters: int,
        resample: str | None = None,
        dropout: float = 0.0,
        rematerialize: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if rematerialize and dropout:
            raise InputError(
                f"dropout={dropout} must be 0 with rematerialize=True: what is dropped would "
                "not be the same again."
            )
        self.filters, self.resample_mode, self.dropout_rate = filters, resample, dropout
        self.rematerialize = bool(rematerialize)

    def build(self, x_shape, style_shape):
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

    def call(self, x, style, training=False):
        if self.rematerialize and training:
            return keras.remat(self._inner)(x, style)
        return self._inner(x, style, training)

    def _inner(self, x, style, training=False):
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

    def compute_output_shape(self, x_shape, style_shape):
        if self.resample:
            x_shape = self.resample.compute_output_shape(x_shape)
        return (*x_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "resample": self.resample_mode,
            "dropout": self.dropout_rate,
            "rematerialize": self.rematerialize,
        }


@keras.saving.register_keras_serializable(_PACKAGE)
class PixelNorm(layers.Layer):
    """z / √(mean(z²) + 1e-8) along the last axis."""

    def call(self, z):
        h = ops.cast(z, "float32")
        mean_square = ops.mean(ops.square(h), axis=-1, keepdims=True)
        return ops.cast(h * ops.rsqrt(mean_square + 1e-8), z.dtype)


@keras.saving.register_keras_serializable(_PACKAGE)
class DownResidualBlock(layers.Layer):
    """Residual block of the potentials: LeakyReLU 0.2, two 3×3 convolutions, sum over √2.

    Args:
        filters: output channels.
        down: whether to halve the size by the FIR filter.
    """

    def __init__(self, filters: int, down: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.down = filters, down

    def build(self, input_shape):
        policy = self.dtype_policy
        inner_shape = (*input_shape[:-1], self.filters)
        self.conv_1 = conv(self.filters, 3, mode="fan_out", name="conv_1", dtype=policy)
        self.conv_1.build(input_shape)
        self.resample_h = self.resample_x = None
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

    def call(self, x):
        h = self.conv_1(ops.leaky_relu(x, 0.2))
        h = ops.leaky_relu(h, 0.2)
        if self.down:
            h, x = self.resample_h(h), self.resample_x(x)
        return (self.shortcut(x) + self.conv_2(h)) * INVERSE_SQRT_2

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "down": self.down}


@keras.saving.register_keras_serializable(_PACKAGE)
class MinibatchStddev(layers.Layer):
    """Appends a channel holding the spread of the features within a group of samples.

    With G samples a group, sample i is grouped with i + B/G, i + 2B/G, …; the channel is
    √(variance over the group + 1e-8) averaged over pixels and channels. G is the largest
    of 4, 3, 2, 1 that divides the batch (the released code fails where 4 does not). Within
    `statistics_blocks`, B is the size of a block.
    """

    def call(self, x):
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

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)
