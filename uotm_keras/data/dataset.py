"""What a dataset is, and the two that hold their data in memory."""

import abc
import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from uotm_keras.data.pixels import from_uint8
from uotm_keras.utils.errors import InputError, printable

__all__ = ["ArrayDataset", "Dataset", "PointDataset", "content_key"]


class Dataset(abc.ABC):
    """N examples with random access.

    Attributes:
        name: what the user called it, for messages and logs.
        shape: shape of one example: (H, W, C) for images, (dimension,) for points.
        flip_by_default: whether a mirrored example is still a plausible example.
        in_memory: whether `take` only copies, which threads would only slow down.
        outliers: sorted int64 indices of the examples known to be outliers; usually empty.
        skipped: {path: reason} of the files that cannot be used; usually empty.
    """

    name: str
    shape: tuple[int, ...]
    flip_by_default: bool = False
    in_memory: bool = True
    outliers: np.ndarray = np.empty(0, np.int64)
    skipped: Mapping[str, str] = {}

    @property
    def is_images(self) -> bool:
        """True for images in [-1, 1], False for points in their own units."""
        return len(self.shape) == 3

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of examples."""

    @abc.abstractmethod
    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return examples by index.

        Args:
            indices: integers (B,) in [0, len(self)).

        Returns:
            float32 (B, *shape), a new array; images in [-1, 1], NHWC.
        """

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Return a key of the content, equal for equal data, for caches and resumed runs."""

    def path_of(self, index: int) -> str:
        """Return what to call one example: its file, or NAME[INDEX]."""
        return f"{self.name}[{int(index)}]"

    def parts(self) -> Iterator["Dataset"]:
        """Yield the datasets that this one is made of: by default itself."""
        yield self

    def skipped_summary(self, limit: int = 5) -> str:
        """Return one sentence that counts and names the skipped files; empty if there are none.

        Args:
            limit: how many files to name. Defaults to 5.
        """
        if not self.skipped:
            return ""
        named = [f"{path} ({reason})" for path, reason in list(self.skipped.items())[:limit]]
        more = len(self.skipped) - len(named)
        rest = f" and {more} more" if more else ""
        files = "file" if len(self.skipped) == 1 else "files"
        return printable(f"skipped {len(self.skipped)} {files}: {', '.join(named)}{rest}.")


class ArrayDataset(Dataset):
    """Images held as bytes and converted one batch at a time.

    Args:
        images: uint8 (N, H, W, C).
        name: see `Dataset`.
        flip_by_default: see `Dataset`. Defaults to True.

    Raises:
        InputError: the array has another type or shape, or is empty.
    """

    def __init__(self, images: np.ndarray, name: str, flip_by_default: bool = True):
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise InputError(
                f"{name} contains {images.dtype} of shape {images.shape}: accepted are uint8 "
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
        points: finite numbers (N, dimension), kept as float32.
        name: see `Dataset`.
        outliers: indices of the known outliers. Defaults to none.

    Raises:
        InputError: the array has another shape, is empty, or contains NaN or infinity.
    """

    def __init__(self, points: np.ndarray, name: str, outliers: np.ndarray | None = None):
        points = np.asarray(points, np.float32)
        if points.ndim != 2 or not points.size:
            raise InputError(
                f"{name} contains points of shape {points.shape}: accepted is (N, dimension)."
            )
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        if bad:
            raise InputError(
                f"{name} has NaN or infinity in {bad} of {len(points)} points: "
                "only finite numbers are accepted."
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
    """Return 32 hexadecimal digits of SHA-256 over arrays (bytes, shape, dtype) and strings."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:32]
