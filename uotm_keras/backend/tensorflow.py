"""TensorFlow: gradient tapes, XLA inside each replica, tf.distribute."""

import platform
from collections.abc import Callable

import keras
import tensorflow as tf

__all__ = [
    "CONVOLUTION_FORMAT",
    "WRITES_SAVED_MODELS",
    "adam_step",
    "arrange_kernel",
    "arrange_like",
    "compile_arguments",
    "convolution",
    "describe_device",
    "minimize",
    "move_average",
    "normal",
    "prepare_command",
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


def minimize(model, loss_function: Callable, variables, optimizer) -> dict:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def gradients_and_logs():
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            loss, logs = loss_function()
            # Gradients are summed over the replicas.
            loss = optimizer.scale_loss(loss) / replicas
        return tape.gradient(loss, [v.value for v in variables]), logs

    if model.compile_gradients and tf.inside_function():
        # XLA on the whole step fails under two replicas; inside each replica it works.
        gradients_and_logs = tf.function(gradients_and_logs, jit_compile=True, autograph=False)
    gradients, logs = gradients_and_logs()
    optimizer.apply(gradients, variables)
    return logs


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
