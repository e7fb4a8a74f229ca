"""What a dataset is, and the two that hold their data in memory."""

import abc
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from uotm_keras.data.pixels import from_uint8
from uotm_keras.utils.errors import InputError, printable

__all__ = [
    "ArrayDataset",
    "Dataset",
    "PointDataset",
    "checked_labels",
    "content_key",
    "required_labels",
]


class Dataset(abc.ABC):
    """N examples with random access.

    Attributes:
        name: what the user called it, for messages and logs.
        shape: shape of one example: (H, W, C) for images, (dimension,) for points.
        flip_by_default: whether a mirrored example is still a plausible example.
        in_memory: whether `take` only copies, which threads would only slow down.
        outliers: sorted int64 indices of the examples known to be outliers; usually empty.
        skipped: {path: reason} of the files that cannot be used; usually empty.
        labels: the class of each example, int64 (N,); −1 for outliers that contamination
            added. None for a dataset without classes.
        class_names: the names of the classes 0, 1, …; None if they have no names.
    """

    name: str
    shape: tuple[int, ...]
    flip_by_default: bool = False
    in_memory: bool = True
    outliers: np.ndarray = np.empty(0, np.int64)
    skipped: Mapping[str, str] = {}
    _labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each example; those of a batch are `labels[indices]`."""
        return self._labels

    @property
    def num_classes(self) -> int:
        """The number of classes: of the names, else the largest label + 1; 0 without labels."""
        if self.class_names is not None:
            return len(self.class_names)
        return 0 if self.labels is None else int(self.labels.max()) + 1

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
        labels: integers (N,) of at least 0, or None. Defaults to None.
        class_names: a name for each class, or None. Defaults to None.

    Raises:
        InputError: an array has another type or shape, there are no images, or a label is
            negative or has no name.
    """

    def __init__(
        self,
        images: np.ndarray,
        name: str,
        flip_by_default: bool = True,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
    ):
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise InputError(
                f"{name} contains {images.dtype} of shape {images.shape}: accepted are uint8 "
                "images of shape (N, H, W, C)."
            )
        self.images, self.name, self.flip_by_default = images, name, flip_by_default
        self.shape = images.shape[1:]
        self.class_names = None if class_names is None else tuple(class_names)
        self._labels = checked_labels(labels, len(images), self.num_classes, name)

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
        labels: integers (N,) of at least 0, or None. Defaults to None.

    Raises:
        InputError: an array has another shape, there are no points, the points contain NaN or
            infinity, or a label is negative.
    """

    def __init__(
        self,
        points: np.ndarray,
        name: str,
        outliers: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ):
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
        self._labels = checked_labels(labels, len(points), 0, name)
        if outliers is not None:
            self.outliers = np.asarray(outliers, np.int64)

    def __len__(self) -> int:
        return len(self.points)

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self.points[indices]

    def fingerprint(self) -> str:
        return content_key(self.points)


def required_labels(dataset: Dataset) -> np.ndarray:
    """Return the labels of a dataset for a conditional model, int32 (N,).

    Raises:
        InputError: it has none, some examples have no class, or a class has no examples.
    """
    labels = dataset.labels
    if labels is None:
        raise InputError(
            f"{dataset.name} has no labels to condition on: accepted are digits, mnist5k, TFDS "
            "datasets and idx and .npz files with labels, and a folder of class subfolders."
        )
    if (labels < 0).any():
        raise InputError(
            f"{dataset.name} contains {int((labels < 0).sum())} examples without a class, as "
            "outliers are: a conditional model cannot learn from them."
        )
    empty = np.flatnonzero(np.bincount(labels, minlength=dataset.num_classes) == 0)
    if len(empty):
        names = dataset.class_names
        raise InputError(
            f"the class {names[empty[0]] if names else empty[0]} of {dataset.name} has no "
            "examples: a conditional model needs some of each class."
        )
    return labels.astype(np.int32)


def checked_labels(
    labels: np.ndarray | None, count: int, num_classes: int, name: str
) -> np.ndarray | None:
    """Return labels as int64 (count,), or None.

    Args:
        labels: integers (count,) of at least 0, or None.
        count: the number of examples.
        num_classes: the number of classes; 0 accepts any.
        name: the dataset's name, for messages.

    Raises:
        InputError: the labels have another type or shape, or one is out of range.
    """
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise InputError(
            f"{name} has labels of type {labels.dtype} and shape {labels.shape}: accepted are "
            f"integers of shape ({count},)."
        )
    most = num_classes - 1 if num_classes else np.iinfo(np.int32).max
    wrong = (labels < 0) | (labels > most)
    if wrong.any():
        raise InputError(f"{name} has the label {labels[wrong][0]}: accepted are 0 to {most}.")
    return labels.astype(np.int64)


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
