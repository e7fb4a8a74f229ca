"""Transport costs c(x, y)."""

import math

import keras
import numpy as np
from keras import ops

from uotm_keras.utils.errors import InputError

_PACKAGE = "uotm_keras.costs"


@keras.saving.register_keras_serializable(_PACKAGE)
class Quadratic:
    """c(x, y) = τ·‖x − y‖², summed over all pixels and channels (no ½).

    Where the source is a smaller image than the target, x is first enlarged by bicubic
    interpolation, as in the OTM baseline's 8×8 source (UOTM, appendix; Rout et al. 2022).

    Args:
        tau: τ ≥ 0; zero leaves no cost, as for WGAN-GP.

    Raises:
        InputError: `tau` is negative or not finite.
    """

    def __init__(self, tau: float = 1e-3):
        if not (math.isfinite(tau) and tau >= 0):
            raise InputError(f"tau={tau} must be a finite number of at least 0.")
        self.tau = tau

    def __call__(self, source, target):
        """Costs of shape (B,) in float32, for `source` (B, ...) and `target` (B, ...)."""
        if source.shape[1:] != target.shape[1:]:
            source = enlarge_bicubic(source, target.shape[1:3])
        difference = ops.cast(source, "float32") - ops.cast(target, "float32")
        return self.tau * ops.sum(ops.square(difference), axis=tuple(range(1, len(target.shape))))

    def get_config(self) -> dict:
        return {"tau": self.tau}

    @classmethod
    def from_config(cls, config: dict) -> "Quadratic":
        return cls(**config)


def enlarge_bicubic(images, size: tuple[int, int]):
    """Bicubic enlargement (Keys' kernel, a = −0.75, half-pixel centres, edges repeated).

    Args:
        images: (B, H, W, C).
        size: the height and width wanted.
    """
    if len(images.shape) != 4:
        raise InputError(
            f"a source of shape {tuple(images.shape[1:])} cannot be compared with the target: "
            "give the two the same shape, or images of which the source's may be smaller."
        )
    _, height, width, channels = images.shape
    rows = ops.convert_to_tensor(_bicubic_matrix(height, size[0]), "float32")
    columns = ops.convert_to_tensor(_bicubic_matrix(width, size[1]), "float32")
    tall = ops.matmul(rows, ops.reshape(images, (-1, height, width * channels)))
    wide = ops.matmul(columns, ops.reshape(tall, (-1, width, channels)))
    return ops.reshape(wide, (-1, size[0], size[1], channels))


def _bicubic_matrix(n_in: int, n_out: int, a: float = -0.75) -> np.ndarray:
    """(n_out, n_in) matrix of one-dimensional bicubic interpolation."""
    matrix = np.zeros((n_out, n_in), "float64")
    for row in range(n_out):
        centre = (row + 0.5) * n_in / n_out - 0.5
        first = math.floor(centre) - 1
        for tap in range(first, first + 4):
            d = abs(centre - tap)
            if d <= 1:
                weight = (a + 2) * d**3 - (a + 3) * d**2 + 1
            else:
                weight = a * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[row, min(max(tap, 0), n_in - 1)] += weight
    return matrix.astype("float32")
