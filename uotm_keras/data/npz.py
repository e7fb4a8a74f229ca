"""Arrays from a NumPy .npz file."""

import os
import zipfile
from pathlib import Path

import numpy as np

from uotm_keras.data.dataset import ArrayDataset, PointDataset
from uotm_keras.data.pixels import CHANNELS, fit_images
from uotm_keras.utils.errors import InputError

__all__ = ["npz"]

_FIRST_CHOICES = ("images", "points", "data", "x", "x_train", "arr_0")
_ACCEPTED = "uint8 images (N, H, W) or (N, H, W, 1 or 3), or float points (N,) or (N, dimension)"


def npz(
    path: str | os.PathLike, image_size: int | None = None, channels: int | None = None
) -> ArrayDataset | PointDataset:
    """The first usable array of a .npz file.

    Arrays named images, points, data, x, x_train or arr_0 are tried first, then the
    others in the file's order. Pickled objects are never loaded.

    Args:
        path: the file.
        image_size: side to resize images to; None keeps theirs.
        channels: 1 or 3; None keeps the images'.

    Raises:
        InputError: the file is absent or not a .npz, no array is usable, or points are
            not finite.
    """
    path = Path(path)
    name = f"npz:{path}"
    found = []
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise InputError(f"{name} is a single .npy array: accepted is a .npz file.")
        with file:
            for key in sorted(file.files, key=_rank):
                try:
                    array = file[key]
                except ValueError:
                    found.append(f"{key} (pickled objects, which are not loaded)")
                    continue
                if _is_images(array):
                    array = array[..., None] if array.ndim == 3 else array
                    return ArrayDataset(fit_images(array, image_size, channels), name)
                if _is_points(array):
                    if image_size is not None or channels is not None:
                        raise InputError(
                            f"{name} holds points: image_size and channels are for images."
                        )
                    return PointDataset(array.reshape(len(array), -1), name)
                found.append(f"{key} {array.dtype} {array.shape}")
    except FileNotFoundError as error:
        raise InputError(f"{name}: there is no file {path}.") from error
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{name} cannot be read as a .npz file: {error}.") from error
    raise InputError(
        f"{name} has no usable array (it has {', '.join(found) or 'none'}): "
        f"accepted are {_ACCEPTED}."
    )


def _rank(key: str) -> int:
    return _FIRST_CHOICES.index(key) if key in _FIRST_CHOICES else len(_FIRST_CHOICES)


def _is_images(array: np.ndarray) -> bool:
    grey = array.ndim == 3
    coloured = array.ndim == 4 and array.shape[-1] in CHANNELS
    return array.dtype == np.uint8 and array.size > 0 and (grey or coloured)


def _is_points(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and array.size > 0 and array.ndim in (1, 2)
