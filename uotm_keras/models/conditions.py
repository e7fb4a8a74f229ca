"""What a conditional model is conditioned on, and the conditions that `generate` draws from."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from uotm_keras.backend import keras_hooks
from uotm_keras.networks.conditioning import INPUT, LabelEmbedding
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import sample_uniform
from uotm_keras.utils.typing import Tensor

ROWS = 4096
"""How many conditions that are not single labels a model keeps."""


class ConditionSpec(NamedTuple):
    """The condition that two networks agree on.

    Attributes:
        shape: Shape of one condition: () for a label, (k,) for k labels, (d,) for a vector.
        num_classes: The number of classes of each label; `None` for a vector.
    """

    shape: tuple[int, ...]
    num_classes: tuple[int, ...] | None

    @property
    def dtype(self) -> str:
        """`"int32"` for labels, `"float32"` for vectors."""
        return "float32" if self.num_classes is None else "int32"

    def describe(self) -> str:
        """Return what is accepted, for messages."""
        if self.num_classes is None:
            return f"vectors of floats of shape (B, {self.shape[0]})"
        if self.shape == ():
            return f"integer labels from 0 to {self.num_classes[0] - 1} of shape (B,)"
        most = ", ".join(str(count - 1) for count in self.num_classes)
        return f"integer labels of shape (B, {self.shape[0]}) from 0 to at most ({most})"

    def tensor(self, condition: Any) -> Tensor:
        """Return a batch of conditions in the networks' dtype; labels (B, 1) may be (B,).

        Raises:
            InputError: If it has another shape, or labels are not integers.
        """
        shape = tuple(condition.shape)
        if self.shape == () and len(shape) == 2 and shape[1] == 1:
            condition, shape = ops.reshape(condition, (-1,)), shape[:1]
        kind = keras.backend.standardize_dtype(condition.dtype)
        fits = "int" in kind if self.num_classes else kind != "bool"
        if shape[1:] != self.shape or not shape or not fits:
            raise InputError(
                f"conditions are {kind} of shape {tuple(condition.shape)}: these networks take "
                f"{self.describe()}."
            )
        return ops.cast(condition, self.dtype)

    def array(self, condition: Any, rows: int | None = None) -> np.ndarray:
        """Return conditions as an array (rows, *shape), of one condition or of one per row.

        Args:
            condition: One condition for all rows, or one per row.
            rows: The number of rows. Defaults to `None`: that of `condition`.

        Raises:
            InputError: If the shape or the type is another one, or a value is out of range.
        """
        array = np.asarray(condition)
        if rows is not None and array.shape == self.shape:
            array = np.broadcast_to(array, (rows, *self.shape))
        if array.dtype.kind not in "iuf":
            raise InputError(f"condition={condition!r}: accepted are {self.describe()}.")
        array = np.asarray(ops.convert_to_numpy(self.tensor(array)))
        if rows is not None and len(array) != rows:
            raise InputError(
                f"condition has {len(array)} rows for {rows} examples: give one condition, or one "
                "per example."
            )
        flat = array.reshape(len(array), -1)
        good = np.isfinite(flat)
        if self.num_classes is not None:
            good = (flat >= 0) & (flat < np.array(self.num_classes))
        wrong = array[~good.all(axis=1)]
        if len(wrong):
            raise InputError(
                f"condition {wrong[0]} is out of range: accepted are {self.describe()}."
            )
        return array


def condition_spec(generator: keras.Model, potential: keras.Model) -> ConditionSpec | None:
    """Return the condition of two networks, or `None` if they are unconditional.

    Raises:
        InputError: If only one of them has a condition, or the two have different ones.
    """
    specs = [_spec_of(name, n) for name, n in (("generator", generator), ("potential", potential))]
    if specs[0] == specs[1]:
        return specs[0]
    if None in specs:
        has, lacks = ("potential", "generator") if specs[0] is None else ("generator", "potential")
        raise InputError(
            f"the {has} has an input named {INPUT!r} but the {lacks} has none: give both networks "
            "num_classes or condition_dim, or neither."
        )
    ours, theirs = (spec.describe() for spec in specs if spec is not None)
    raise InputError(
        f"the generator is conditioned on {ours} and the potential on {theirs}: give both "
        "networks the same num_classes or condition_dim."
    )


def is_condition(tensor: Any) -> bool:
    """Return whether an input of a network is its condition."""
    return tensor.name == INPUT


def _spec_of(name: str, network: keras.Model) -> ConditionSpec | None:
    found = [tensor for tensor in network.inputs if is_condition(tensor)]
    if not found:
        return None
    if not is_condition(network.inputs[-1]):
        raise InputError(f"the {name}'s input {INPUT!r} must be its last one.")
    shape = tuple(found[0].shape[1:])
    if "int" not in found[0].dtype:
        if len(shape) != 1:
            raise InputError(
                f"the {name}'s condition has the shape {shape}: accepted are vectors (d,), and "
                "integer labels of shape () or (k,)."
            )
        return ConditionSpec(shape, None)
    counts = getattr(network, "num_classes", None) or _embedded_classes(network)
    counts = (counts,) if isinstance(counts, int) else tuple(counts or ())
    if len(shape) > 1 or len(counts) != (shape or (1,))[0]:
        raise InputError(
            f"the {name}'s condition is integer labels of shape {shape} with num_classes="
            f"{counts}: give the network an attribute num_classes, an int for labels of shape () "
            "or a tuple of k ints for labels of shape (k,)."
        )
    return ConditionSpec(shape, counts)


def _embedded_classes(network: keras.Model) -> Any:
    """Return the number of classes that a network's own embedding of labels has."""
    for layer in keras_hooks.all_layers(network):
        if isinstance(layer, LabelEmbedding):
            return layer.num_classes
        if isinstance(layer, keras.layers.Embedding):
            return layer.input_dim
    return None


class ConditionDistribution(keras.layers.Layer):
    """The conditions of the training data, as weights that are saved with the model.

    They are the frequencies of single labels, and otherwise up to 4 096 conditions.

    Args:
        spec: What the conditions are.
    """

    def __init__(self, spec: ConditionSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        single = spec.num_classes is not None and spec.shape == ()
        shape = spec.num_classes if single else (ROWS, *spec.shape)
        self.table = self._weight("frequencies" if single else "conditions", shape)
        self.examples = self._weight("examples", ())
        self.single = single
        self.built = True

    def _weight(self, name: str, shape: Any) -> Any:
        return self.add_weight(
            name=name, shape=shape, initializer="zeros", trainable=False, autocast=False
        )

    @property
    def adapted(self) -> bool:
        """Whether `adapt` has been called, or weights of an adapted model were loaded."""
        return bool(ops.convert_to_numpy(self.examples) > 0)

    def adapt(self, conditions: Any) -> None:
        """Take over the conditions of the training data, (N, *shape).

        Raises:
            InputError: If there are none, or they do not fit the networks.
        """
        array = self.spec.array(conditions)
        if not len(array):
            raise InputError("there are no conditions to learn from.")
        if self.single:
            (count,) = self.table.shape
            self.table.assign(np.bincount(array, minlength=count).astype("float32"))
            self.examples.assign(float(len(array)))
            return
        kept = min(len(array), ROWS)
        table = np.zeros(self.table.shape, "float32")
        table[:kept] = array[np.linspace(0, len(array) - 1, kept).astype(int)]
        self.table.assign(table)
        self.examples.assign(float(kept))

    def adapt_frequencies(self, frequencies: Any) -> None:
        """Take over the share of each class, (num_classes,)."""
        self.table.assign(np.asarray(frequencies, "float32"))
        self.examples.assign(1.0)

    def frequencies(self) -> np.ndarray | None:
        """Return the share of each class, float64 (num_classes,); `None` for other conditions."""
        if not self.single:
            return None
        counts = np.asarray(ops.convert_to_numpy(self.table), "float64")
        return counts / max(counts.sum(), 1.0)

    def draw(self, keys: Iterable[tuple[int, int]]) -> np.ndarray:
        """Draw the condition of each (seed, index) key, which depends on this key alone.

        Raises:
            InputError: If the model has not seen any conditions.
        """
        if not self.adapted:
            raise InputError(
                "this model has not seen conditions to draw from: give condition, or call "
                "adapt_conditions(conditions)."
            )
        uniform = sample_uniform(keys)
        shares = self.frequencies()
        if shares is None:
            table = np.asarray(ops.convert_to_numpy(self.table))
            count = int(ops.convert_to_numpy(self.examples))
            return table[(uniform * count).astype(int)].astype(self.spec.dtype)
        return np.searchsorted(np.cumsum(shares)[:-1], uniform, side="right").astype("int32")

    def require_seen(self, condition: np.ndarray) -> None:
        """Raise `InputError` for a label of a class without training examples."""
        shares = self.frequencies()
        if shares is None or not self.adapted:
            return
        unseen = condition[shares[condition] == 0]
        if len(unseen):
            raise InputError(
                f"condition {unseen[0]}: the training data had no examples of this class."
            )


def require_condition(spec: ConditionSpec | None, condition: Any) -> None:
    """Raise `InputError` if a condition is missing, or given to an unconditional model."""
    if spec is None and condition is not None:
        raise InputError("this UOTM is unconditional: leave condition out.")
    if spec is not None and condition is None:
        raise InputError(
            f"this UOTM is conditional: give condition, {spec.describe()}, or one for all."
        )


def condition_rows(
    conditions: ConditionDistribution | None, condition: Any, rows: int
) -> np.ndarray | None:
    """Return the condition of each row; `None` for an unconditional model.

    Args:
        conditions: The conditions of the model, or `None`.
        condition: What the user gave: one condition for all rows, one per row, or `None`.
        rows: The number of rows.

    Raises:
        InputError: If it is missing, does not fit, or names a class that was never seen.
    """
    require_condition(None if conditions is None else conditions.spec, condition)
    if conditions is None:
        return None
    array = conditions.spec.array(condition, rows)
    conditions.require_seen(array)
    return array
