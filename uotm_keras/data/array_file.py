"""Images or points from a NumPy `.npz` file."""

import os
from pathlib import Path

import numpy as np

from uotm_keras.data.dataset import ArrayDataset, PointDataset
from uotm_keras.data.pixels import CHANNELS, fit_images
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.npz import iterate_arrays

__all__ = ["npz_dataset"]

_FIRST_CHOICES = ("images", "points", "data", "x", "x_train", "arr_0")
_LABELS = ("labels", "y", "y_train")
_ACCEPTED = "uint8 images (N, H, W) or (N, H, W, 1 or 3), or float points (N,) or (N, dimension)"


def npz_dataset(
    path: str | os.PathLike, image_size: int | None = None, channels: int | None = None
) -> ArrayDataset | PointDataset:
    """Open the first usable array of an `.npz` file.

    | | dtype | shape | values |
    |---|---|---|---|
    | images | uint8 | (N, H, W), (N, H, W, 1) or (N, H, W, 3) | 0 to 255 |
    | points | float16, float32 or float64 | (N,) or (N, dimension) | finite |
    | labels | any integer type | (N,) or (N, 1) | 0 to 2³¹ − 1 |

    Arrays named images, points, data, x, x_train or arr_0 are tried first, then the others in
    the file's order. The labels are the first of the arrays labels, y and y_train that fits the
    table; others are ignored. Pickled objects are never loaded.

    Args:
        path: the file.
        image_size: side to resize images to; None keeps theirs.
        channels: 1 or 3; None keeps the images'.

    Raises:
        InputError: the file does not exist or is not an `.npz` file, no array is usable, or
            points are not finite.
    """
    path = Path(path)
    name = f"npz:{path}"
    found = []
    for key, array in iterate_arrays(path, _FIRST_CHOICES):
        if array is None:
            found.append(f"{key} (pickled objects, which are not loaded)")
        elif _is_images(array):
            array = array[..., None] if array.ndim == 3 else array
            images = fit_images(array, image_size, channels)
            return ArrayDataset(images, name, labels=_labels(path, len(images)))
        elif _is_points(array):
            if image_size is not None or channels is not None:
                raise InputError(f"{name} contains points: image_size and channels are for images.")
            points = array.reshape(len(array), -1)
            return PointDataset(points, name, labels=_labels(path, len(points)))
        else:
            found.append(f"{key} {array.dtype} {array.shape}")
    raise InputError(
        f"{name} has no usable array (it has {', '.join(found) or 'none'}): "
        f"accepted are {_ACCEPTED}."
    )


def _labels(path: Path, count: int) -> np.ndarray | None:
    for key, array in iterate_arrays(path, _LABELS):
        if key not in _LABELS:
            break
        if array is None or array.dtype.kind not in "iu":
            continue
        fits = array.shape in ((count,), (count, 1))
        if fits and array.min() >= 0 and array.max() <= np.iinfo(np.int32).max:
            return array.reshape(count)
    return None


def _is_images(array: np.ndarray) -> bool:
    gray = array.ndim == 3
    color = array.ndim == 4 and array.shape[-1] in CHANNELS
    return array.dtype == np.uint8 and array.size > 0 and (gray or color)


def _is_points(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and array.size > 0 and array.ndim in (1, 2)
