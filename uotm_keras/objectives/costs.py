"""Transport costs c(x, y)."""

import math
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

_PACKAGE = "uotm_keras.costs"


class Cost:
    """Base class for costs that are saved with a model.

    Any callable c(x, y) is accepted as a cost. A subclass that is registered with
    `keras.saving.register_keras_serializable` and whose `get_config` returns the arguments
    of its constructor is also saved and loaded with the model.

    Example:

    ```python
    @keras.saving.register_keras_serializable("my_package")
    class L1(Cost):
        def __init__(self, tau=1e-3):
            self.tau = tau

        def __call__(self, source, target):
            return self.tau * ops.sum(ops.abs(source - target), axis=(1, 2, 3))

        def get_config(self):
            return {"tau": self.tau}
    ```
    """

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        """Return c(x, y), float32 (B,), of `source` (B, ...) and `target` (B, ...)."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the cost that `get_config` describes."""
        return cls(**config)


@keras.saving.register_keras_serializable(_PACKAGE)
class Quadratic(Cost):
    """c(x, y) = τ·‖x − y‖², summed over all pixels and channels (without a factor ½).

    If the source is a smaller image than the target, x is first enlarged by bicubic
    interpolation, as for the 8×8 source of the OTM baseline. With τ = 0 the source may have
    any shape.

    Args:
        tau: τ ≥ 0; 0 leaves no cost, as for WGAN-GP. Defaults to 1e-3.

    Raises:
        InputError: If `tau` is negative or not finite.

    Reference:
        UOTM, arXiv 2305.14777, section 2; Rout et al., 2022, for the small source.
    """

    def __init__(self, tau: float = 1e-3):
        if not (math.isfinite(tau) and tau >= 0):
            raise InputError(f"tau={tau} must be a finite number of at least 0.")
        self.tau = tau

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        if source.shape[1:] != target.shape[1:]:
            if self.tau == 0:
                return Zero()(source, target)
            source = enlarge_bicubic(source, target.shape[1:3])
        difference = ops.cast(source, "float32") - ops.cast(target, "float32")
        return self.tau * ops.sum(ops.square(difference), axis=tuple(range(1, len(target.shape))))

    def get_config(self) -> dict[str, Any]:
        return {"tau": self.tau}


@keras.saving.register_keras_serializable(_PACKAGE)
class Zero(Cost):
    """c(x, y) = 0, for a source of any shape: the generator is then a GAN's."""

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        return ops.zeros((ops.shape(target)[0],), "float32")


def enlarge_bicubic(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge images by bicubic interpolation.

    Uses Keys' kernel with a = −0.75, half-pixel centers, and repeated edges.

    Args:
        images: (B, H, W, C).
        size: The new height and width.

    Returns:
        (B, *size, C).

    Raises:
        InputError: If `images` are not images.
    """
    if len(images.shape) != 4:
        raise InputError(
            f"a source of shape {tuple(images.shape[1:])} cannot be compared with the target: "
            "use two equal shapes, or two image shapes of which the source's may be smaller."
        )
    _, height, width, channels = images.shape
    rows = ops.convert_to_tensor(bicubic_matrix(height, size[0]), "float32")
    columns = ops.convert_to_tensor(bicubic_matrix(width, size[1]), "float32")
    tall = ops.matmul(rows, ops.reshape(images, (-1, height, width * channels)))
    wide = ops.matmul(columns, ops.reshape(tall, (-1, width, channels)))
    return ops.reshape(wide, (-1, size[0], size[1], channels))


def bicubic_matrix(n_in: int, n_out: int, a: float = -0.75) -> np.ndarray:
    """Return the (n_out, n_in) matrix of one-dimensional bicubic interpolation."""
    matrix = np.zeros((n_out, n_in), "float64")
    for row in range(n_out):
        center = (row + 0.5) * n_in / n_out - 0.5
        first = math.floor(center) - 1
        for tap in range(first, first + 4):
            d = abs(center - tap)
            if d <= 1:
                weight = (a + 2) * d**3 - (a + 3) * d**2 + 1
            else:
                weight = a * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[row, min(max(tap, 0), n_in - 1)] += weight
    return matrix.astype("float32")
