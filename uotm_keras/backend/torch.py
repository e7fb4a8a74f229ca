"""PyTorch: eager autograd, updates by its multi-tensor operations."""

import platform
from collections.abc import Callable

import keras
import torch

from uotm_keras.errors import InputError

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

CONVOLUTION_FORMAT = "channels_first"


def value_and_input_gradient(function: Callable, x):
    x = x.detach().requires_grad_(True)
    value = function(x)
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value, gradient


def without_gradient(function: Callable):
    with torch.no_grad():
        return function()


def minimize(model, loss_function: Callable, variables, optimizer) -> dict:
    loss, logs = loss_function()
    gradients = torch.autograd.grad(optimizer.scale_loss(loss), [v.value for v in variables])
    with torch.no_grad():
        optimizer.apply(list(gradients), variables)
    return {name: value.detach() for name, value in logs.items()}


def train_step(model, iterate: Callable, data) -> dict:
    iterate(data)
    return model.get_metrics_result()


def normal(shape, seed: keras.random.SeedGenerator):
    return keras.random.normal(shape, seed=seed)


def uniform(shape, seed: keras.random.SeedGenerator):
    return keras.random.uniform(shape, seed=seed)


def compile_arguments(jit_compile) -> tuple[bool, bool]:
    if jit_compile is True:
        raise InputError(
            "jit_compile=True is not supported on the torch backend, whose compiler has no "
            "second derivatives: accepted are 'auto' and False."
        )
    return False, False


def sync(model) -> None:
    pass


@torch.no_grad()
def adam_step(gradient, variable, momentum, velocity, *, rate, step, beta_1, beta_2, epsilon):
    parameter, m, v = variable.value, momentum.value, velocity.value
    step = float(step)
    m.lerp_(gradient, 1.0 - beta_1)
    v.mul_(beta_2).addcmul_(gradient, gradient, value=1.0 - beta_2)
    root = v.sqrt().div_((1.0 - beta_2**step) ** 0.5).add_(epsilon)
    parameter.addcdiv_(m, root, value=-float(rate) / (1.0 - beta_1**step))


@torch.no_grad()
def move_average(averages, values, decay: float) -> None:
    torch._foreach_lerp_([v.value for v in averages], [v.value for v in values], 1.0 - decay)


def describe_device() -> str:
    if not torch.cuda.is_available():
        return f"CPU ({platform.machine()})"
    return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}"
