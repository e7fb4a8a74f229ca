"""Batches whose content depends on nothing but the seed and their number.

The examples of epoch e stand in a random order drawn from (seed, e); the epochs follow
each other without a gap, and batch k is the k-th group of `batch_size` of that endless
row. Flips and augmentations of batch k are drawn from (seed, k). So batch k is the same
whatever was read before it, however many threads read, and a resumed run goes on at any k.
"""

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from uotm_keras.data.augmentations import (
    Augmentation,
    flip_horizontally,
    resolve_augmentations,
)
from uotm_keras.data.dataset import Dataset
from uotm_keras.utils.errors import InputError

__all__ = ["Batches", "PairBatches"]

_ORDER, _FLIP, _AUGMENT = range(3)  # what a random generator is for
_ENDLESS = 2**62


class _BatchStream:
    """What `Batches` and `PairBatches` share: numbering, iteration, prefetching."""

    start: int
    steps_per_epoch: int
    default_workers: int
    shapes: tuple[tuple[int, ...], ...]
    """Of one example of each array that a batch has."""

    def part(self, k: int, rows: np.ndarray | None = None):
        """Batch k, or those of its rows alone."""
        raise NotImplementedError

    def __getitem__(self, k: int):
        return self.part(k)

    def __iter__(self) -> Iterator:
        """Batches start, start + 1, …, without end and without threads."""
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
    ):
        """The batches as a Grain data set that `keras.Model.fit` accepts.

        It has no end: give `fit` the `steps_per_epoch`.

        Args:
            start: number of the first batch; None takes `self.start`.
            workers: threads that prepare batches ahead of the training; 0 prepares each
                one when it is asked for; None takes `self.default_workers`: 2 where files
                are decoded or images augmented, else 0. The batches are the same.
            prefetch: batches kept ready; default two a worker.
            rows: take these rows of each batch alone, as one of several processes does.

        Returns:
            grain.IterDataset of float32 arrays (pairs of them from `PairBatches`).

        Examples:
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
    """An endless row of shuffled batches of a source.

    Args:
        source: the examples.
        batch_size: examples a batch, at most `len(source)`.
        seed: of the order, the flips and the augmentations.
        start: number of the batch to begin iterating at.
        flip: mirror images at random; None does what the source holds sensible.
        augmentations: names of KerasCV layers, pairs (name, options), or functions
            (images, rng) -> images; applied in turn, after the flip. See
            `uotm_keras.data.augmentations`.
        role: tells apart streams of one seed, which are independent.

    Attributes:
        steps_per_epoch: batches in which (nearly) every example occurs once,
            `len(source) // batch_size`.

    Raises:
        InputError: batch_size above the number of examples or below 1, flips or
            augmentations of points, or a negative seed.

    Examples:
        batches = Batches(get("digits"), batch_size=64, seed=0)
        batches[1000]                                   # float32 (64, 8, 8, 1)
        model.fit(batches.stream(start=1000), steps_per_epoch=batches.steps_per_epoch)
    """

    def __init__(
        self,
        source: Dataset,
        batch_size: int,
        seed: int = 0,
        *,
        start: int = 0,
        flip: bool | None = None,
        augmentations: Sequence[str | tuple[str, Mapping] | Augmentation] = (),
        role: int = 0,
    ):
        self.source = source
        self.batch_size = _whole("batch_size", batch_size, 1)
        if self.batch_size > len(source):
            raise InputError(
                f"batch_size={batch_size} is above the {len(source)} examples of {source.name}: "
                f"accepted are 1 to {len(source)}."
            )
        self.seed = _whole("seed", seed, 0)
        self.start = _whole("start", start, 0)
        self.role = _whole("role", role, 0)
        self.flip = source.flip_by_default if flip is None else bool(flip)
        self.augmentations = resolve_augmentations(augmentations)
        if not source.is_images and (self.flip or self.augmentations):
            raise InputError(
                f"flip={self.flip}, augmentations={list(augmentations)}: {source.name} holds "
                "points, and only images are flipped or augmented."
            )
        self.steps_per_epoch = len(source) // self.batch_size
        self.shapes = (source.shape,)
        self.default_workers = 0 if source.in_memory and not self.augmentations else 2
        # The lock keeps threads from drawing one epoch's order all at the same time.
        self._lock = threading.Lock()
        self._order = functools.lru_cache(maxsize=4)(self._draw_order)

    def _rng(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.role, purpose, number])

    def _draw_order(self, epoch: int) -> np.ndarray:
        return self._rng(_ORDER, epoch).permutation(len(self.source))

    def indices(self, k: int) -> np.ndarray:
        """Which examples batch k holds: int64 (batch_size,)."""
        count = len(self.source)
        first = _whole("batch number", k, 0) * self.batch_size
        epoch, offset = divmod(first, count)
        with self._lock:
            order = self._order(epoch)
            indices = order[offset : offset + self.batch_size]
            if len(indices) < self.batch_size:  # the rest is of the next epoch
                rest = self._order(epoch + 1)[: self.batch_size - len(indices)]
                indices = np.concatenate([indices, rest])
        return indices

    def part(self, k: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Batch k, or some of its rows: float32 (batch_size or len(rows), *source.shape).

        The other rows are not even read, unless there are augmentations, which see the batch.
        """
        if self.augmentations and rows is not None:
            return self.part(k)[rows]
        rows = slice(None) if rows is None else rows
        examples = self.source.take(self.indices(k)[rows])
        if self.flip:
            mirrored = self._rng(_FLIP, k).random(self.batch_size) < 0.5
            examples = flip_horizontally(examples, mirrored[rows])
        if self.augmentations:
            rng = self._rng(_AUGMENT, k)
            for augmentation in self.augmentations:
                examples = augmentation(examples, rng)
            self._check_augmented(examples)
        return examples

    def _check_augmented(self, examples: np.ndarray) -> None:
        shape = (self.batch_size, *self.source.shape)
        if getattr(examples, "shape", None) != shape or examples.dtype != np.float32:
            got = f"{getattr(examples, 'dtype', type(examples))} {getattr(examples, 'shape', '')}"
            raise InputError(
                f"augmentations {list(self.augmentations)} returned {got}: accepted is float32 "
                f"{shape}."
            )


class PairBatches(_BatchStream):
    """Unpaired batches of two sources: tuples (x from the source, y from the target).

    The two orders are independent of each other. For transport from one data set to
    another: `UOTM(..., source="data").fit(PairBatches(...).stream(), ...)`.

    Args:
        source: examples x, to be transported.
        target: examples y.
        batch_size: examples a batch, of each.
        seed: as in `Batches`.
        start: as in `Batches`.
        flip: as in `Batches`, for both.
        augmentations: as in `Batches`, for both.

    Attributes:
        steps_per_epoch: that of the target.
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
        options = {"flip": flip, "augmentations": augmentations}
        # The target is role 0: its order is the one it has when trained on alone.
        self.target = Batches(target, batch_size, seed, start=start, role=0, **options)
        self.source = Batches(source, batch_size, seed, start=start, role=1, **options)
        self.start = self.target.start
        self.batch_size = self.target.batch_size
        self.shapes = (*self.source.shapes, *self.target.shapes)
        self.steps_per_epoch = self.target.steps_per_epoch
        self.default_workers = max(self.source.default_workers, self.target.default_workers)

    def part(self, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Batch k, or some of its rows: float32 (rows, *shape of the source, of the target)."""
        return self.source.part(k, rows), self.target.part(k, rows)


def _whole(name: str, value: int, smallest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < smallest:
        raise InputError(f"{name}={value!r}: accepted is a whole number, at least {smallest}.")
    return int(value)
