"""A Gaussian source with the mean and the deviation of the data."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from uotm_keras.data import Dataset
from uotm_keras.objectives.costs import bicubic_matrix
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

_EXAMPLES = 4096  # more do not change a mean or a deviation visibly


class FittedSource(keras.layers.Layer):
    """The map from standard noise ξ to the source point x = m + s·ξ.

    m is the mean of the data and s a number such that x varies about m as much as the data do
    (the sum of the variances of all pixels or coordinates is the same). The generator is given
    ξ, and the cost compares T with x, so that nothing else knows about m and s.

    For a source of a lower resolution than the data, m and s are those with which the enlarged
    x has the mean (as nearly as it can) and the variance of the data.

    Args:
        source_shape: Shape of one x.
        data_shape: Shape of one example of the data.

    Raises:
        InputError: If the source is neither of the data's shape nor a smaller image.
    """

    def __init__(
        self, source_shape: tuple[int, ...], data_shape: tuple[int, ...], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        images = len(source_shape) == len(data_shape) == 3 and source_shape[-1] == data_shape[-1]
        if source_shape != data_shape and not images:
            raise InputError(
                f"source='fitted' needs a source of the data's shape {data_shape} or a smaller "
                f"image, but x has the shape {source_shape}."
            )
        self.source_shape, self.data_shape = source_shape, data_shape
        self.mean = self._weight("mean", source_shape, "zeros")
        self.scale = self._weight("scale", (), "ones")
        self.examples = self._weight("examples", (), "zeros")
        self.built = True

    def _weight(self, name: str, shape: tuple[int, ...], initializer: str) -> Any:
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, trainable=False, autocast=False
        )

    @property
    def adapted(self) -> bool:
        """Whether `adapt` has been called, or weights of an adapted source were loaded."""
        return bool(ops.convert_to_numpy(self.examples) > 0)

    def adapt(self, data: np.ndarray | Dataset) -> None:
        """Take m and s from the data: at most 4 096 examples, evenly spaced.

        Raises:
            InputError: If the data have another shape, are not finite, or are all the same.
        """
        examples = _some(data)
        if examples is None or tuple(examples.shape[1:]) != self.data_shape:
            raise InputError(
                "source='fitted' takes its mean from arrays of shape "
                f"(N, *{self.data_shape}) or a uotm_keras.data.Dataset: for other inputs of fit, "
                "call adapt_source(examples) first."
            )
        examples = np.asarray(examples, "float64")
        mean, variance = examples.mean(axis=0), float(examples.var(axis=0).sum())
        if not math.isfinite(variance) or variance <= 0:
            raise InputError("source='fitted': the data are not finite, or all the same.")
        size = float(np.prod(self.data_shape))
        if self.source_shape != self.data_shape:
            rows, columns = (
                bicubic_matrix(small, large).astype("float64")
                for small, large in zip(self.source_shape[:2], self.data_shape[:2], strict=True)
            )
            inverses = np.linalg.pinv(rows), np.linalg.pinv(columns)
            mean = np.einsum("hH,wW,HWc->hwc", *inverses, mean)
            size = np.square(rows).sum() * np.square(columns).sum() * self.data_shape[-1]
        self.mean.assign(mean.astype("float32"))
        self.scale.assign(math.sqrt(variance / size))
        self.examples.assign(float(len(examples)))

    def call(self, noise: Tensor) -> Tensor:
        """Return x, (B, *source_shape), of standard noise of the same shape."""
        return self.mean + self.scale * ops.cast(noise, "float32")


def _some(data: Any) -> np.ndarray | None:
    """Return at most `_EXAMPLES` examples, evenly spaced; `None` for what cannot be indexed."""
    if isinstance(data, Dataset):
        return data.take(_indices(len(data)))
    if isinstance(data, Iterable) and hasattr(data, "shape"):
        return np.asarray(data)[_indices(len(data))]  # type: ignore[arg-type]
    return None


def _indices(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, _EXAMPLES)).astype(int)
