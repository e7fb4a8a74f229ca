"""What changes over the steps of a run: the divergences' α, the learning rates."""

import math

import keras
from keras import ops

from uotm_keras.utils.errors import InputError

_PACKAGE = "uotm_keras.schedules"


class AlphaSchedule:
    """α as a function of the step, for the scaled divergences α·Ψ (UOTM-SD, section 4).

    α stays at `start` during `warmup` steps, then goes to `end`, which it reaches at step
    `until` and keeps.

    Args:
        start, end: α > 0 at the beginning and at the end.
        until: the step at which `end` is reached.
        warmup: steps at `start` before the change begins, less than `until`.
    """

    def __init__(self, start: float, end: float, until: int, warmup: int = 0):
        if not (start > 0 and end > 0):
            raise InputError(f"start={start} and end={end} of an α schedule must be positive.")
        if not 0 <= warmup < until:
            raise InputError(f"warmup={warmup} must be at least 0 and below until={until}.")
        self.start, self.end, self.until, self.warmup = start, end, until, warmup

    def progress(self, fraction):
        """How far α has gone, 0 to 1, at a fraction 0 to 1 of the steps."""
        raise NotImplementedError

    def __call__(self, step):
        """α, a float32 scalar, at `step`, an integer tensor or number."""
        step = ops.cast(step, "float32")
        fraction = ops.clip((step - self.warmup) / (self.until - self.warmup), 0.0, 1.0)
        return self.start + (self.end - self.start) * self.progress(fraction)

    def get_config(self) -> dict:
        return {
            "start": self.start, "end": self.end, "until": self.until, "warmup": self.warmup,
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict) -> "AlphaSchedule":
        return cls(**config)


@keras.saving.register_keras_serializable(_PACKAGE)
class LinearAlpha(AlphaSchedule):
    """α goes from `start` to `end` in a straight line."""

    def progress(self, fraction):
        return fraction


@keras.saving.register_keras_serializable(_PACKAGE)
class CosineAlpha(AlphaSchedule):
    """α = start + ½(end − start)(1 − cos πt)."""

    def progress(self, fraction):
        return 0.5 * (1.0 - ops.cos(math.pi * fraction))


@keras.saving.register_keras_serializable(_PACKAGE)
class StepAlpha(AlphaSchedule):
    """α jumps from `start` to `end` at step `until`."""

    def progress(self, fraction):
        return ops.cast(fraction >= 1.0, "float32")


@keras.saving.register_keras_serializable(_PACKAGE)
class CosineAnnealing(keras.optimizers.schedules.LearningRateSchedule):
    """η_min + ½(η₀ − η_min)(1 + cos(π·t/T)), t counted in periods of `hold` steps.

    With `hold` the steps of an epoch it is torch's `CosineAnnealingLR` stepped once an
    epoch, as the paper's runs had it; after T it rises again, as there.

    Args:
        initial: η₀ > 0, the learning rate of the first steps.
        minimum: η_min.
        total: T, in periods.
        hold: steps a period, during which the rate stays.
    """

    def __init__(self, initial: float, minimum: float, total: int, hold: int = 1):
        if total < 1 or hold < 1:
            raise InputError(f"total={total} and hold={hold} must be at least 1.")
        self.initial, self.minimum, self.total, self.hold = initial, minimum, total, hold

    def __call__(self, step):
        period = ops.cast(ops.floor_divide(ops.cast(step, "int32"), self.hold), "float32")
        cosine = ops.cos(math.pi * period / self.total)
        return self.minimum + 0.5 * (self.initial - self.minimum) * (1.0 + cosine)

    def get_config(self) -> dict:
        return {
            "initial": self.initial, "minimum": self.minimum,
            "total": self.total, "hold": self.hold,
        }  # fmt: skip
