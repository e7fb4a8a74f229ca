"""Floats to 8-bit pixels: the one place where images are rounded."""

import numpy as np

from uotm_keras.utils.errors import InputError

__all__ = ["to_uint8"]


def to_uint8(images: np.ndarray, value_range: tuple[float, float] = (-1.0, 1.0)) -> np.ndarray:
    """Convert images to bytes as they would be saved: scale, round to nearest, and clip.

    Args:
        images: floats of any shape.
        value_range: the values of black and of white. Defaults to (-1, 1), the range of the
            generators; values outside are clipped.

    Returns:
        uint8 of the same shape. `to_uint8(from_uint8(x))` is `x`.

    Raises:
        InputError: a value is NaN or infinite, or the range is empty.

    Example:
        >>> to_uint8(np.array([-1.0, 0.0, 1.0]))
        array([  0, 128, 255], dtype=uint8)
    """
    low, high = value_range
    if not high > low:
        raise InputError(f"value_range={value_range!r}: accepted are two increasing numbers.")
    images = np.asarray(images, "float32")
    if not np.isfinite(images).all():
        raise InputError("images contain NaN or infinite values: only finite numbers are accepted.")
    scaled = (images - low) * (255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype("uint8")
