"""Residual multilayer perceptrons for points and small images (the papers' toy networks)."""

import math
from typing import Any

import keras
from keras import layers, ops

from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.networks.conditioning import Classes, Condition, with_condition
from uotm_keras.networks.layers import INVERSE_SQRT_2
from uotm_keras.utils.typing import Tensor


def _dense(
    units: int, fan_in: int, name: str, activation: str | None = None, **kwargs: Any
) -> layers.Dense:
    """Return a dense layer with torch's default initialization, U(±1/√fan_in) for both weights."""
    limit = 1.0 / math.sqrt(fan_in)
    return layers.Dense(
        units,
        activation=activation,
        kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
        bias_initializer=keras.initializers.RandomUniform(-limit, limit),
        name=name,
        **kwargs,
    )


def _residual_trunk(
    x: Tensor, width: int, blocks: int, prefix: str, style: Tensor | None = None
) -> Tensor:
    """Apply dense → blocks × [h = (h + f(h))/√2], where f is 3 × (dense, SiLU).

    A linear function of `style` is added to the input of each f.
    """
    h = _dense(width, x.shape[-1], f"{prefix}_in")(x)
    for block in range(blocks):
        f = h
        if style is not None:
            f = f + _dense(width, style.shape[-1], f"{prefix}_{block}_condition")(style)
        for i in range(3):
            f = _dense(width, width, f"{prefix}_{block}_{i}", "silu")(f)
        h = (h + f) * INVERSE_SQRT_2
    return h


def _flat_shape(shape: int | tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return shape, math.prod(shape)


def _affine(condition: Condition, flat: Tensor, name: str) -> Tensor:
    """Return A(c)·x + b(c) of points (B, d), which is 0 at first."""
    size = flat.shape[-1]
    coefficients = condition.linear(size * (size + 1), name, dtype="float32")
    matrix = ops.reshape(coefficients, (-1, size, size + 1))
    product = ops.matmul(matrix[:, :, :size], ops.cast(flat, "float32")[:, :, None])
    return product[:, :, 0] + matrix[:, :, size]


@keras.saving.register_keras_serializable("uotm_keras")
class ResMLPGenerator(ConfiguredModel):
    """Generator T(x, z) for points or small images: a residual perceptron.

    Call it as `generator([x, z])` with `x` of shape (B, *dim) and `z` of shape (B, latent_dim),
    or as `generator(x)` if `latent_dim` is 0. The output has the shape of `x`.

    Args:
        dim: int, the dimension of a point, or a shape such as (8, 8, 1).
        latent_dim: int, the length of z; 0 gives a deterministic map.
        width: int, the number of units of each layer. Defaults to 128.
        blocks: int, the number of residual blocks. Defaults to 3.
        output_activation: None for points, `"tanh"` for images in [−1, 1]. Defaults to None.
        residual: bool. Whether to add x to the output, so that training starts near the
            identity map. Do not combine it with an output activation. Defaults to False.
        affine: bool. Like `residual`, but x is multiplied by a learned matrix whose initial
            value is the identity. Defaults to False.
        num_classes, condition_dim: As in `NCSNpp`; with `affine`, the matrix depends on the
            condition. Default to None.

    Example:
        >>> import numpy as np
        >>> generator = ResMLPGenerator(2, latent_dim=4, width=32)
        >>> generator([np.zeros((5, 2)), np.zeros((5, 4))]).shape == (5, 2)
        True

    Reference:
        UOTM (arXiv 2305.14777), appendix B.
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
        num_classes: Classes = None,
        condition_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        shape, size = _flat_shape(dim)
        source = keras.Input(shape, name="source")
        inputs = source
        flat = ops.reshape(source, (-1, size))
        condition = Condition.of(num_classes, condition_dim)
        style = None if condition is None else condition.style(width)
        h = _residual_trunk(flat, width, blocks, "source", style)
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
            if condition is not None:
                h = h + _affine(condition, flat, "affine")
        elif residual:
            h = h + flat
        inputs = with_condition(inputs, condition)
        super().__init__(inputs=inputs, outputs=ops.reshape(h, (-1, *shape)), **kwargs)
        self.dim = dim
        self.latent_dim = latent_dim
        self.width = width
        self.blocks = blocks
        self.output_activation = output_activation
        self.residual = residual
        self.affine = affine
        self.num_classes, self.condition_dim = num_classes, condition_dim


@keras.saving.register_keras_serializable("uotm_keras")
class ResMLPPotential(ConfiguredModel):
    """Potential v(y) for points or small images: a residual perceptron.

    Call it on `y` of shape (B, *dim). The output is float32 of shape (B, 1).

    Args:
        dim: int, the dimension of a point, or a shape such as (8, 8, 1).
        width: int, the number of units of each layer. Defaults to 128.
        blocks: int, the number of residual blocks. Defaults to 3.
        quadratic: bool. Whether to add a learned quadratic form yᵀQy, which is initially 0. The
            exact potential between Gaussians is quadratic. Defaults to False.
        num_classes, condition_dim: As in `SmallPotential`; with `quadratic`, the form and a
            linear term depend on the condition. Default to None.

    Reference:
        UOTM (arXiv 2305.14777), appendix B.
    """

    def __init__(
        self,
        dim: int | tuple[int, ...],
        width: int = 128,
        blocks: int = 3,
        quadratic: bool = False,
        num_classes: Classes = None,
        condition_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        shape, size = _flat_shape(dim)
        target = keras.Input(shape, name="target")
        flat = ops.reshape(target, (-1, size))
        h = _residual_trunk(flat, width, blocks, "target")
        h = _dense(width, width, "head_0", "silu")(h)
        value = _dense(1, width, "value", dtype="float32")(h)
        condition = Condition.of(num_classes, condition_dim)
        if condition is not None:
            value = value + condition.projection(h)
        if quadratic:
            form = layers.Dense(
                size, use_bias=False, kernel_initializer="zeros", dtype="float32", name="form"
            )(flat)
            if condition is not None:
                form = form + _affine(condition, flat, "condition_form")
            value = value + ops.sum(form * flat, axis=-1, keepdims=True)
        super().__init__(inputs=with_condition(target, condition), outputs=value, **kwargs)
        self.dim = dim
        self.width = width
        self.blocks = blocks
        self.quadratic = quadratic
        self.num_classes, self.condition_dim = num_classes, condition_dim
