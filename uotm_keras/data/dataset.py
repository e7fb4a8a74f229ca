"""What a data source is, and the two that hold their data in memory."""

import abc
import hashlib

import numpy as np

from uotm_keras.data.pixels import from_uint8
from uotm_keras.utils.errors import InputError

__all__ = ["ArrayDataset", "PointDataset", "Dataset"]


class Dataset(abc.ABC):
    """N examples with random access.

    Attributes:
        name: what the user called it, for messages and logs.
        shape: of one example: (H, W, C) for images, (dimension,) for points.
        flip_by_default: whether a mirrored example is still a plausible example.
        in_memory: whether `take` is a mere copy, which threads would only slow down.
        outliers: sorted int64 indices of the examples known to be outliers; mostly empty.
    """

    name: str
    shape: tuple[int, ...]
    flip_by_default: bool = False
    in_memory: bool = True
    outliers: np.ndarray = np.empty(0, np.int64)

    @property
    def is_images(self) -> bool:
        """True for images in [-1, 1], False for points in their own units."""
        return len(self.shape) == 3

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of examples."""

    @abc.abstractmethod
    def take(self, indices: np.ndarray) -> np.ndarray:
        """Examples by index.

        Args:
            indices: integers (B,) in [0, len(self)).

        Returns:
            float32 (B, *shape), a fresh array; images in [-1, 1], NHWC.
        """

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A key of the content: equal for equal data, for caches of statistics."""

    def path_of(self, index: int) -> str:
        """What to call one example: its file, or NAME[INDEX]."""
        return f"{self.name}[{int(index)}]"

    def report(self) -> str:
        """One sentence on what was left out, empty if nothing was."""
        return ""


class ArrayDataset(Dataset):
    """Images held as bytes and converted a batch at a time.

    Args:
        images: uint8 (N, H, W, C).
        name: see `Source`.
        flip_by_default: see `Source`.
    """

    def __init__(self, images: np.ndarray, name: str, flip_by_default: bool = True):
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise InputError(
                f"{name} holds {images.dtype} of shape {images.shape}: accepted are uint8 "
                "images of shape (N, H, W, C)."
            )
        self.images, self.name, self.flip_by_default = images, name, flip_by_default
        self.shape = images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> np.ndarray:
        return from_uint8(self.images[indices])

    def fingerprint(self) -> str:
        return content_key(self.images)


class PointDataset(Dataset):
    """Points held in memory, given to the network as they are.

    Args:
        points: numbers (N, dimension), finite; kept as float32.
        name: see `Source`.
        outliers: indices of known outliers.
    """

    def __init__(self, points: np.ndarray, name: str, outliers: np.ndarray | None = None):
        points = np.asarray(points, np.float32)
        if points.ndim != 2 or not points.size:
            raise InputError(
                f"{name} holds points of shape {points.shape}: accepted is (N, dimension)."
            )
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        if bad:
            raise InputError(
                f"{name} has NaN or infinity in {bad} of {len(points)} points: "
                "accepted are finite numbers."
            )
        self.points, self.name = points, name
        self.shape = points.shape[1:]
        if outliers is not None:
            self.outliers = np.asarray(outliers, np.int64)

    def __len__(self) -> int:
        return len(self.points)

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self.points[indices]

    def fingerprint(self) -> str:
        return content_key(self.points)


def content_key(*parts: np.ndarray | str) -> str:
    """32 hexadecimal digits of SHA-256 over arrays (bytes, shape, dtype) and strings."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part))
        else:
            digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:32]
