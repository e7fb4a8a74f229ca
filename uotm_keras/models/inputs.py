"""What `fit` and `evaluate` are given: checked before training, unpacked in each step."""

import warnings
from typing import Any, NamedTuple

import keras
import numpy as np

from uotm_keras.data import Batches, Dataset
from uotm_keras.data.dataset import required_labels
from uotm_keras.models.checks import Shapes
from uotm_keras.models.conditions import ROWS, ConditionSpec
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor


class Batch(NamedTuple):
    """One batch given to `fit`.

    Attributes:
        real: y, (B, *data_shape).
        source: x, (B, *source_shape), or `None` where x is drawn from N(0, I).
        source_weight: Weight of each x in μ, (B,), or `None`.
        real_weight: Weight of each y in ν, (B,), or `None`.
        condition: c of each y, and of each x, (B, ...), or `None`.
    """

    real: Tensor
    source: Tensor | None = None
    source_weight: Tensor | None = None
    real_weight: Tensor | None = None
    condition: Tensor | None = None


def unpack(data: Any, source: str, shapes: Shapes) -> Batch:
    """Read one batch: y, (y, labels), or (x, y), with sample weights as a last entry.

    For conditional networks it is (y, c), (x, (y, c)), or, for `source="data"`, (x, y, c).

    Args:
        data: What Keras hands to a train step. Labels are dropped by unconditional networks.
        source: `"gaussian"`, `"data"`, or `"auto"`; see `UOTM`.
        shapes: The networks' shapes.

    Raises:
        InputError: If the shapes do not fit the networks.
    """
    if isinstance(data, dict):
        raise InputError(
            f"batches are dictionaries with the keys {', '.join(map(str, data))}: accepted are "
            "arrays y, or pairs of arrays (x, y)."
        )
    if not isinstance(data, (tuple, list)):
        data = (data,)
    first, second, weights = (*data, None, None)[:3]
    condition = None
    if shapes.condition is not None:
        first, second, weights, condition = _with_condition(
            first, second, weights, source, shapes.condition
        )
    if any(isinstance(part, (dict, list, tuple)) for part in (first, second)):
        raise InputError(
            "batches hold several arrays where one is expected: accepted are arrays y, or pairs "
            "of arrays (x, y)."
        )
    if source != "gaussian" and second is not None:
        given = tuple(first.shape[1:]), tuple(second.shape[1:])
        if given == (shapes.source, shapes.data):
            source_weight, real_weight = (
                weights if isinstance(weights, (tuple, list)) else (None, weights)
            )
            return Batch(second, first, source_weight, real_weight, condition)
    if source == "data":
        raise InputError(
            "source='data' needs fit to be given pairs of batches (x, y) of shapes "
            f"(B, *{shapes.source}) and (B, *{shapes.data})."
        )
    if tuple(first.shape[1:]) != shapes.data:
        raise InputError(
            f"batches of shape {tuple(first.shape)} do not fit the networks, which take "
            f"(B, *{shapes.data})."
        )
    if isinstance(weights, (tuple, list)):
        raise InputError(
            "sample_weight is a pair, but x is drawn from N(0, I): give one weight per example."
        )
    return Batch(first, real_weight=weights, condition=condition)


def _with_condition(
    first: Any, second: Any, weights: Any, source: str, spec: ConditionSpec
) -> tuple[Any, Any, Any, Tensor]:
    """Return x or y, y or `None`, the weights, and the condition of a batch."""
    if isinstance(second, (tuple, list)) and len(second) == 2:
        second, condition = second
    elif source == "data":
        condition, weights = weights, None
    else:
        second, condition = None, second
    if condition is None or isinstance(condition, (dict, list, tuple)):
        raise InputError(
            "the networks are conditional: fit and evaluate need pairs of data and conditions, "
            f"fit(y, c) or batches (y, c), where c holds {spec.describe()}."
        )
    return first, second, weights, spec.tensor(condition)


def check_fit(x: Any, y: Any, class_weight: Any, shapes: Shapes) -> None:
    """Check what `fit` is given, before anything is trained.

    Raises:
        InputError: If an argument has no meaning here.
    """
    if class_weight is not None:
        raise InputError(
            "class_weight is not supported: give each example's weight as sample_weight."
        )
    if isinstance(x, dict) or (isinstance(x, (list, tuple)) and hasattr(x[0], "shape")):
        raise InputError(
            f"x is a {type(x).__name__} of arrays: accepted are one array of data, fit(y), or a "
            "source and data, fit(x, y)."
        )
    if y is not None and _same(x, y):
        raise InputError(
            "x and y are the same array, which would transport the data to themselves: use "
            "fit(y) to generate from noise."
        )
    if shapes.condition is not None and hasattr(y, "shape"):
        shapes.condition.array(y)  # the first sentence, before anything is compiled
    for array in (x, y):
        check_range(array, shapes.data)


def conditions_in(x: Any, y: Any, source: str, shapes: Shapes) -> np.ndarray:
    """Return the conditions of what `fit` is given: all of arrays, the first ones of batches.

    Raises:
        InputError: If there are none, or they cannot be read without consuming the batches.
    """
    spec = shapes.condition
    assert spec is not None
    if isinstance(x, Dataset):
        return spec.array(required_labels(x))
    if y is not None:
        return spec.array(y[1] if isinstance(y, (tuple, list)) else y)
    if hasattr(x, "__next__") or not (hasattr(x, "__iter__") or hasattr(x, "__getitem__")):
        raise InputError(
            "the networks are conditional, and the conditions of these batches cannot be read "
            "before training: call adapt_conditions(conditions) first."
        )
    if hasattr(x, "shape"):
        _with_condition(x, None, None, "gaussian", spec)
    found: list[np.ndarray] = []
    indexed = isinstance(x, keras.utils.PyDataset)
    for batch in (x[i] for i in range(len(x))) if indexed else x:
        condition = unpack(batch, source, shapes).condition
        found.append(spec.array(keras.ops.convert_to_numpy(condition)))
        if sum(map(len, found)) >= ROWS:
            break
    return np.concatenate(found) if found else np.zeros((0, *spec.shape), spec.dtype)


def _same(x: Any, y: Any) -> bool:
    if x is y:
        return True
    arrays = isinstance(x, np.ndarray) and isinstance(y, np.ndarray)
    return arrays and x.shape == y.shape and np.may_share_memory(x, y)


def check_range(data: Any, data_shape: tuple[int, ...], rows: int = 64) -> None:
    """Warn if the first images are not in the generator's range, [−1, 1].

    Args:
        data: An array, or something that can be indexed for a batch (a `keras.utils.PyDataset`,
            a `grain.MapDataset`). Anything else passes.
        data_shape: Shape of one example; only images are checked.
        rows: How many examples of an array are looked at. Defaults to 64.
    """
    if len(data_shape) != 3 or data is None:
        return
    if not hasattr(data, "shape"):
        data = _first_batch(data)
    if data is None or tuple(data.shape[1:]) != data_shape or not len(data):
        return
    head = np.asarray(data[:rows])
    low, high = head.min(), head.max()
    if head.dtype.kind in "ui" or high > 2.0 or (low >= 0.0 and high > 0.5):
        warnings.warn(
            f"images are {head.dtype} in [{low:g}, {high:g}]: the expected range is [-1, 1] "
            "(uotm_keras.data.from_uint8 converts bytes).",
            stacklevel=4,
        )


def _first_batch(data: Any) -> Any:
    """Return the data of the first batch if that can be had without consuming it."""
    if not hasattr(data, "__getitem__") or isinstance(data, (dict, str)):
        return None
    try:
        batch = data[0]
    except Exception:  # reported by `fit` itself
        return None
    while isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
    return batch if hasattr(batch, "shape") else None


def as_batches(
    x: Any, batch_size: int | None, seed: int, conditional: bool = False
) -> tuple[Any, int | None]:
    """Turn a `uotm_keras.data.Dataset` into batches that Keras accepts.

    Returns:
        The batches and the steps per epoch; `x` itself and `None` for anything else.
    """
    if not isinstance(x, Dataset):
        return x, None
    batches = Batches(x, batch_size or min(32, len(x)), seed, labeled=conditional)
    return batches.stream(), batches.steps_per_epoch


class _InOrder(keras.utils.PyDataset):
    """The examples of a dataset once, in batches, in their own order."""

    def __init__(self, dataset: Dataset, batch_size: int, labeled: bool):
        super().__init__()
        self.dataset, self.batch_size = dataset, batch_size
        self.labels = required_labels(dataset) if labeled else None

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        start = index * self.batch_size
        rows = np.arange(start, min(start + self.batch_size, len(self.dataset)))
        examples = self.dataset.take(rows)
        return examples if self.labels is None else (examples, self.labels[rows])


def in_order(x: Any, batch_size: int | None, conditional: bool = False) -> Any:
    """Turn a `uotm_keras.data.Dataset` into batches to evaluate; return anything else as is."""
    if not isinstance(x, Dataset):
        return x
    return _InOrder(x, batch_size or 32, conditional)
