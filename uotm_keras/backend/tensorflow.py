"""TensorFlow: gradient tapes, XLA inside each replica, tf.distribute."""

import platform
from collections.abc import Callable

import keras
import tensorflow as tf

from uotm_keras.backend.generic import adam_step, move_average

__all__ = [
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


def describe_device() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU ({platform.machine()})"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"{len(gpus)} × {details.get('device_name', 'GPU')}"
