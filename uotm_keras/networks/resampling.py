"""Resampling with the FIR filter [1, 3, 3, 1] (StyleGAN2, Karras et al. 2020), NHWC."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

_FIR = np.array([1.0, 3.0, 3.0, 1.0]) / 8.0


def _geometry(mode: str, size: int) -> tuple[int, int, int, int]:
    """Return (zero-insertion factor, stride, leading padding, output size)."""
    return {
        "up": (2, 1, 2, 2 * size),
        "down": (1, 2, 1, size // 2),
        "blur": (1, 1, 2, size + 1),
    }[mode]


def fir_matrix(mode: str, size: int) -> np.ndarray:
    """Return the matrix of one-dimensional [1, 3, 3, 1] filtering.

    Args:
        mode: `"up"` doubles the size (zero insertion, gain 2, padding (2, 1)); `"down"` halves
            it (padding (1, 1), stride 2); `"blur"` filters before a strided 3×3 convolution
            (padding (2, 2), `size + 1` outputs).
        size: int, the number of inputs.

    Returns:
        float32 array of shape `(output size, size)`.
    """
    up, down, before, size_out = _geometry(mode, size)
    rows, columns = np.arange(size_out)[:, None], np.arange(size)[None, :]
    taps = up * columns - down * rows + before
    inside = (taps >= 0) & (taps < 4)
    return np.where(inside, up * _FIR[np.clip(taps, 0, 3)], 0.0).astype("float32")


@keras.saving.register_keras_serializable("uotm_keras")
class FIRResample(layers.Layer):
    """Resample images of shape (B, H, W, C) with the separable FIR filter [1, 3, 3, 1].

    The layer is two products with constant matrices, which is fast on every backend in both
    directions.

    Args:
        mode: `"up"`, `"down"` or `"blur"`; see `fir_matrix`.

    Raises:
        InputError: `mode="down"` is given a height or width that is odd.
    """

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode = mode

    def build(self, input_shape: tuple) -> None:
        _, height, width, _ = input_shape
        if self.mode == "down" and (height % 2 or width % 2):
            raise InputError(
                f"Images of {height}×{width} cannot be halved; use an even height and width."
            )
        self._rows = fir_matrix(self.mode, height)
        self._columns = fir_matrix(self.mode, width)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        rows = ops.convert_to_tensor(self._rows, dtype=x.dtype)
        columns = ops.convert_to_tensor(self._columns, dtype=x.dtype)
        x = ops.matmul(rows, ops.reshape(x, (-1, height, width * channels)))
        x = ops.matmul(columns, ops.reshape(x, (-1, width, channels)))
        return ops.reshape(x, (-1, rows.shape[0], columns.shape[0], channels))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, height, width, channels = input_shape
        return (batch, *(_geometry(self.mode, n)[3] for n in (height, width)), channels)

    def get_config(self) -> dict:
        return {**super().get_config(), "mode": self.mode}
