"""Images to score that lie in a folder or an `.npz`, and the JPEG protocol."""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from uotm_keras.metrics.cache import array_hash
from uotm_keras.metrics.statistics import read_npz
from uotm_keras.utils.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
JPEG_QUALITY = 75


class ImageSet(Protocol):
    """Images that can be counted, read in batches, and recognised again."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int = 64) -> Iterator[np.ndarray]:
        """Yields (b, H, W, 3 or 1) uint8, in a fixed order."""

    def fingerprint(self) -> str:
        """Hash of the content."""

    def description(self) -> str:
        """For people: what and how many."""


class ImageArray:
    """Images in memory.

    Args:
        images: (n, H, W, 3 or 1) uint8.
        name: for messages and results.
    """

    def __init__(self, images: np.ndarray, name: str = "an array"):
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
            raise InputError(
                f"{name} has shape {images.shape} and type {images.dtype}: accepted are uint8 "
                "images of shape (n, height, width, 3) or (n, height, width, 1)."
            )
        if len(images) == 0:
            raise InputError(f"{name} holds no images.")
        self.images = images
        self.name = name

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, batch_size: int = 64) -> Iterator[np.ndarray]:
        for start in range(0, len(self.images), batch_size):
            yield self.images[start : start + batch_size]

    def fingerprint(self) -> str:
        return array_hash({"images": self.images})

    def description(self) -> str:
        return f"{self.name} ({len(self)} images)"


class ImageFolder:
    """The PNG and JPEG files of a folder and its subfolders, in the order of their paths.

    Args:
        folder: every file in it must be an image, hidden files aside, and all of one size.

    Raises:
        InputError: no folder, no images, other files, unreadable ones, mixed sizes.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"there is no folder {folder}.")
        paths = sorted(
            path
            for path in self.folder.rglob("*")
            if path.is_file()
            and not any(p.startswith(".") for p in path.relative_to(self.folder).parts)
        )
        if not paths:
            raise InputError(f"the folder {folder} is empty: PNG or JPEG images are expected.")
        others = [path for path in paths if path.suffix.lower() not in SUFFIXES]
        if others:
            raise InputError(
                f"the folder {folder} holds {len(others)} files that are not PNG or JPEG "
                f"images, such as {others[0].name}."
            )
        self.paths = paths
        first = None
        for path in paths:
            size = _open(path).size
            first = first or size
            if size != first:
                raise InputError(
                    f"the folder {folder} mixes sizes: {paths[0].name} is "
                    f"{first[0]}×{first[1]} and {path.name} is {size[0]}×{size[1]}."
                )
        self.lossy = any(path.suffix.lower() != ".png" for path in paths)

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, batch_size: int = 64) -> Iterator[np.ndarray]:
        for start in range(0, len(self.paths), batch_size):
            yield np.stack([_read(path) for path in self.paths[start : start + batch_size]])

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def description(self) -> str:
        return f"{self.folder.name} ({len(self)} images)"


def _open(path: Path):
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not an image that can be read.") from error


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with _open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is truncated or damaged.") from error


def open_images(path: str | os.PathLike) -> ImageSet:
    """A folder of PNG and JPEG files, or an `.npz` with one array of uint8 images.

    Raises:
        InputError: see `ImageFolder` and `ImageArray`.
    """
    path = Path(path)
    if path.suffix != ".npz":
        return ImageFolder(path)
    arrays = {name: a for name, a in read_npz(path).items() if a.ndim == 4}
    if len(arrays) != 1:
        raise InputError(
            f"{path} holds {len(arrays)} arrays of four axes: one, of uint8 images "
            "(n, height, width, 3), is expected."
        )
    return ImageArray(*arrays.values(), name=path.name)


def jpeg_round_trip(images: np.ndarray, quality: int = JPEG_QUALITY) -> np.ndarray:
    """Images as they come back from a JPEG file of Pillow's (and torchvision's) defaults.

    The UOTM authors score samples that were saved so. It shifts FID; say so beside it.

    Args:
        images: (n, H, W, 3 or 1) uint8.
        quality: Pillow's default is 75, with halved colour resolution.

    Returns:
        The same shape and type.
    """
    from PIL import Image

    restored = np.empty_like(images)
    for i, image in enumerate(images):
        buffer = io.BytesIO()
        grey = image.shape[-1] == 1
        Image.fromarray(image[..., 0] if grey else image).save(buffer, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(buffer))
        restored[i] = decoded[..., None] if grey else decoded
    return restored


def authors_sample_count(num_samples: int = 50_000, batch_size: int = 256) -> int:
    """How many samples the authors' program scores: whole batches only, 50 000 // B · B."""
    if batch_size < 1 or num_samples < batch_size:
        raise InputError(
            f"num_samples={num_samples} in batches of {batch_size}: at least one whole batch "
            "is needed."
        )
    return num_samples // batch_size * batch_size
