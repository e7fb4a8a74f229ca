"""The paper's Adam, two optimizers seen as one by Keras's trainer, and its means of losses."""

import keras
from keras import ops

from uotm_keras import backend
from uotm_keras.backend import keras_hooks


@keras.saving.register_keras_serializable("uotm_keras")
class Adam(keras.optimizers.Adam):
    """Adam as in PyTorch: ε is added to √v̂ *after* the bias correction.

    `keras.optimizers.Adam` adds it before, as in the paper's (Kingma & Ba 2015) second
    form, which over the first steps is another algorithm. Defaults are UOTM's.

    Args:
        learning_rate: a number or a `LearningRateSchedule`.
        beta_1, beta_2, epsilon: as in PyTorch.
        kwargs: of `keras.optimizers.Adam`, `amsgrad` excepted.
    """

    def __init__(
        self,
        learning_rate=1e-4,
        beta_1: float = 0.5,
        beta_2: float = 0.9,
        epsilon: float = 1e-8,
        **kwargs,
    ):
        kwargs.pop("amsgrad", None)
        super().__init__(
            learning_rate=learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, **kwargs
        )

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        for variable in variables:
            for moment in keras_hooks.adam_moments(self, variable):
                backend.arrange_like(moment, variable)

    def update_step(self, gradient, variable, learning_rate):
        momentum, velocity = keras_hooks.adam_moments(self, variable)
        backend.adam_step(
            gradient,
            variable,
            momentum,
            velocity,
            rate=learning_rate,
            step=ops.cast(self.iterations + 1, "float32"),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )


class OptimizerPair(keras.optimizers.Optimizer):
    """What Keras's trainer needs of `model.optimizer` where the model steps two of its own.

    It owns no state: the two optimizers are attributes of the model and are saved there.
    """

    def __init__(self, generator_optimizer, potential_optimizer):
        super().__init__(learning_rate=0.0, name="optimizer_pair")
        self.pair = (generator_optimizer, potential_optimizer)
        self.built = True

    @property
    def variables(self):
        return [v for optimizer in self.pair for v in optimizer.variables]

    @property
    def iterations(self):
        return self.pair[0].iterations

    def finalize_variable_values(self, var_list):
        pass  # the model keeps its own average of the generator

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass

    def get_config(self):
        return {}


def with_loss_scale(optimizer, *networks: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer with a loss scale of its own, if a network computes in float16.

    Args:
        optimizer: of one player.
        networks: through which its gradients pass.
    """
    layers = (layer for network in networks for layer in keras_hooks.all_layers(network))
    halves = any(layer.compute_dtype == "float16" for layer in layers)
    if not halves or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


class ReplicatedMean(keras.metrics.Mean):
    """A mean of values that are the whole batch's and so the same on each replica.

    Keras's own sums over the replicas whenever it is read, which on several hosts all
    must do at once; this one is a plain variable, which one process may read and save.
    """

    def add_variable(self, shape, initializer, dtype=None, aggregation=None, name=None):
        with keras.name_scope(self.name):
            variable = keras.Variable(
                keras.initializers.get(initializer), shape, dtype, trainable=False, name=name
            )
        keras_hooks.track_metric_variable(self, variable)
        return variable
