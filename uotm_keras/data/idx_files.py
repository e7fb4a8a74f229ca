"""Images and labels in the idx format of MNIST, Fashion-MNIST, KMNIST and EMNIST.

A file is four bytes (two zeros, the type, the number of axes), the length of each axis as a
big-endian 32-bit integer, and the values, C-ordered. The files are often compressed by gzip,
which is recognized by the content.
"""

import contextlib
import gzip
import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from uotm_keras.data.dataset import ArrayDataset
from uotm_keras.data.pixels import fit_images
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import require_regular_file

__all__ = ["SPLITS", "idx_dataset"]

SPLITS = {"train": ("train",), "test": ("t10k", "test")}
"""How the names of the files of each split begin."""

_ENDS = ("-images-idx3-ubyte", "-images.idx3-ubyte")
_UINT8 = 8  # the type in the header
_GZIP = b"\x1f\x8b"
_GZIP_RATIO = 1032  # the most that deflate can expand
_LARGEST = 1 << 33
_CHUNK = 1 << 24


def idx_dataset(
    path: str | os.PathLike,
    image_size: int | None = None,
    channels: int | None = None,
    split: str = "train",
) -> ArrayDataset:
    """Open an images file in idx format, with the labels file beside it if there is one.

    Args:
        path: the images file (uint8, three axes), or a folder with
            `train-images-idx3-ubyte` and the like, each possibly with the ending .gz. The
            labels file has the same name with "labels" and "idx1" in place of "images" and
            "idx3".
        image_size: side to resize images to; None keeps theirs.
        channels: 1 or 3; None means 1.
        split: the files of a folder: "train" (train-images…) or "test" (t10k-images… or
            test-images…). Defaults to "train", which is the only one of a file.

    Raises:
        InputError: a file does not exist, is truncated or damaged, or holds something else, or
            the numbers of images and labels differ.
    """
    path = Path(path)
    name = f"idx:{path}"
    if split not in SPLITS:
        raise InputError(f"split={split!r}: {name} has the splits 'train' and 'test'.")
    file = path
    if path.is_dir():
        name = f"{name}:{split}" if split != "train" else name
        file = _images_file(path, split)
    elif split != "train":
        raise InputError(f"split={split!r}: {path} is not a folder; give its file of that split.")
    images = read_idx(file, 3)
    labels_file = _labels_file(file)
    labels = None if labels_file is None else read_idx(labels_file, 1)
    if labels is not None and len(labels) != len(images):
        raise InputError(
            f"{labels_file} has {len(labels)} labels for the {len(images)} images of {file.name}: "
            "the numbers must be equal."
        )
    # As for such sets of TFDS: a mirrored digit or letter is implausible.
    fitted = fit_images(images[..., None], image_size, channels)
    return ArrayDataset(fitted, name, flip_by_default=False, labels=labels)


def _images_file(folder: Path, split: str) -> Path:
    names = [f"{start}{end}" for start in SPLITS[split] for end in _ENDS]
    for name in names:
        for file in (folder / name, folder / f"{name}.gz"):
            if file.exists():
                return file
    raise InputError(
        f"idx:{folder} has no images of the split {split!r}: accepted are files named "
        f"{' or '.join(names)}, each possibly ending in .gz."
    )


def _labels_file(images: Path) -> Path | None:
    """The labels file beside an images file; None if there is none, or the names are others."""
    name = images.name.removesuffix(".gz")
    labels = name.replace("images", "labels").replace("idx3", "idx1")
    if "images" not in name:
        return None
    files = (images.with_name(labels), images.with_name(f"{labels}.gz"))
    return next((file for file in files if file.exists()), None)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read a file of unsigned bytes.

    Args:
        path: the file, compressed by gzip or not.
        axes: the number of axes.

    Returns:
        uint8 array, read-only.

    Raises:
        InputError: the file does not exist, is truncated or damaged, or is of another kind.
    """
    require_regular_file(path, f"idx:{path}")
    try:
        with open(path, "rb") as raw, contextlib.ExitStack() as stack:
            zipped = raw.read(2) == _GZIP
            limit = os.fstat(raw.fileno()).st_size * (_GZIP_RATIO if zipped else 1)
            raw.seek(0)
            # GzipFile is a file of bytes, which its type does not say.
            file: BinaryIO = stack.enter_context(gzip.GzipFile(fileobj=raw)) if zipped else raw  # type: ignore[assignment]
            return _read(file, axes, limit)
    except Exception as error:  # altered bytes make gzip raise many kinds
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(
            f"{path} is not a complete idx file of unsigned bytes with "
            f"{axes} {'axis' if axes == 1 else 'axes'}: {reason.rstrip('.')}."
        ) from error


def _read(file: BinaryIO, axes: int, limit: int) -> np.ndarray:
    """Read an array; `limit` is the most bytes that the file can have."""
    expected = bytes([0, 0, _UINT8, axes])
    magic = file.read(4)
    if magic != expected:
        raise ValueError(f"it starts with {magic.hex() or 'nothing'} instead of {expected.hex()}")
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise ValueError("it ends within its header")
    shape = tuple(int(length) for length in np.frombuffer(header, ">u4"))
    size = math.prod(shape)
    declared = f"its header declares {' × '.join(map(str, shape))} bytes"
    # Checked before anything is allocated: a header can claim any shape.
    if size < 1 or size > _LARGEST:
        raise ValueError(f"{declared}, and accepted are 1 to {_LARGEST}")
    if size + len(magic) + len(header) > limit:
        raise ValueError(f"{declared}, more than it holds")
    data = bytearray()
    while chunk := file.read(min(_CHUNK, size + 1 - len(data))):
        data += chunk
    if len(data) != size:
        has = "more follow" if len(data) > size else f"{len(data)} follow"
        raise ValueError(f"{declared}, and {has}")
    return np.frombuffer(data, np.uint8).reshape(shape)
