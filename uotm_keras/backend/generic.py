"""Updates of many variables, written once in Keras operations."""

from collections.abc import Sequence

import keras
from keras import ops


def adam_step(gradients, variables, momenta, velocities, *, rate, step, beta_1, beta_2, epsilon):
    """One Adam step on each variable, ε added to √v̂ after the bias correction.

    Args:
        gradients: one tensor a variable.
        variables, momenta, velocities: Keras variables, updated in place.
        rate: the learning rate, a scalar.
        step: the number of this step from 1, a float32 scalar.
    """
    correction_1 = 1.0 - ops.power(beta_1, step)
    correction_2 = 1.0 - ops.power(beta_2, step)
    size = rate / correction_1
    root = ops.rsqrt(correction_2)
    for gradient, variable, momentum, velocity in zip(
        gradients, variables, momenta, velocities, strict=True
    ):
        m = momentum + (gradient - momentum) * (1.0 - beta_1)
        v = velocity + (ops.square(gradient) - velocity) * (1.0 - beta_2)
        momentum.assign(m)
        velocity.assign(v)
        variable.assign_sub(size * m / (ops.sqrt(v) * root + epsilon))


def move_average(
    averages: Sequence[keras.Variable], values: Sequence[keras.Variable], decay: float
) -> None:
    """average ← decay·average + (1 − decay)·value, for each pair of variables."""
    for average, value in zip(averages, values, strict=True):
        average.assign_add((1.0 - decay) * (value - average))
