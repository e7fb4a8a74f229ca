"""PyTorch: eager autograd, updates by its multi-tensor operations."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch

from uotm_keras.backend import torch_distribution as distribution
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

CONVOLUTION_FORMAT = "channels_first"
WRITES_SAVED_MODELS = False


def value_and_input_gradient(function: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    value = function(x)
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value, gradient


def without_gradient(function: Callable) -> Any:
    with torch.no_grad():
        return function()


def minimize(
    model: keras.Model,
    loss_function: Callable,
    batch: Any,
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    micro_batches: int = 1,
) -> dict:
    tensors = [v.value for v in variables]
    gradients: list = []
    logs: dict[str, Tensor] = {}
    for micro_batch in _micro_batches(batch, micro_batches):
        loss, parts = loss_function(micro_batch)
        parts = {name: value.detach() for name, value in parts.items()}
        slopes = torch.autograd.grad(optimizer.scale_loss(loss), tensors)
        if not gradients:
            gradients, logs = list(slopes), parts
        else:
            torch._foreach_add_(gradients, slopes)
            logs = {name: logs[name] + value for name, value in parts.items()}
        del loss, slopes
    if micro_batches > 1:
        torch._foreach_div_(gradients, micro_batches)
        logs = {name: value / micro_batches for name, value in logs.items()}
    logs = distribution.average_over_replicas(gradients, logs)
    finite = torch.ones(())
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # A LossScaleOptimizer skips such updates itself.
        gradients, finite = _finite_or_zero(gradients)
    with torch.no_grad():
        optimizer.apply(gradients, variables)
    return {**logs, "skipped": 1.0 - finite.to(torch.float32)}


@torch.no_grad()
def _finite_or_zero(gradients: list) -> tuple[list, torch.Tensor]:
    """Replace all gradients by zeros if one is not finite."""
    finite = torch.isfinite(sum(gradient.sum() for gradient in gradients))
    if finite.is_cuda:  # without waiting for the device
        return [torch.where(finite, g, torch.zeros_like(g)) for g in gradients], finite
    return gradients if finite else [torch.zeros_like(g) for g in gradients], finite


def _micro_batches(batch: Any, count: int) -> list:
    if count == 1:
        return [batch]
    return [type(batch)(*(None if x is None else x[i] for x in batch)) for i in range(count)]


@torch.no_grad()
def map_micro_batches(
    model: keras.Model, function: Callable, batch: Any, micro_batches: int
) -> Any:
    if micro_batches == 1:
        return function(batch)
    outputs = [function(part) for part in _micro_batches(batch, micro_batches)]
    return tuple(torch.stack(parts) for parts in zip(*outputs, strict=True))


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise InputError(sentence)


def train_step(model: keras.Model, iterate: Callable, data: Any) -> dict:
    return iterate(data)


def test_step(model: keras.Model, evaluate: Callable, data: Any) -> dict:
    return evaluate(data)


def convolution(x: Tensor, kernel: Tensor) -> Tensor:
    rows, columns = kernel.shape[:2]
    if rows == columns == 1:
        return torch.matmul(x, kernel[0, 0])
    # Both permuted tensors are what PyTorch calls channels_last: nothing is copied.
    padding = (rows // 2, columns // 2)
    y = torch.nn.functional.conv2d(
        x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding=padding
    )
    return y.permute(0, 2, 3, 1)


@torch.no_grad()
def arrange_kernel(variable: keras.Variable) -> None:
    if tuple(variable.shape[:2]) == (1, 1):
        return
    # The shape stays (k, k, in, out); in memory the output channel comes first.
    tensor = variable.value
    arranged = tensor.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    tensor.data = arranged.permute(2, 3, 1, 0)


def normal(shape: Sequence[int], seed: keras.random.SeedGenerator) -> Tensor:
    return keras.random.normal(shape, seed=seed)


def uniform(shape: Sequence[int], seed: keras.random.SeedGenerator) -> Tensor:
    return keras.random.uniform(shape, seed=seed)


def compile_arguments(jit_compile: bool | str) -> tuple[bool, bool]:
    if jit_compile is True:
        raise InputError(
            "jit_compile=True is not supported on the torch backend, whose compiler has no "
            "second derivatives: accepted are 'auto' and False."
        )
    return False, False


def sync(model: keras.Model) -> None:
    pass


@torch.no_grad()
def arrange_like(variable: keras.Variable, other: keras.Variable) -> None:
    variable.value.data = torch.empty_like(other.value).copy_(variable.value)


def prefers_bfloat16() -> bool:
    return False


@torch.no_grad()
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
    parameter, m, v = variable.value, momentum.value, velocity.value
    step = float(step)
    m.lerp_(gradient, 1.0 - beta_1)
    v.mul_(beta_2).addcmul_(gradient, gradient, value=1.0 - beta_2)
    root = v.sqrt().div_((1.0 - beta_2**step) ** 0.5).add_(epsilon)
    parameter.addcdiv_(m, root, value=-float(rate) / (1.0 - beta_1**step))


@torch.no_grad()
def adam_steps(
    gradients: Sequence[Tensor],
    variables: Sequence[keras.Variable],
    momenta: Sequence[keras.Variable],
    velocities: Sequence[keras.Variable],
    **settings: Any,
) -> None:
    if variables[0].value.is_cuda:
        # As numbers, `rate` and `step` would wait for the device, once for each variable.
        values = ([v.value for v in group] for group in (variables, momenta, velocities))
        _fused_adam_steps(gradients, *values, **settings)
        return
    for one in zip(gradients, variables, momenta, velocities, strict=True):
        adam_step(*one, **settings)


def _fused_adam_steps(
    gradients: Sequence[Tensor],
    parameters: Sequence[Tensor],
    momenta: Sequence[Tensor],
    velocities: Sequence[Tensor],
    *,
    rate: Tensor,
    step: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """Take PyTorch's own Adam steps in one kernel, which reads `rate` and `step` on the device."""
    # The kernel walks through memory, so a gradient must be laid out as its parameter is.
    gradients = [
        g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)
        for g, p in zip(gradients, parameters, strict=True)
    ]
    torch._fused_adam_(
        list(parameters), gradients, list(momenta), list(velocities), [],
        [step.to(torch.float32)] * len(gradients),
        lr=torch.as_tensor(rate, dtype=torch.float32, device=gradients[0].device),
        beta1=beta_1, beta2=beta_2, weight_decay=0.0, eps=epsilon, amsgrad=False, maximize=False,
    )  # fmt: skip


@torch.no_grad()
def update_ema(
    averages: Sequence[keras.Variable], values: Sequence[keras.Variable], decay: float
) -> None:
    torch._foreach_lerp_([v.value for v in averages], [v.value for v in values], float(1.0 - decay))


def set_matmul_precision(precision: str) -> None:
    if precision == "default":
        return
    # By default PyTorch uses TF32 for convolutions, but not for matrix products.
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def prepare_command(deterministic: bool = False) -> None:
    if deterministic:
        # cuBLAS reads the variable when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    # The shapes never change, so timing cuDNN's kernels once pays; it may choose anew in each run.
    torch.backends.cudnn.benchmark = not deterministic
    # glibc gives large tensors back to the system at once; faulting their pages in again
    # for each operation costs a third of the time of sampling on a CPU.
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def describe_device() -> str:
    if not torch.cuda.is_available():
        return f"CPU ({platform.machine()})"
    return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}"
