"""References for scores, from what `fit` accepts."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from uotm_keras.data import Batches, PairBatches
from uotm_keras.metrics import FeatureStatistics, ImageArray, ImageFolder, Reference, to_uint8
from uotm_keras.utils.errors import InputError

_MOST_BATCHES = 2**40


def as_score_reference(reference: Any, value_range: tuple[float, float]) -> Any:
    """Return real images as `metrics.open_reference` accepts them.

    Args:
        reference: What `open_reference` accepts; images of floats or uint8 as an array; or
            finite batches of them, as `fit` accepts them.
        value_range: The values of black and white in images of floats.

    Raises:
        InputError: If the batches are known to be endless, or contain no images.
    """
    known = str | os.PathLike | Reference | FeatureStatistics | ImageArray | ImageFolder
    if reference is None or isinstance(reference, known):
        return reference
    if _is_array(reference):
        return _as_bytes(reference, value_range)
    if isinstance(reference, PairBatches):
        reference = reference.target
    if isinstance(reference, Batches):
        reference = reference.dataset  # The batches are endless.
    if hasattr(reference, "take") and hasattr(reference, "fingerprint"):
        return reference
    return np.concatenate([_as_bytes(batch, value_range) for batch in _image_batches(reference)])


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _as_bytes(images: Any, value_range: tuple[float, float]) -> np.ndarray:
    array = np.asarray(images)
    return array if array.dtype == np.uint8 else to_uint8(array, value_range)


def _image_batches(batches: Any) -> Iterator[Any]:
    """Yield the images of each batch: of y, of (y, labels), or of (x, y)."""
    found = False
    for batch in _finite(batches):
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        images = [part for part in parts if _is_array(part) and len(part.shape) == 4]
        if images:
            found = True
            yield images[-1]
    if not found:
        raise InputError(
            f"reference of type {type(batches).__name__} contains no images: give arrays of shape "
            "(n, height, width, channels)."
        )


def _finite(batches: Any) -> Iterable[Any]:
    try:
        count = len(batches)
    except (TypeError, OverflowError):
        count = None
    infinite = hasattr(batches, "cardinality") and int(batches.cardinality()) == -1  # tf.data
    if infinite or (count or 0) > _MOST_BATCHES:
        raise InputError("reference is an endless sequence of batches: give a finite one.")
    if not hasattr(batches, "__iter__") and not (count and hasattr(batches, "__getitem__")):
        raise InputError(
            f"reference of type {type(batches).__name__} is not accepted: give an array of images, "
            "a dataset, finite batches, or a folder."
        )
    # A `keras.utils.PyDataset` has a length, but iterating over it never ends.
    return batches if count is None else (batches[i] for i in range(count))
