"""Schedules: the α of the divergences and the learning rates, as functions of the step."""

import math
from typing import Any, Self

import keras
from keras import ops

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

_PACKAGE = "uotm_keras.schedules"


class AlphaSchedule:
    """α as a function of the step, for the scaled divergences α·Ψ.

    α stays at `start` for `warmup` steps, then changes to `end`, which it reaches at step
    `until` and keeps.

    Args:
        start: α > 0 at the beginning.
        end: α > 0 at the end.
        until: The step at which `end` is reached.
        warmup: Steps at `start` before the change begins, fewer than `until`. Defaults to 0.

    Raises:
        InputError: If an argument is out of range.

    Reference:
        UOTM-SD, arXiv 2310.02611, section 4.
    """

    def __init__(self, start: float, end: float, until: int, warmup: int = 0):
        if not (start > 0 and end > 0):
            raise InputError(f"start={start} and end={end} of an α schedule must be positive.")
        if not 0 <= warmup < until:
            raise InputError(f"warmup={warmup} must be at least 0 and below until={until}.")
        self.start, self.end, self.until, self.warmup = start, end, until, warmup

    def progress(self, fraction: Tensor) -> Tensor:
        """Return the progress from `start` to `end`, in [0, 1], at a fraction of the steps."""
        raise NotImplementedError

    def __call__(self, step: Tensor) -> Tensor:
        """Return α, a float32 scalar, at `step`, an integer tensor or number."""
        step = ops.cast(step, "float32")
        fraction = ops.clip((step - self.warmup) / (self.until - self.warmup), 0.0, 1.0)
        return self.start + (self.end - self.start) * self.progress(fraction)

    def get_config(self) -> dict[str, Any]:
        return {
            "start": self.start, "end": self.end, "until": self.until, "warmup": self.warmup,
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


@keras.saving.register_keras_serializable(_PACKAGE)
class LinearAlpha(AlphaSchedule):
    """α changes linearly from `start` to `end`."""

    def progress(self, fraction: Tensor) -> Tensor:
        return fraction


@keras.saving.register_keras_serializable(_PACKAGE)
class CosineAlpha(AlphaSchedule):
    """α = start + ½(end − start)(1 − cos πt)."""

    def progress(self, fraction: Tensor) -> Tensor:
        return 0.5 * (1.0 - ops.cos(math.pi * fraction))


@keras.saving.register_keras_serializable(_PACKAGE)
class StepAlpha(AlphaSchedule):
    """α jumps from `start` to `end` at step `until`."""

    def progress(self, fraction: Tensor) -> Tensor:
        return ops.cast(fraction >= 1.0, "float32")


@keras.saving.register_keras_serializable(_PACKAGE)
class CosineAnnealing(keras.optimizers.schedules.LearningRateSchedule):
    """η_min + ½(η₀ − η_min)(1 + cos(π·t/T)), with t counted in periods of `hold` steps.

    If `hold` is the number of steps per epoch, it equals PyTorch's `CosineAnnealingLR`
    stepped once per epoch, as in the paper's runs; after T the rate rises again, as there.

    Args:
        initial: η₀ > 0, the learning rate of the first steps.
        minimum: η_min.
        total: T, in periods.
        hold: Steps per period, during which the rate is constant. Defaults to 1.

    Raises:
        InputError: If `total` or `hold` is below 1.
    """

    def __init__(self, initial: float, minimum: float, total: int, hold: int = 1):
        if total < 1 or hold < 1:
            raise InputError(f"total={total} and hold={hold} must be at least 1.")
        self.initial, self.minimum, self.total, self.hold = initial, minimum, total, hold

    def __call__(self, step: Tensor) -> Tensor:
        period = ops.cast(ops.floor_divide(ops.cast(step, "int32"), self.hold), "float32")
        cosine = ops.cos(math.pi * period / self.total)
        return self.minimum + 0.5 * (self.initial - self.minimum) * (1.0 + cosine)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial": self.initial, "minimum": self.minimum,
            "total": self.total, "hold": self.hold,
        }  # fmt: skip
