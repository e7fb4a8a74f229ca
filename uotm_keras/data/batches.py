"""Batches whose content depends only on the seed and their number.

The examples of epoch e are in a random order drawn from (seed, e); the epochs follow each
other without a gap, and batch k is the k-th group of `batch_size` of that endless sequence.
Flips and augmentations of batch k are drawn from (seed, k). So batch k is the same whatever
was read before it and however many threads read, and a run can resume at any k.
"""

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from uotm_keras.data.augmentations import (
    Augmentation,
    flip_horizontally,
    resolve_augmentations,
)
from uotm_keras.data.dataset import Dataset, required_labels
from uotm_keras.utils.errors import InputError

if TYPE_CHECKING:
    import grain

__all__ = ["Batches", "PairBatches"]

_ORDER, _FLIP, _AUGMENT = range(3)  # the purposes of random generators
_ENDLESS = 2**62


class _BatchStream:
    """Base class of `Batches` and `PairBatches`: numbering, iteration, prefetching."""

    start: int
    steps_per_epoch: int
    default_workers: int
    shapes: tuple[tuple[int, ...], ...]
    """The shape of one example of each array in a batch."""
    dtypes: tuple[str, ...]
    """The type of each array in a batch."""

    def part(self, k: int, rows: np.ndarray | None = None) -> Any:
        """Return batch k, or only some of its rows."""
        raise NotImplementedError

    def __getitem__(self, k: int) -> Any:
        return self.part(k)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches start, start + 1, …, without end and without threads."""
        k = self.start
        while True:
            yield self[k]
            k += 1

    def stream(
        self,
        start: int | None = None,
        workers: int | None = None,
        prefetch: int | None = None,
        rows: np.ndarray | None = None,
    ) -> "grain.IterDataset":
        """Return the batches as a Grain dataset that `keras.Model.fit` accepts.

        It is endless: pass `steps_per_epoch` to `fit`.

        Args:
            start: number of the first batch. Defaults to `self.start`.
            workers: threads that prepare batches in advance; 0 prepares each batch when it
                is requested. Defaults to `self.default_workers`: 2 if files are decoded or
                images augmented, else 0. The batches do not depend on it.
            prefetch: number of batches to prepare in advance. Defaults to two per worker.
            rows: take only these rows of each batch, as one of several processes does.

        Returns:
            grain.IterDataset of float32 arrays (pairs of them from `PairBatches`, and pairs of
            them and int32 labels with `labeled`).

        Example:
            model.fit(batches.stream(), steps_per_epoch=batches.steps_per_epoch, epochs=10)
        """
        start = self.start if start is None else _whole("start", start, 0)
        workers = self.default_workers if workers is None else _whole("workers", workers, 0)
        prefetch = 2 * workers if prefetch is None else _whole("prefetch", prefetch, 0)
        # Imported here: Grain takes two seconds, and imports JAX where it is installed.
        import grain

        numbers = grain.MapDataset.range(start, _ENDLESS)
        options = grain.ReadOptions(
            num_threads=workers, prefetch_buffer_size=max(prefetch, workers) if workers else 0
        )
        return numbers.map(functools.partial(self.part, rows=rows)).to_iter_dataset(options)


class Batches(_BatchStream):
    """An endless sequence of shuffled batches of a dataset.

    Args:
        dataset: the examples.
        batch_size: examples per batch, at most `len(dataset)`.
        seed: seed of the order, the flips and the augmentations (int, at least 0). Defaults to 0.
        start: number of the batch at which iteration starts. Defaults to 0.
        flip: whether to mirror images at random. Defaults to `dataset.flip_by_default`.
        augmentations: names of KerasCV layers, pairs (name, options), or functions
            (images, rng) -> images; applied in order, after the flip. See
            `uotm_keras.data.augmentations`. Defaults to none.
        role: number of the stream; streams of one seed with different roles are independent.
        labeled: whether batches are pairs of examples and their labels. Defaults to False.

    Attributes:
        steps_per_epoch: number of batches in which (nearly) every example occurs once,
            `len(dataset) // batch_size`.

    Raises:
        InputError: batch_size above the number of examples or below 1, flips or
            augmentations of points, or a negative seed.

    Example:
        batches = Batches(get("digits"), batch_size=64, seed=0)
        batches[1000]                                   # float32 (64, 8, 8, 1)
        model.fit(batches.stream(start=1000), steps_per_epoch=batches.steps_per_epoch)
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int = 0,
        *,
        start: int = 0,
        flip: bool | None = None,
        augmentations: Sequence[str | tuple[str, Mapping] | Augmentation] = (),
        role: int = 0,
        labeled: bool = False,
    ):
        self.dataset = dataset
        self.batch_size = _whole("batch_size", batch_size, 1)
        if self.batch_size > len(dataset):
            raise InputError(
                f"batch_size={batch_size} exceeds the {len(dataset)} examples of {dataset.name}; "
                f"use at most {len(dataset)}."
            )
        self.seed = _whole("seed", seed, 0)
        self.start = _whole("start", start, 0)
        self.role = _whole("role", role, 0)
        self.flip = dataset.flip_by_default if flip is None else bool(flip)
        self.augmentations = resolve_augmentations(augmentations)
        if not dataset.is_images and (self.flip or self.augmentations):
            raise InputError(
                f"flip={self.flip}, augmentations={list(augmentations)}: {dataset.name} "
                "contains points, and only images can be flipped or augmented."
            )
        self.steps_per_epoch = len(dataset) // self.batch_size
        self.labels = required_labels(dataset) if labeled else None
        self.shapes = (dataset.shape, ()) if labeled else (dataset.shape,)
        self.dtypes = ("float32", "int32") if labeled else ("float32",)
        self.default_workers = 0 if dataset.in_memory and not self.augmentations else 2
        # The lock keeps threads from drawing the same epoch's order at the same time.
        self._mutex = threading.Lock()
        self._order = functools.lru_cache(maxsize=4)(self._draw_order)

    def _rng(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.role, purpose, number])

    def _draw_order(self, epoch: int) -> np.ndarray:
        return self._rng(_ORDER, epoch).permutation(len(self.dataset))

    def indices(self, k: int) -> np.ndarray:
        """Return the indices of the examples of batch k: int64 (batch_size,)."""
        count = len(self.dataset)
        first = _whole("batch number", k, 0) * self.batch_size
        epoch, offset = divmod(first, count)
        with self._mutex:
            order = self._order(epoch)
            indices = order[offset : offset + self.batch_size]
            if len(indices) < self.batch_size:  # the rest is of the next epoch
                rest = self._order(epoch + 1)[: self.batch_size - len(indices)]
                indices = np.concatenate([indices, rest])
        return indices

    def part(self, k: int, rows: np.ndarray | None = None) -> Any:
        """Return batch k, or some of its rows: float32 (batch_size or len(rows), *dataset.shape).

        With `labeled`, also their labels, int32 (batch_size or len(rows),). The other rows are
        not read, unless there are augmentations, which need the whole batch.
        """
        examples = self._examples(k, rows)
        if self.labels is None:
            return examples
        return examples, self.labels[self.indices(k)[slice(None) if rows is None else rows]]

    def _examples(self, k: int, rows: np.ndarray | None) -> np.ndarray:
        if self.augmentations and rows is not None:
            return self._examples(k, None)[rows]
        chosen = slice(None) if rows is None else rows
        examples = self.dataset.take(self.indices(k)[chosen])
        if self.flip:
            mirrored = self._rng(_FLIP, k).random(self.batch_size) < 0.5
            examples = flip_horizontally(examples, mirrored[chosen])
        if self.augmentations:
            rng = self._rng(_AUGMENT, k)
            for augmentation in self.augmentations:
                examples = augmentation(examples, rng)
            self._check_augmented(examples)
        return examples

    def _check_augmented(self, examples: np.ndarray) -> None:
        shape = (self.batch_size, *self.dataset.shape)
        if getattr(examples, "shape", None) != shape or examples.dtype != np.float32:
            got = f"{getattr(examples, 'dtype', type(examples))} {getattr(examples, 'shape', '')}"
            raise InputError(
                f"augmentations {list(self.augmentations)} returned {got}: accepted is float32 "
                f"{shape}."
            )


class PairBatches(_BatchStream):
    """Unpaired batches of two datasets: tuples (x from the source, y from the target).

    The two orders are independent of each other. For transport from one dataset to another:
    `UOTM(..., source="data").fit(PairBatches(...).stream(), ...)`.

    Args:
        source: dataset of the examples x, which are transported.
        target: dataset of the examples y.
        batch_size: examples of each per batch.
        seed: as in `Batches`.
        start: as in `Batches`.
        flip: as in `Batches`, for both.
        augmentations: as in `Batches`, for both.

    Attributes:
        steps_per_epoch: the target's.
    """

    def __init__(
        self,
        source: Dataset,
        target: Dataset,
        batch_size: int,
        seed: int = 0,
        *,
        start: int = 0,
        flip: bool | None = None,
        augmentations: Sequence[str | tuple[str, Mapping] | Augmentation] = (),
    ):
        options: dict[str, Any] = {"flip": flip, "augmentations": augmentations}
        # The target has role 0, so that its order is the same as in training without a source.
        self.target = Batches(target, batch_size, seed, start=start, role=0, **options)
        self.source = Batches(source, batch_size, seed, start=start, role=1, **options)
        self.start = self.target.start
        self.batch_size = self.target.batch_size
        self.shapes = (*self.source.shapes, *self.target.shapes)
        self.dtypes = (*self.source.dtypes, *self.target.dtypes)
        self.steps_per_epoch = self.target.steps_per_epoch
        self.default_workers = max(self.source.default_workers, self.target.default_workers)

    def part(self, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return batch k, or some of its rows: float32 arrays of the source and of the target."""
        return self.source.part(k, rows), self.target.part(k, rows)


def _whole(name: str, value: int, smallest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < smallest:
        raise InputError(f"{name}={value!r}: accepted are whole numbers of at least {smallest}.")
    return int(value)
