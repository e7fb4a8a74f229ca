"""Residual perceptrons for points and small images (the toy networks of the papers)."""

import math

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.layers import INVERSE_SQRT_2


def _dense(units: int, fan_in: int, name: str, activation: str | None = None, **kwargs):
    """A dense layer with torch's default initialisation, U(±1/√fan_in) for both weights."""
    limit = 1.0 / math.sqrt(fan_in)
    return layers.Dense(
        units,
        activation=activation,
        kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
        bias_initializer=keras.initializers.RandomUniform(-limit, limit),
        name=name,
        **kwargs,
    )


def _residual_trunk(x, width: int, blocks: int, prefix: str):
    """dense → blocks × [h = (h + f(h))/√2], f three layers of dense and SiLU."""
    h = _dense(width, x.shape[-1], f"{prefix}_in")(x)
    for block in range(blocks):
        f = h
        for i in range(3):
            f = _dense(width, width, f"{prefix}_{block}_{i}", "silu")(f)
        h = (h + f) * INVERSE_SQRT_2
    return h


def _flat_shape(shape: int | tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return shape, math.prod(shape)


@keras.saving.register_keras_serializable("uotm_keras")
class ResMLPGenerator(ConfiguredModel):
    """T(x, z) for points or small images: a residual perceptron of x plus one of z.

    Called as `generator([x, z])` with x (B, *dim) and z (B, latent_dim), or as
    `generator(x)` where `latent_dim` is 0; the output has the shape of x.

    Args:
        dim: the dimension of a point, or a shape such as (8, 8, 1).
        latent_dim: length of z; 0 makes a deterministic map.
        width, blocks: of the residual trunk (UOTM, appendix B: 128 and 3).
        output_activation: None for points, "tanh" for images in [−1, 1].
        residual: whether x is added to the output, so that training starts near the
            identity map; not with an output activation.
        affine: as `residual`, with x times a learned matrix that starts as the identity.
    """

    def __init__(
        self,
        dim: int | tuple[int, ...],
        latent_dim: int,
        width: int = 128,
        blocks: int = 3,
        output_activation: str | None = None,
        residual: bool = False,
        affine: bool = False,
        **kwargs,
    ):
        shape, size = _flat_shape(dim)
        source = keras.Input(shape, name="source")
        inputs = source
        flat = ops.reshape(source, (-1, size))
        h = _residual_trunk(flat, width, blocks, "source")
        if latent_dim:
            latent = keras.Input((latent_dim,), name="latent")
            inputs = [source, latent]
            style = _dense(width, latent_dim, "latent_0", "silu")(latent)
            h = h + _dense(width, width, "latent_1")(style)
        h = _dense(width, width, "head_0", "silu")(h)
        h = _dense(size, width, "head_1", output_activation, dtype="float32")(h)
        if affine:
            h = h + layers.Dense(
                size, use_bias=False, kernel_initializer="identity", dtype="float32", name="linear"
            )(flat)
        elif residual:
            h = h + flat
        super().__init__(inputs=inputs, outputs=ops.reshape(h, (-1, *shape)), **kwargs)
        self.dim = dim
        self.latent_dim = latent_dim
        self.width = width
        self.blocks = blocks
        self.output_activation = output_activation
        self.residual = residual
        self.affine = affine


@keras.saving.register_keras_serializable("uotm_keras")
class ResMLPPotential(ConfiguredModel):
    """v(y) for points or small images: a residual perceptron, (B, *dim) → (B, 1).

    Args:
        dim: the dimension of a point, or a shape such as (8, 8, 1).
        width, blocks: of the residual trunk (UOTM, appendix B: 128 and 3).
        quadratic: whether a learned quadratic form yᵀQy, which starts as 0, is added; the
            exact potential between Gaussians is one.
    """

    def __init__(
        self,
        dim: int | tuple[int, ...],
        width: int = 128,
        blocks: int = 3,
        quadratic: bool = False,
        **kwargs,
    ):
        shape, size = _flat_shape(dim)
        target = keras.Input(shape, name="target")
        flat = ops.reshape(target, (-1, size))
        h = _residual_trunk(flat, width, blocks, "target")
        h = _dense(width, width, "head_0", "silu")(h)
        value = _dense(1, width, "value", dtype="float32")(h)
        if quadratic:
            form = layers.Dense(
                size, use_bias=False, kernel_initializer="zeros", dtype="float32", name="form"
            )(flat)
            value = value + ops.sum(form * flat, axis=-1, keepdims=True)
        super().__init__(inputs=target, outputs=value, **kwargs)
        self.dim = dim
        self.width = width
        self.blocks = blocks
        self.quadratic = quadratic
