"""Datasets that decode their images on demand: threads, and a cache of decoded images."""

import abc
import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from uotm_keras.data.dataset import Dataset
from uotm_keras.data.pixels import from_uint8

__all__ = ["CACHE_BYTES", "DecodingDataset", "decoding_threads"]

# Datasets that fit (CIFAR-10 is 154 MB, 30 000 faces at 64 px are 369 MB) are decoded once.
CACHE_BYTES = 1 << 30
_CHUNK = 8  # images that a thread takes at a time; fewer cost more than they gain


@functools.cache
def decoding_threads() -> ThreadPoolExecutor:
    """Return the thread pool of all datasets; Pillow decodes outside the interpreter's lock."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")


class DecodingDataset(Dataset):
    """Images that `_decode` produces one by one.

    Args:
        count: number of images.
        shape: (H, W, C) of every decoded image.
        cache_bytes: decoded images are cached if all of them together fit in so many bytes.
            Defaults to 1 GiB.
    """

    in_memory = False

    def __init__(self, count: int, shape: tuple[int, int, int], cache_bytes: int = CACHE_BYTES):
        self.shape: tuple[int, ...] = tuple(shape)
        self._count = count
        fits = count * int(np.prod(shape)) <= cache_bytes
        # np.empty takes memory only where images have been written.
        self._decoded = np.empty((count, *shape), np.uint8) if fits else None
        self._is_decoded = np.zeros(count, bool)

    def __len__(self) -> int:
        return self._count

    @abc.abstractmethod
    def _decode(self, index: int) -> np.ndarray:
        """Decode image `index`: uint8 of `self.shape`; called from several threads."""

    def take(self, indices: np.ndarray) -> np.ndarray:
        return from_uint8(self.take_uint8(np.asarray(indices)))

    def take_uint8(self, indices: np.ndarray) -> np.ndarray:
        """Return the same examples as `take`, as bytes."""
        if self._decoded is None:
            images = np.empty((len(indices), *self.shape), np.uint8)
            self._decode_into(images, np.arange(len(indices)), indices)
            return images
        missing = np.unique(indices[~self._is_decoded[indices]])
        self._decode_into(self._decoded, missing, missing)
        # Marked after it was written: two threads may decode one image twice, to the same bytes.
        self._is_decoded[missing] = True
        return self._decoded[indices]

    def _decode_into(self, images: np.ndarray, places: np.ndarray, indices: np.ndarray) -> None:
        def work(first: int) -> None:
            for place, index in zip(
                places[first : first + _CHUNK], indices[first : first + _CHUNK], strict=True
            ):
                images[place] = self._decode(int(index))

        firsts = range(0, len(indices), _CHUNK)
        if len(firsts) <= 1:
            for first in firsts:
                work(first)
        else:
            list(decoding_threads().map(work, firsts))
