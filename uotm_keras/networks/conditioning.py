"""The condition c of T(x, z | c) and v(y | c): class labels, or a vector."""

from typing import Any

import keras
from keras import layers, ops

from uotm_keras.networks.layers import PixelNorm
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

INPUT = "condition"
"""The name of the input by which a network is known to be conditional."""

Classes = int | tuple[int, ...] | None


@keras.saving.register_keras_serializable("uotm_keras")
class LabelEmbedding(layers.Layer):
    """A vector per class, looked up by a product with one-hot labels.

    The gradient of a product is dense. That of `keras.layers.Embedding` is sparse on TensorFlow,
    which micro-batches cannot sum.

    Args:
        num_classes: Number of classes (int), for labels of shape (B,); or a tuple of k numbers,
            for labels of shape (B, k), whose vectors are added.
        units: Length of a vector.
        initializer: Initializer of the vectors. Defaults to `"zeros"`.
    """

    def __init__(
        self, num_classes: int | tuple[int, ...], units: int, initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.num_classes = num_classes if isinstance(num_classes, int) else tuple(num_classes)
        self.units, self.initializer = units, keras.initializers.get(initializer)

    @property
    def _counts(self) -> tuple[int, ...]:
        return (self.num_classes,) if isinstance(self.num_classes, int) else self.num_classes

    def build(self, input_shape: tuple) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(sum(self._counts), self.units), initializer=self.initializer
        )

    def call(self, labels: Tensor) -> Tensor:
        labels = ops.reshape(labels, (-1, len(self._counts)))
        hot = [
            ops.one_hot(labels[:, i], count, dtype=self.compute_dtype)
            for i, count in enumerate(self._counts)
        ]
        return ops.matmul(hot[0] if len(hot) == 1 else ops.concatenate(hot, axis=-1), self.kernel)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.units)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "units": self.units,
            "initializer": keras.initializers.serialize(self.initializer),
        }


class Condition:
    """The condition of a network that is being built: its input, and functions of it.

    Args:
        num_classes: See `LabelEmbedding`.
        condition_dim: Length of a vector, instead of `num_classes`.
        width: Width of the two hidden layers that a vector passes through. Defaults to 64.
    """

    def __init__(self, num_classes: Classes, condition_dim: int | None, width: int = 64) -> None:
        self.num_classes = num_classes
        if num_classes is not None:
            shape = () if isinstance(num_classes, int) else (len(num_classes),)
            self.input = keras.Input(shape, dtype="int32", name=INPUT)
            return
        assert condition_dim is not None
        self.input = keras.Input((condition_dim,), dtype="float32", name=INPUT)
        h = self.input
        for i in range(2):
            h = layers.Dense(width, activation="silu", name=f"condition_{i}")(h)
        self._features = ops.concatenate([ops.cast(self.input, h.dtype), h], axis=-1)

    @classmethod
    def of(cls, num_classes: Classes, condition_dim: int | None) -> "Condition | None":
        """Return the condition that a network's arguments ask for; `None` for neither.

        Raises:
            InputError: If both are given, or a number is below 1.
        """
        if num_classes is None and condition_dim is None:
            return None
        if num_classes is not None and condition_dim is not None:
            raise InputError(
                f"num_classes={num_classes} and condition_dim={condition_dim} exclude each other: "
                "a condition is either labels or a vector."
            )
        for name, value in (("num_classes", num_classes), ("condition_dim", condition_dim)):
            counts = value if isinstance(value, (tuple, list)) else (value,)
            fits = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in counts)
            if value is not None and not (counts and fits):
                raise InputError(f"{name}={value!r} must be a whole number of at least 1.")
        return cls(tuple(num_classes) if isinstance(num_classes, list) else num_classes,
                   condition_dim)  # fmt: skip

    def linear(self, units: int, name: str, dtype: str | None = None) -> Tensor:
        """Return a learned function of c, (B, units), that is 0 at first.

        It is linear in one-hot labels, and in a vector and its hidden features.
        """
        if self.num_classes is not None:
            return LabelEmbedding(self.num_classes, units, name=name, dtype=dtype)(self.input)
        dense = layers.Dense(units, kernel_initializer="zeros", name=name, dtype=dtype)
        return dense(self._features)

    def style(self, units: int) -> Tensor:
        """Return what modulates a generator, (B, units): normalized vectors of the labels.

        A vector's features are not normalized, so that its length is not lost.
        """
        if self.num_classes is None:
            return layers.Dense(units, name="condition_style")(self._features)
        normal = keras.initializers.RandomNormal(stddev=1.0)
        vectors = LabelEmbedding(self.num_classes, units, normal, name="condition_style")
        return PixelNorm(name="condition_norm")(vectors(self.input))

    def projection(self, features: Tensor) -> Tensor:
        """Return ⟨e(c), h(y)⟩ + b(c), float32 (B, 1), of the last features h(y) of a potential.

        It is 0 at first, so that v(y | c) starts as the unconditional v(y).

        Reference:
            [Miyato and Koyama, 2018](https://arxiv.org/abs/1802.05637); b(c) is ours, because
            unbalanced transport needs a constant per condition.
        """
        count = features.shape[-1]
        vector = self.linear(count + 1, "projection", dtype="float32")
        product = ops.sum(vector[:, :count] * ops.cast(features, "float32"), axis=-1, keepdims=True)
        return product + vector[:, count:]


def with_condition(inputs: Any, condition: Condition | None) -> Any:
    """Return the inputs of a network, with the condition as the last one if there is any."""
    if condition is None:
        return inputs
    return [*(inputs if isinstance(inputs, list) else [inputs]), condition.input]
