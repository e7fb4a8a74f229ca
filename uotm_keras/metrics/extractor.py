"""From images to features: a network, what it accepts, and what it is."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from uotm_keras.metrics.network import Network
from uotm_keras.metrics.statistics import check_features
from uotm_keras.utils.errors import InputError

__all__ = ["Extractor", "check_fid_images"]


class Extractor:
    """Calls a network on images and states which network it is.

    Args:
        function: maps images to features (n, d), or to a dict with `features` or `pool3` and,
            for the Inception Score, `logits`.
        network: the description of the network.
        check: checks the images before the call, and may convert them. Defaults to None.
        batch_size: images per call; None passes all at once.

    Call arguments:
        images: (n, H, W, C). The call returns a dict of float arrays: `features` (n, d) and,
            if the network has them, `logits` (n, classes).
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], Any],
        network: Network,
        check: Callable[[np.ndarray], np.ndarray] | None = None,
        batch_size: int | None = None,
    ):
        self.function = function
        self.network = network
        self.check = check
        self.batch_size = batch_size

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        images = np.asarray(images)
        if images.ndim == 0 or len(images) == 0:
            raise InputError(f"images have shape {images.shape}: at least one is required.")
        if self.check is not None:
            images = self.check(images)
        if self.batch_size is None:
            return self._features(images)
        parts = [
            {name: value[:count] for name, value in self._features(batch).items()}
            for batch, count in _padded_batches(images, self.batch_size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self.function(images)
        if not isinstance(outputs, dict):
            outputs = {"features": outputs}
        if "features" not in outputs and "pool3" in outputs:
            outputs = {"features": outputs["pool3"], **outputs}
        if "features" not in outputs:
            raise InputError(
                f"the feature extractor gives {', '.join(map(repr, outputs))}: accepted are an "
                "array, or a dict with 'features' or 'pool3' and optionally 'logits'."
            )
        arrays = {
            name: ops.convert_to_numpy(outputs[name])
            for name in ("features", "logits")
            if name in outputs
        }
        for name, array in arrays.items():
            check_features(array, f"the extractor's {name}")
            if len(array) != len(images):
                raise InputError(
                    f"the feature extractor gave {len(array)} {name} for {len(images)} images."
                )
        return arrays


def _padded_batches(images: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield batches of few different lengths, so that few shapes are compiled, and their counts."""
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        count = len(batch)
        length = min(size, 1 << (count - 1).bit_length())
        if length > count:
            padding = np.zeros((length - count, *batch.shape[1:]), batch.dtype)
            batch = np.concatenate([batch, padding])
        yield batch, count


def check_fid_images(images: np.ndarray) -> np.ndarray:
    """Return images for the Inception network: (n, H, W, 3) in [0, 255], gray ones repeated.

    Raises:
        InputError: another shape, or values that are clearly in another range, which would
            silently give a number that looks like an FID.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(
            f"images have shape {images.shape}: accepted are (n, height, width, 3) and "
            "(n, height, width, 1)."
        )
    if images.dtype != np.uint8:
        if images.dtype.kind not in "fiu":
            raise InputError(f"images have type {images.dtype}: accepted are uint8 and floats.")
        low, high = float(images.min()), float(images.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError("images contain NaN or infinite values.")
        if low < 0 or high > 255 or 0 < high <= 1:
            raise InputError(
                f"images range from {low:.4g} to {high:.4g}: accepted are uint8 or floats in "
                "[0, 255]; pass value_range=(-1, 1) or (0, 1) for others."
            )
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
