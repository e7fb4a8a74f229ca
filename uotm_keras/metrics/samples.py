"""Images to score, from a folder or an `.npz` file, and the JPEG protocol."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from uotm_keras.data.folder import FolderDataset
from uotm_keras.metrics.cache import array_hash
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.npz import array_names, read_arrays
from uotm_keras.utils.pixels import to_uint8

JPEG_QUALITY = 75


class ImageSet(Protocol):
    """Images that can be counted, read in batches, and recognized again."""

    def __len__(self) -> int:
        """Return the number of images."""

    def batches(self, batch_size: int = 64) -> Iterator[np.ndarray]:
        """Yield uint8 batches (b, H, W, 3 or 1) in a fixed order."""

    def fingerprint(self) -> str:
        """Return a hash of the content."""

    def description(self) -> str:
        """Return the name and the number of images, for people."""


class ImageArray:
    """Images in memory.

    Args:
        images: uint8 (n, H, W, 3 or 1).
        name: name for messages and results. Defaults to `"an array"`.

    Raises:
        InputError: the array has another type or shape, or is empty.
    """

    def __init__(self, images: np.ndarray, name: str = "an array"):
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
            raise InputError(
                f"{name} has shape {images.shape} and type {images.dtype}: accepted are uint8 "
                "images of shape (n, height, width, 3) or (n, height, width, 1)."
            )
        if len(images) == 0:
            raise InputError(f"{name} contains no images.")
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
    """The image files of a folder as RGB, read exactly as training reads `folder:PATH`.

    Args:
        folder: a folder of images of one size; see `FolderDataset` for the files that are
            used and skipped.
        background: color on which transparent images are composited. Defaults to `"white"`.

    Attributes:
        paths: the files that are used.
        skipped: {path: reason} of those that are not.
        lossy: whether some files are not PNG.

    Raises:
        InputError: the folder does not exist, contains no usable image, or mixes sizes.
    """

    def __init__(self, folder: str | os.PathLike, background: str = "white"):
        self.folder = Path(folder)
        self.dataset = FolderDataset(folder, channels=3, cache_bytes=0, background=background)
        self.paths, self.skipped = self.dataset.paths, self.dataset.skipped
        self.lossy = any(not path.lower().endswith(".png") for path in self.paths)

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, batch_size: int = 64) -> Iterator[np.ndarray]:
        for start in range(0, len(self), batch_size):
            yield self.dataset.take_uint8(np.arange(start, min(start + batch_size, len(self))))

    def fingerprint(self) -> str:
        return self.dataset.fingerprint()

    def skipped_summary(self) -> str:
        """Return one sentence on the files that are skipped; empty if there are none."""
        return self.dataset.skipped_summary()

    def description(self) -> str:
        return f"{self.folder.name} ({len(self)} images)"


class DatasetImages:
    """The images of a dataset, whose values are floats in [−1, 1].

    Args:
        dataset: a dataset with `len`, `take(indices)` and `fingerprint()`.
    """

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, batch_size: int = 64) -> Iterator[np.ndarray]:
        for start in range(0, len(self), batch_size):
            indices = np.arange(start, min(start + batch_size, len(self)))
            yield to_uint8(self.dataset.take(indices))

    def fingerprint(self) -> str:
        return self.dataset.fingerprint()

    def description(self) -> str:
        name = getattr(self.dataset, "name", type(self.dataset).__name__)
        return f"{name} ({len(self)} images)"


def image_set(reference: object) -> ImageSet | None:
    """Return the images of a reference; None if it is statistics, or None.

    Args:
        reference: see `metrics.open_reference`.

    Raises:
        InputError: see `open_images`.
    """
    if isinstance(reference, np.ndarray):
        return ImageArray(reference)
    if isinstance(reference, ImageArray | ImageFolder):
        return reference
    if isinstance(reference, (str, os.PathLike)):
        path = Path(reference)
        is_array = path.suffix == ".npz" and path.is_file() and "mu" not in array_names(path)
        return open_images(path) if is_array or path.is_dir() else None
    return DatasetImages(reference) if hasattr(reference, "take") else None


def open_images(path: str | os.PathLike) -> ImageSet:
    """Open a folder of image files, or an `.npz` with one array of uint8 images.

    Raises:
        InputError: see `ImageFolder` and `ImageArray`.
    """
    path = Path(path)
    if path.suffix != ".npz" or os.path.isdir(path):
        return ImageFolder(path)
    return images_among(read_arrays(path), path)


def images_among(arrays: dict[str, np.ndarray], path: Path) -> ImageArray:
    """Return the only array of images among the arrays of a file.

    Raises:
        InputError: there is none, or more than one.
    """
    found = [array for array in arrays.values() if array.ndim == 4]
    if len(found) != 1:
        raise InputError(
            f"{path} contains {len(found)} arrays of four axes: exactly one, of uint8 images "
            "(n, height, width, 3), is expected."
        )
    return ImageArray(found[0], name=path.name)


def jpeg_round_trip(images: np.ndarray, quality: int = JPEG_QUALITY) -> np.ndarray:
    """Return images after a JPEG round trip with Pillow's (and torchvision's) defaults.

    The UOTM authors score samples that were saved so. It shifts FID; state it with the score.

    Args:
        images: uint8 (n, H, W, 3 or 1).
        quality: JPEG quality. Defaults to 75, Pillow's default, with halved color resolution.

    Returns:
        An array of the same shape and type.
    """
    from PIL import Image

    restored = np.empty_like(images)
    for i, image in enumerate(images):
        buffer = io.BytesIO()
        gray = image.shape[-1] == 1
        Image.fromarray(image[..., 0] if gray else image).save(buffer, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(buffer))
        restored[i] = decoded[..., None] if gray else decoded
    return restored


def authors_sample_count(num_samples: int = 50_000, batch_size: int = 256) -> int:
    """Return how many samples the authors' program scores: 50 000 // B · B, whole batches only.

    Args:
        num_samples: samples asked for. Defaults to 50 000.
        batch_size: B. Defaults to 256.
    """
    if batch_size < 1 or num_samples < batch_size:
        raise InputError(
            f"num_samples={num_samples} in batches of {batch_size}: at least one whole batch "
            "is required."
        )
    return num_samples // batch_size * batch_size
