"""JAX: functional gradients, all state threaded through Keras's `StatelessScope`."""

import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras

from uotm_keras.backend import jax_distribution as distribution
from uotm_keras.backend import keras_hooks
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

__all__ = [
    "CONVOLUTION_FORMAT",
    "WRITES_SAVED_MODELS",
    "adam_step",
    "adam_steps",
    "arrange_kernel",
    "arrange_like",
    "compile_arguments",
    "convolution",
    "describe_device",
    "map_micro_batches",
    "minimize",
    "update_ema",
    "normal",
    "prefers_bfloat16",
    "prepare_command",
    "require",
    "set_matmul_precision",
    "sync",
    "test_step",
    "train_step",
    "uniform",
    "value_and_input_gradient",
    "without_gradient",
]

CONVOLUTION_FORMAT = "channels_last"
adam_steps: Callable | None = None  # XLA fuses the steps.
WRITES_SAVED_MODELS = False


def value_and_input_gradient(function: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
    outer = keras_hooks.current_scope()

    def total(x: Tensor) -> Any:
        # Variables assigned inside, such as batch statistics, leave as outputs.
        with keras_hooks.nested_scope(outer) as inner:
            value = function(x)
        return value.sum(), (value, inner.state_mapping if inner else {})

    gradient, (value, assigned) = jax.grad(total, has_aux=True)(x)
    if outer is not None:
        outer.state_mapping.update(assigned)
    return value, gradient


def without_gradient(function: Callable) -> Any:
    return jax.lax.stop_gradient(function())


def _state_variables(model: keras.Model) -> tuple[list, ...]:
    """The groups of variables in the order of the trainer's state."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def minimize(
    model: keras.Model,
    loss_function: Callable,
    batch: Any,
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    micro_batches: int = 1,
) -> dict:
    # A scope hides the outer one: it needs a value for every variable.
    chosen = {id(v) for v in variables}
    rest = [v for group in _state_variables(model) for v in group if id(v) not in chosen]
    rest_values = [v.value for v in rest]
    # The loss may update seed generators and batch statistics.
    moving = model.non_trainable_variables

    def scaled_loss(values: Sequence[keras.Variable], batch: Any) -> Any:
        mapping = [*zip(variables, values, strict=True), *zip(rest, rest_values, strict=True)]
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            loss, logs = loss_function(batch)
            loss = optimizer.scale_loss(loss)
            moved = [scope.get_current_value(v) for v in moving]
        return loss, (logs, moved)

    values = [v.value for v in variables]
    if micro_batches == 1:
        gradients, (logs, moved) = jax.grad(scaled_loss, has_aux=True)(values, batch)
        for variable, value in zip(moving, moved, strict=True):
            variable.assign(value)
    else:

        def add_micro_batch(total: Any, micro_batch: Any) -> Any:
            gradients, (logs, _) = jax.grad(scaled_loss, has_aux=True)(values, micro_batch)
            return jax.tree.map(jax.numpy.add, total, gradients), logs

        zeros = jax.tree.map(jax.numpy.zeros_like, values)
        # XLA's CPU gradients of convolutions are a hundred times slower inside a loop.
        unroll = jax.default_backend() == "cpu"
        total, logs = jax.lax.scan(add_micro_batch, zeros, batch, unroll=unroll)
        gradients = [gradient / micro_batches for gradient in total]
        logs = {name: value.mean() for name, value in logs.items()}
    finite: Tensor = True
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # A LossScaleOptimizer skips updates that are not finite itself.
        finite = jax.numpy.isfinite(sum(gradient.sum() for gradient in gradients))
        gradients = [jax.numpy.where(finite, gradient, 0) for gradient in gradients]
    # `apply` would leak tracers out of a LossScaleOptimizer.
    state = [v.value for v in optimizer.variables]
    values, state = optimizer.stateless_apply(state, gradients, values)
    for variable, value in zip([*variables, *optimizer.variables], [*values, *state], strict=True):
        variable.assign(value)
    return {**logs, "skipped": 1.0 - jax.numpy.float32(finite)}


def map_micro_batches(
    model: keras.Model, function: Callable, batch: Any, micro_batches: int
) -> Any:
    if micro_batches == 1:
        return jax.lax.stop_gradient(function(batch))
    return jax.lax.stop_gradient(jax.lax.map(function, batch))


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise InputError(sentence)


def train_step(model: keras.Model, iterate: Callable, state: Any, data: Any) -> tuple[dict, tuple]:
    return _stateless(_state_variables(model), iterate, state, data)


def test_step(model: keras.Model, evaluate: Callable, state: Any, data: Any) -> tuple[dict, tuple]:
    groups = (model.trainable_variables, model.non_trainable_variables, model.metrics_variables)
    return _stateless(groups, evaluate, state, data)


def _stateless(groups: tuple, function: Callable, state: Any, data: Any) -> tuple[dict, tuple]:
    """Run a function that assigns variables, as one from state to state."""
    mapping = [
        pair
        for group, values in zip(groups, state, strict=True)
        for pair in zip(group, values, strict=True)
    ]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        logs = function(data)
        state = tuple([scope.get_current_value(v) for v in group] for group in groups)
    return logs, state


_PIXELS_A_PIECE = 2048
"""XLA's CPU gradient of a kernel runs at a third of its rate when it sums over more pixels."""
_MOST_PIECES = 16


def convolution(x: Tensor, kernel: Tensor) -> Tensor:
    if kernel.shape[:2] == (1, 1):
        return jax.numpy.matmul(x, kernel[0, 0])
    if jax.default_backend() == "cpu":
        return _cpu_convolution(x, kernel)
    return _same_convolution(x, kernel)


def _same_convolution(x: Tensor, kernel: Tensor) -> Any:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@jax.custom_vjp
def _cpu_convolution(x: Tensor, kernel: Tensor) -> Any:
    return _same_convolution(x, kernel)


def _cpu_convolution_forward(x: Tensor, kernel: Tensor) -> Any:
    return _same_convolution(x, kernel), (x, kernel)


def _cpu_convolution_backward(inputs: Any, gradient: Tensor) -> Any:
    x, kernel = inputs
    # A convolution again, so that second derivatives take this way too.
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return _cpu_convolution(gradient, turned), _kernel_gradient(x, gradient, kernel)


def _kernel_gradient(x: Tensor, gradient: Tensor, kernel: Tensor) -> Any:
    batch, height, width, _ = x.shape
    wanted = min(_MOST_PIECES, max(1, batch * height * width // _PIXELS_A_PIECE))
    pieces = next(n for n in range(wanted, 0, -1) if batch % n == 0)

    def of_piece(x: Tensor, gradient: Tensor) -> Any:
        transpose = jax.linear_transpose(lambda kernel: _same_convolution(x, kernel), kernel)
        # Each is a sum in float32, and so is theirs, whatever the kernel's dtype.
        return transpose(gradient)[0].astype("float32")

    total = sum(
        of_piece(*piece)
        for piece in zip(jax.numpy.split(x, pieces), jax.numpy.split(gradient, pieces), strict=True)
    )
    return total.astype(kernel.dtype)


_cpu_convolution.defvjp(_cpu_convolution_forward, _cpu_convolution_backward)


def arrange_kernel(variable: keras.Variable) -> None:
    pass


def arrange_like(variable: keras.Variable, other: keras.Variable) -> None:
    pass


def normal(shape: Sequence[int], seed: keras.random.SeedGenerator) -> Tensor:
    return distribution.shard_rows(keras.random.normal(shape, seed=seed))


def uniform(shape: Sequence[int], seed: keras.random.SeedGenerator) -> Tensor:
    return distribution.shard_rows(keras.random.uniform(shape, seed=seed))


def compile_arguments(jit_compile: bool | str) -> tuple[bool, bool]:
    return (True if jit_compile == "auto" else bool(jit_compile)), False


def sync(model: keras.Model) -> None:
    model.jax_state_sync()


_PRECISIONS = {"tf32": "tensorfloat32", "highest": "highest"}


def set_matmul_precision(precision: str) -> None:
    if precision != "default":
        jax.config.update("jax_default_matmul_precision", _PRECISIONS[precision])


def prepare_command(deterministic: bool = False) -> None:
    if deterministic:
        # XLA reads the variable when JAX's first device is opened.
        flags = os.environ.get("XLA_FLAGS", "")
        if _DETERMINISTIC not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}".strip()


_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def describe_device() -> str:
    devices = jax.local_devices()
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        return f"CPU ({platform.machine()})"
    return f"{len(devices)} × {kind}"


def prefers_bfloat16() -> bool:
    return False


def adam_step(
    gradient: Tensor,
    variable: keras.Variable,
    momentum: keras.Variable,
    velocity: keras.Variable,
    *,
    rate: Tensor,
    step: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    m = momentum.value + (gradient - momentum.value) * (1.0 - beta_1)
    v = velocity.value + (gradient * gradient - velocity.value) * (1.0 - beta_2)
    momentum.assign(m)
    velocity.assign(v)
    root = jax.numpy.sqrt(v / (1.0 - beta_2**step)) + epsilon
    variable.assign(variable.value - rate / (1.0 - beta_1**step) * m / root)


def update_ema(
    averages: Sequence[keras.Variable], values: Sequence[keras.Variable], decay: float
) -> None:
    for average, value in zip(averages, values, strict=True):
        average.assign(average.value + (1.0 - decay) * (value.value - average.value))
