"""Every private Keras name that this package uses, each with the reason (Keras 3.15).

A new Keras release needs only this file checked. `tests/test_imports.py` fails if a private
Keras name appears elsewhere.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import keras
from keras.src.backend.common import symbolic_scope
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the model and all layers nested in it; `Model.layers` stops at the first level."""
    return list(model._flatten_layers())


def skip_symbolic_build(model: keras.Model) -> None:
    """Keep `fit` and `evaluate` from building a model that is built already.

    Keras would call the model on a batch as it does for models of one input and, with
    replicas, average a batch over them, which fails where a batch is a tuple.
    """

    def nothing(*args: object, **kwargs: object) -> None:
        pass

    model._maybe_symbolic_build = nothing  # TensorFlow
    model._symbolic_build = nothing  # JAX and PyTorch


def build_compiled_metrics(model: keras.Model, shape: tuple[int, ...]) -> None:
    """Build the metrics given to `compile`, which Keras leaves to the symbolic build."""
    metrics = model._compile_metrics
    if metrics is not None and not metrics.built:
        y = keras.KerasTensor((None, *shape))
        metrics.build(y, y)


def drop_loss_tracker(model: keras.Model) -> None:
    """Remove the loss that Keras tracks for models compiled with `loss=`: it would log 0."""
    model._loss_tracker = None


def convert_optional_inputs(model: keras.Model, train_step: Callable) -> Callable:
    """Wrap a train step as Keras's own TensorFlow train function does."""
    return model._autoconvert_optionals(train_step)


def skip_gradient_reduction(optimizer: keras.optimizers.Optimizer) -> None:
    """Keep an optimizer from summing gradients over TensorFlow's replicas.

    Keras sums them after clipping and after its check for infinities, whose results must not
    differ between replicas; ours are averaged before the optimizer sees them.
    """
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    optimizer._all_reduce_sum_gradients = list


def update_together(
    optimizer: keras.optimizers.Optimizer, update: Callable[[Sequence, Sequence, object], None]
) -> None:
    """Let an optimizer step all variables by one call, `update(gradients, variables, rate)`.

    Keras does so for its own optimizers on PyTorch, but not for their subclasses.
    """
    optimizer._backend_update_step = update


def optimizer_strategy(optimizer: keras.optimizers.Optimizer) -> object:
    """Return the `tf.distribute.Strategy` in whose scope a TensorFlow optimizer was made."""
    return optimizer._distribution_strategy


def adam_moments(
    optimizer: keras.optimizers.Adam, variable: keras.Variable
) -> tuple[keras.Variable, keras.Variable]:
    """Return the first and second moment variables that Adam keeps for a variable."""
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def track_metric_variable(metric: keras.metrics.Metric, variable: keras.Variable) -> None:
    """Register a variable made outside `Metric.add_variable`, so that it is saved and reset."""
    metric._tracker.add_to_store("variables", variable)


def convolution_kernel(layer: keras.layers.Conv2D) -> keras.Variable:
    """Return the kernel variable; the public `kernel` may be a tensor derived from it."""
    return layer._kernel


def current_scope() -> keras.StatelessScope | None:
    """Return the scope that is active, if any: Keras has no public way to ask."""
    return get_stateless_scope() if in_stateless_scope() else None


@contextlib.contextmanager
def nested_scope(outer: keras.StatelessScope | None) -> Iterator[keras.StatelessScope | None]:
    """Enter a scope that starts with the values of `outer` and leaves them unchanged."""
    if outer is None:
        yield None
        return
    inner = keras.StatelessScope(
        collect_losses=outer.collect_losses, initialize_variables=outer.initialize_variables
    )
    inner.state_mapping = dict(outer.state_mapping)
    with inner:
        yield inner
    outer.losses.extend(inner.losses)


def in_symbolic_scope() -> bool:
    """Return whether Keras only infers shapes, so that there are no values to read."""
    return symbolic_scope.in_symbolic_scope()
