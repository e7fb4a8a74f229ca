"""The paper's Adam, two optimizers as the one of Keras's trainer, and means over replicas."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from uotm_keras import backend
from uotm_keras.backend import keras_hooks
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor


@keras.saving.register_keras_serializable("uotm_keras")
class Adam(keras.optimizers.Adam):
    """Adam as in PyTorch: ε is added to √v̂ *after* the bias correction.

    `keras.optimizers.Adam` adds it before the correction, as in the second form of the
    paper, which differs over the first steps. The defaults are those of UOTM.

    Args:
        learning_rate: A number or a `LearningRateSchedule`. Defaults to 1e-4.
        beta_1: Decay rate of the first moment. Defaults to 0.5.
        beta_2: Decay rate of the second moment. Defaults to 0.9.
        epsilon: ε. Defaults to 1e-8.
        **kwargs: Arguments of `keras.optimizers.Adam`, except `amsgrad`.

    Reference:
        Kingma and Ba, 2015, arXiv 1412.6980.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-4,
        beta_1: float = 0.5,
        beta_2: float = 0.9,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ):
        kwargs.pop("amsgrad", None)
        super().__init__(
            learning_rate=learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, **kwargs
        )

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        for variable in variables:
            for moment in keras_hooks.adam_moments(self, variable):
                backend.arrange_like(moment, variable)
        if backend.adam_steps is not None:
            keras_hooks.update_together(self, self._update_together)

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        moments = keras_hooks.adam_moments(self, variable)
        backend.adam_step(gradient, variable, *moments, **self._settings(learning_rate))

    def _update_together(
        self, gradients: Sequence[Tensor], variables: Sequence[keras.Variable], rate: Tensor
    ) -> None:
        assert backend.adam_steps is not None
        moments = zip(*(keras_hooks.adam_moments(self, v) for v in variables), strict=True)
        backend.adam_steps(gradients, variables, *moments, **self._settings(rate))

    def _settings(self, rate: Tensor) -> dict[str, Any]:
        return {
            "rate": rate,
            "step": ops.cast(self.iterations + 1, "float32"),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


class OptimizerPair(keras.optimizers.Optimizer):
    """What Keras's trainer needs of `model.optimizer` when the model steps two of its own.

    It owns no state: the two optimizers are attributes of the model and are saved there.
    Its learning rate is the generator's; setting it scales both rates by the same factor.

    Args:
        generator_optimizer: The generator's optimizer.
        potential_optimizer: The potential's optimizer.
    """

    def __init__(
        self,
        generator_optimizer: keras.optimizers.Optimizer,
        potential_optimizer: keras.optimizers.Optimizer,
    ):
        super().__init__(learning_rate=0.0, name="optimizer_pair")
        self.pair = (generator_optimizer, potential_optimizer)
        self.built = True

    @property
    def learning_rate(self) -> Tensor:
        """The generator's learning rate; setting it keeps the ratio of the two rates.

        Keras's `LearningRateScheduler` and `ReduceLROnPlateau` set it.
        """
        return self.pair[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        generator_rate, potential_rate = (_number(o.learning_rate) for o in self.pair)
        if generator_rate == 0:
            raise InputError(
                "the generator's learning rate is 0, so that no factor can scale both rates: "
                "set generator_optimizer.learning_rate and potential_optimizer.learning_rate."
            )
        value = _number(value)
        self.pair[0].learning_rate = value
        self.pair[1].learning_rate = potential_rate * (value / generator_rate)

    @property
    def variables(self) -> list[keras.Variable]:
        return [v for optimizer in self.pair for v in optimizer.variables]

    @property
    def iterations(self) -> keras.Variable:
        return self.pair[0].iterations

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Do nothing: the model keeps its own average of the generator."""

    def save_own_variables(self, store: Any) -> None:
        """Do nothing: the model saves the two optimizers."""

    def load_own_variables(self, store: Any) -> None:
        """Do nothing: the model loads the two optimizers."""

    def get_config(self) -> dict[str, Any]:
        return {}


def _number(value: Any) -> float:
    return float(ops.convert_to_numpy(value))


def with_loss_scale(
    optimizer: keras.optimizers.Optimizer, *networks: keras.Model
) -> keras.optimizers.Optimizer:
    """Return the optimizer with its own loss scale if a network computes in float16.

    Args:
        optimizer: The optimizer of one player.
        *networks: The networks that its gradients pass through.
    """
    layers = (layer for network in networks for layer in keras_hooks.all_layers(network))
    halves = any(layer.compute_dtype == "float16" for layer in layers)
    if not halves or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


class ReplicatedMean(keras.metrics.Mean):
    """A mean of values that belong to the whole batch and are equal on each replica.

    Keras's own mean sums over the replicas whenever it is read, which several hosts must do
    together; this one is a plain variable, which a single process may read and save.
    """

    def add_variable(
        self, shape: Sequence[int], initializer: Any, dtype: Any = None,
        aggregation: str | None = None, name: str | None = None,
    ) -> keras.Variable:  # fmt: skip
        with keras.name_scope(self.name):
            variable = keras.Variable(
                keras.initializers.get(initializer), shape, dtype, trainable=False, name=name
            )
        keras_hooks.track_metric_variable(self, variable)
        return variable

    def load_own_variables(self, store: Any) -> None:
        if store.keys():  # files of earlier versions lack some metrics
            super().load_own_variables(store)


class ReplicatedSum(ReplicatedMean):
    """The sum of such values."""

    def result(self) -> Tensor:
        # A tensor: under TensorFlow's MirroredStrategy the variable itself is no number.
        return self.total + 0.0
