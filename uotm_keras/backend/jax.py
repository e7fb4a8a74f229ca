"""JAX: functional gradients, all state threaded through Keras's `StatelessScope`."""

import platform
from collections.abc import Callable

import jax
import keras

__all__ = [
    "CONVOLUTION_FORMAT",
    "adam_step",
    "compile_arguments",
    "describe_device",
    "minimize",
    "move_average",
    "normal",
    "sync",
    "train_step",
    "uniform",
    "value_and_input_gradient",
    "without_gradient",
]

CONVOLUTION_FORMAT = "channels_last"


def value_and_input_gradient(function: Callable, x):
    def total(x):
        value = function(x)
        return value.sum(), value

    gradient, value = jax.grad(total, has_aux=True)(x)
    return value, gradient


def without_gradient(function: Callable):
    return jax.lax.stop_gradient(function())


def _state_variables(model) -> tuple[list, ...]:
    """The groups of variables in the order of the trainer's state."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def minimize(model, loss_function: Callable, variables, optimizer) -> dict:
    # A scope hides the outer one, so that every variable must be given to it anew.
    chosen = {id(v) for v in variables}
    rest = [v for group in _state_variables(model) for v in group if id(v) not in chosen]
    rest_values = [v.value for v in rest]
    # The loss may move seed generators and batch statistics.
    moving = model.non_trainable_variables

    def scaled_loss(values):
        mapping = [*zip(variables, values, strict=True), *zip(rest, rest_values, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss, logs = loss_function()
            loss = optimizer.scale_loss(loss)
            moved = [scope.get_current_value(v) for v in moving]
        return loss, (logs, moved)

    values = [v.value for v in variables]
    gradients, (logs, moved) = jax.grad(scaled_loss, has_aux=True)(values)
    for variable, value in zip(moving, moved, strict=True):
        variable.assign(value)
    # `apply` would leak tracers out of a LossScaleOptimizer.
    state = [v.value for v in optimizer.variables]
    values, state = optimizer.stateless_apply(state, gradients, values)
    for variable, value in zip([*variables, *optimizer.variables], [*values, *state], strict=True):
        variable.assign(value)
    return logs


def train_step(model, iterate: Callable, state, data) -> tuple[dict, tuple]:
    groups = _state_variables(model)
    mapping = [
        pair
        for group, values in zip(groups, state, strict=True)
        for pair in zip(group, values, strict=True)
    ]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        iterate(data)
        logs = model.get_metrics_result()
        state = tuple([scope.get_current_value(v) for v in group] for group in groups)
    return logs, state


def normal(shape, seed: keras.random.SeedGenerator):
    return keras.random.normal(shape, seed=seed)


def uniform(shape, seed: keras.random.SeedGenerator):
    return keras.random.uniform(shape, seed=seed)


def compile_arguments(jit_compile) -> tuple[bool, bool]:
    return (True if jit_compile == "auto" else bool(jit_compile)), False


def sync(model) -> None:
    model.jax_state_sync()


def describe_device() -> str:
    devices = jax.local_devices()
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        return f"CPU ({platform.machine()})"
    return f"{len(devices)} × {kind}"


def adam_step(gradient, variable, momentum, velocity, *, rate, step, beta_1, beta_2, epsilon):
    m = momentum.value + (gradient - momentum.value) * (1.0 - beta_1)
    v = velocity.value + (gradient * gradient - velocity.value) * (1.0 - beta_2)
    momentum.assign(m)
    velocity.assign(v)
    root = jax.numpy.sqrt(v / (1.0 - beta_2**step)) + epsilon
    variable.assign(variable.value - rate / (1.0 - beta_1**step) * m / root)


def move_average(averages, values, decay: float) -> None:
    for average, value in zip(averages, values, strict=True):
        average.assign(average.value + (1.0 - decay) * (value.value - average.value))
