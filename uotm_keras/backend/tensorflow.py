"""TensorFlow: gradient tapes, XLA inside each replica, tf.distribute."""

import platform
from collections.abc import Callable

import keras
import tensorflow as tf

from uotm_keras.backend import tensorflow_distribution as distribution
from uotm_keras.utils.errors import InputError

__all__ = [
    "CONVOLUTION_FORMAT",
    "WRITES_SAVED_MODELS",
    "adam_step",
    "arrange_kernel",
    "arrange_like",
    "compile_arguments",
    "convolution",
    "describe_device",
    "map_pieces",
    "minimize",
    "move_average",
    "normal",
    "prepare_command",
    "require",
    "sync",
    "train_step",
    "uniform",
    "value_and_input_gradient",
    "without_gradient",
]

CONVOLUTION_FORMAT = "channels_last"
WRITES_SAVED_MODELS = True


def value_and_input_gradient(function: Callable, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
        total = tf.reduce_sum(value)
    return value, tape.gradient(total, x)


def without_gradient(function: Callable):
    return tf.stop_gradient(function())


def minimize(model, loss_function: Callable, batch, variables, optimizer, pieces: int = 1) -> dict:
    tensors = [v.value for v in variables]

    def gradients_and_logs(*batch):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tensors)
            loss, logs = loss_function(*batch)
            loss = optimizer.scale_loss(loss)
        return tape.gradient(loss, tensors), logs

    results = _mean_over_pieces(_compiled(model, gradients_and_logs), batch, pieces)
    gradients, logs = distribution.mean_over_replicas(results, optimizer)
    optimizer.apply(gradients, variables)
    return logs


def _compiled(model, function: Callable) -> Callable:
    if model.compile_gradients and tf.inside_function():
        # XLA on the whole step fails under two replicas; inside each replica it works.
        return tf.function(function, jit_compile=True, autograph=False)
    return function


def _mean_over_pieces(function: Callable, batch, pieces: int):
    """The mean of a structure of tensors over the pieces of a batch, one at a time."""
    if pieces == 1:
        return function(*batch)
    piece = _tracer(function, batch)
    total = [tf.zeros(output.shape, output.dtype) for output in piece.outputs]
    _, total = tf.while_loop(
        lambda i, total: i < pieces,
        lambda i, total: (i + 1, [a + b for a, b in zip(total, piece(i), strict=True)]),
        (tf.constant(0), total),
        parallel_iterations=1,
    )
    return piece.structure([t / pieces for t in total])


def map_pieces(model, function: Callable, batch, pieces: int):
    function = _compiled(model, function)
    if pieces == 1:
        return tf.nest.map_structure(tf.stop_gradient, function(*batch))
    piece = _tracer(function, batch)
    outputs = tf.map_fn(
        piece,
        tf.range(pieces),
        fn_output_signature=[tf.TensorSpec(o.shape, o.dtype) for o in piece.outputs],
        parallel_iterations=1,
    )
    return piece.structure([tf.stop_gradient(output) for output in outputs])


def _tracer(function: Callable, batch):
    """The function of a piece's number, traced once, so that its outputs are known."""

    def of_piece(i):
        return function(*(None if x is None else x[i] for x in batch))

    traced = tf.function(of_piece, autograph=False)
    traced = traced.get_concrete_function(tf.TensorSpec((), tf.int32))
    flat = tf.nest.flatten(traced.structured_outputs)
    present = [output for output in flat if output is not None]

    def piece(i):
        return [x for x in tf.nest.flatten(traced(i)) if x is not None]

    def structure(outputs):
        outputs = iter(outputs)
        filled = [None if output is None else next(outputs) for output in flat]
        return tf.nest.pack_sequence_as(traced.structured_outputs, filled)

    piece.outputs, piece.structure = present, structure
    return piece


def require(condition, sentence: str) -> None:
    if isinstance(condition, bool):
        if not condition:
            raise InputError(sentence)
    else:
        tf.debugging.Assert(condition, [sentence])


def train_step(model, iterate: Callable, data) -> dict:
    iterate(data)
    return model.get_metrics_result()


def convolution(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def arrange_kernel(variable) -> None:
    pass


def arrange_like(variable, other) -> None:
    pass


def normal(shape, seed: keras.random.SeedGenerator):
    return keras.random.normal(shape, seed=seed)


def uniform(shape, seed: keras.random.SeedGenerator):
    return keras.random.uniform(shape, seed=seed)


def compile_arguments(jit_compile) -> tuple[bool, bool]:
    if jit_compile == "auto":
        # On CPUs XLA's convolutions are slower than TensorFlow's own.
        jit_compile = bool(tf.config.list_logical_devices("GPU"))
    return False, bool(jit_compile)


def sync(model) -> None:
    pass


def prepare_command() -> None:
    pass


def describe_device() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU ({platform.machine()})"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"{len(gpus)} × {details.get('device_name', 'GPU')}"


def adam_step(gradient, variable, momentum, velocity, *, rate, step, beta_1, beta_2, epsilon):
    beta_1, beta_2 = tf.constant(beta_1, tf.float32), tf.constant(beta_2, tf.float32)
    power_1, power_2 = beta_1**step, beta_2**step
    # One pass over memory. This kernel adds its ε to √v before the bias correction:
    # ε·√(1 − β₂ᵗ) there is ε after it.
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum.value.handle,
        v=velocity.value.handle,
        beta1_power=power_1,
        beta2_power=power_2,
        lr=tf.cast(rate, tf.float32),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=epsilon * tf.sqrt(1.0 - power_2),
        grad=gradient,
    )


def move_average(averages, values, decay: float) -> None:
    for average, value in zip(averages, values, strict=True):
        average.value.assign_sub((1.0 - decay) * (average.value - value.value))
