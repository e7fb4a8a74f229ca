"""TensorFlow: gradient tapes, XLA inside each replica, tf.distribute."""

import contextlib
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from uotm_keras.backend import tensorflow_distribution as distribution
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
adam_steps: Callable | None = None  # Its fused kernel takes one variable.
WRITES_SAVED_MODELS = True


def value_and_input_gradient(function: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
        total = tf.reduce_sum(value)
    return value, tape.gradient(total, x)


def without_gradient(function: Callable) -> Any:
    return tf.stop_gradient(function())


def minimize(
    model: keras.Model,
    loss_function: Callable,
    batch: Any,
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    micro_batches: int = 1,
) -> dict:
    tensors = [v.value for v in variables]

    def gradients_and_logs(batch: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tensors)
            loss, logs = loss_function(batch)
            loss = optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, tensors)
        for gradient, tensor in zip(gradients, tensors, strict=True):
            if isinstance(gradient, tf.Tensor):
                gradient.set_shape(tensor.shape)
        return gradients, logs

    results = _mean_over_micro_batches(_compiled(model, gradients_and_logs), batch, micro_batches)
    gradients, logs = distribution.mean_over_replicas(results, optimizer)
    gradients, finite = _finite_or_zero(gradients, optimizer)
    optimizer.apply(gradients, variables)
    return {**logs, "skipped": 1.0 - tf.cast(finite, tf.float32)}


def _finite_or_zero(gradients: list, optimizer: keras.optimizers.Optimizer) -> Any:
    """Replace all gradients by zeros if one is not finite."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return gradients, True  # which skips such updates itself
    dense = [tf.convert_to_tensor(g) for g in gradients if g is not None]
    finite = tf.math.is_finite(tf.add_n([tf.cast(tf.reduce_sum(g), tf.float32) for g in dense]))
    # The branch without zeros copies nothing.
    kept = iter(tf.cond(finite, lambda: dense, lambda: [tf.zeros_like(g) for g in dense]))
    return [None if g is None else next(kept) for g in gradients], finite


def _compiled(model: keras.Model, function: Callable) -> Callable:
    if model.compile_gradients and tf.inside_function():
        # XLA on the whole step fails under two replicas; inside each replica it works.
        return tf.function(function, jit_compile=True, autograph=False)
    return function


def _mean_over_micro_batches(function: Callable, batch: Any, micro_batches: int) -> Any:
    """Average a structure of tensors over the micro-batches, one at a time."""
    if micro_batches == 1:
        return function(batch)
    traced = _Traced(function, batch)
    total = [tf.zeros(output.shape, output.dtype) for output in traced.outputs]
    _, total = tf.while_loop(
        lambda i, total: i < micro_batches,
        lambda i, total: (i + 1, [a + b for a, b in zip(total, traced(i), strict=True)]),
        (tf.constant(0), total),
        parallel_iterations=1,
    )
    return traced.structure([t / micro_batches for t in total])


def map_micro_batches(
    model: keras.Model, function: Callable, batch: Any, micro_batches: int
) -> Any:
    function = _compiled(model, function)
    if micro_batches == 1:
        return tf.nest.map_structure(tf.stop_gradient, function(batch))
    traced = _Traced(function, batch)
    outputs = tf.map_fn(
        traced,
        tf.range(micro_batches),
        fn_output_signature=[tf.TensorSpec(o.shape, o.dtype) for o in traced.outputs],
        parallel_iterations=1,
    )
    return traced.structure([tf.stop_gradient(output) for output in outputs])


class _Traced:
    """A function of a micro-batch's number, traced once so that its outputs are known."""

    def __init__(self, function: Callable, batch: Any) -> None:
        def of_micro_batch(i: Tensor) -> Any:
            return function(type(batch)(*(None if x is None else x[i] for x in batch)))

        traced = tf.function(of_micro_batch, autograph=False)
        self._function = traced.get_concrete_function(tf.TensorSpec((), tf.int32))
        self._flat = tf.nest.flatten(self._function.structured_outputs)
        self.outputs = [output for output in self._flat if output is not None]

    def __call__(self, i: Tensor) -> list:
        return [x for x in tf.nest.flatten(self._function(i)) if x is not None]

    def structure(self, outputs: Any) -> Any:
        """Return the outputs in the function's own structure, its `None`s included."""
        outputs = iter(outputs)
        filled = [None if output is None else next(outputs) for output in self._flat]
        return tf.nest.pack_sequence_as(self._function.structured_outputs, filled)


def require(condition: Any, sentence: str) -> None:
    if isinstance(condition, bool):
        if not condition:
            raise InputError(sentence)
    else:
        tf.debugging.Assert(condition, [sentence])


def train_step(model: keras.Model, iterate: Callable, data: Any) -> dict:
    return iterate(data)


def test_step(model: keras.Model, evaluate: Callable, data: Any) -> dict:
    return evaluate(data)


def convolution(x: Tensor, kernel: Tensor) -> Tensor:
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def arrange_kernel(variable: keras.Variable) -> None:
    pass


def arrange_like(variable: keras.Variable, other: keras.Variable) -> None:
    pass


def normal(shape: Sequence[int], seed: keras.random.SeedGenerator) -> Tensor:
    return keras.random.normal(shape, seed=seed)


def uniform(shape: Sequence[int], seed: keras.random.SeedGenerator) -> Tensor:
    return keras.random.uniform(shape, seed=seed)


def compile_arguments(jit_compile: bool | str) -> tuple[bool, bool]:
    if jit_compile == "auto":
        # On CPUs XLA's convolutions are slower than TensorFlow's own.
        jit_compile = bool(tf.config.list_logical_devices("GPU"))
    return False, bool(jit_compile)


def sync(model: keras.Model) -> None:
    pass


def set_matmul_precision(precision: str) -> None:
    if precision != "default":
        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")


def prepare_command(deterministic: bool = False) -> None:
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    for gpu in tf.config.list_physical_devices("GPU"):
        # Otherwise TensorFlow takes all memory of every GPU at once.
        with contextlib.suppress(RuntimeError):  # It is in use already.
            tf.config.experimental.set_memory_growth(gpu, True)


def describe_device() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU ({platform.machine()})"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"{len(gpus)} × {details.get('device_name', 'GPU')}"


def prefers_bfloat16() -> bool:
    """TensorFlow's CPU kernels use the matrix unit of recent Intel processors."""
    if tf.config.list_physical_devices("GPU"):
        return False
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
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
    beta_1, beta_2 = tf.constant(beta_1, tf.float32), tf.constant(beta_2, tf.float32)
    power_1, power_2 = beta_1**step, beta_2**step
    # One pass over memory. This kernel adds its ε to √v before the bias correction:
    # ε·√(1 − β₂ᵗ) there is ε after it.
    scalars = {
        "beta1_power": power_1,
        "beta2_power": power_2,
        "lr": rate,
        "beta1": beta_1,
        "beta2": beta_2,
        "epsilon": epsilon * tf.sqrt(1.0 - power_2),
    }
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum.value.handle,
        v=velocity.value.handle,
        grad=gradient,
        **{name: tf.cast(value, gradient.dtype) for name, value in scalars.items()},
    )


def update_ema(
    averages: Sequence[keras.Variable], values: Sequence[keras.Variable], decay: float
) -> None:
    for average, value in zip(averages, values, strict=True):
        average.value.assign_sub((1.0 - decay) * (average.value - value.value))
