"""Choose the settings of a run from the data, the device, and a time budget.

Only settings whose values depend on these are chosen here. Each choice comes with its reason.
"""

import dataclasses
import math
import time
from typing import Any

import keras
import numpy as np
from keras import ops

from uotm_keras import backend
from uotm_keras.config import TrainConfig, flags_of, updated
from uotm_keras.config.automatic import completed, undecided
from uotm_keras.config.fields import value_of
from uotm_keras.config.parsers import Duration
from uotm_keras.data import ArrayDataset, Dataset, PointDataset, to_uint8
from uotm_keras.data.dataset import required_labels
from uotm_keras.models.build import build_model
from uotm_keras.models.fitted_source import FittedSource
from uotm_keras.objectives.costs import enlarge_bicubic
from uotm_keras.utils.errors import InputError

TRANSPORT = 1.0
"""τ·Ŵ₂²: the transport cost is of the order of the divergences, whose scale is 1."""
R1_SCALE = 1e-4
"""γ/Ŵ₂²: scales with the data like the square of a distance, as ∇v scales with its inverse."""
_SIZES = (8, 16, 32, 64, 128, 256)
_FEWEST, _FEWEST_STEPS = 50, 100
_POINTS = 512  # of each distribution in the estimate of W₂²
_WARM_STEPS, _TIMED_SECONDS, _FEWEST_TIMED = 3, 10.0, 5
_SHARE = 0.94  # of the budget; the rest is for checkpoints, grids, and pages
_LINE_SECONDS, _SAVE_SECONDS = 15.0, 180.0
_SHAPES, _OBJECTS = 100_000, 300_000
"""Images that training has seen when samples show shapes, and objects; see docs/auto.md."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """A complete configuration, and why its values were chosen.

    Attributes:
        config: The configuration.
        reasons: By flag name, one clause each.
        shape: The shape of one example.
        seconds_per_step: The measured time of a step, if the number of steps was chosen.
        num_classes: The number of classes of a conditional model, or `None`.
    """

    config: TrainConfig
    reasons: dict[str, str]
    shape: tuple[int, ...]
    seconds_per_step: float | None = None
    num_classes: int | None = None

    def describe(self) -> str:
        """Return one line per choice: the flag, its value, and the reason."""
        known = flags_of(TrainConfig)
        lines = [
            (f"--{name}={known[name].text(value_of(self.config, known[name]))}", reason)
            for name, reason in self.reasons.items()
        ]
        width = max((len(flag) for flag, _ in lines), default=0)
        return "\n".join(f"  {flag:<{width}}  {reason}" for flag, reason in lines)

    def outlook(self) -> str:
        """Return in a sentence what samples to expect; an empty string if there is no measure."""
        if self.config.generator.generator != "light" or self.config.run.max_steps is None:
            return ""
        seen = self.config.run.max_steps * self.config.data.batch_size
        expected = "little but colors"
        if seen >= _SHAPES:
            expected = "shapes and colors"
        if seen >= _OBJECTS:
            expected = "objects that can be told apart"
        return (
            f"{_rounded(seen):,.0f} images will be seen: samples should show {expected}. With "
            f"3,786 icons shapes took about {_SHAPES:,} images, and faces {_OBJECTS:,}."
        )

    def build_model(self) -> Any:
        """Return the compiled `UOTM` of this configuration.

        The learning-rate schedule ends after `config.run.max_steps` steps.
        """
        return build_model(self.config, self.shape, 1, self.num_classes)


def configure(
    data: np.ndarray | Dataset, budget: str = "60m", config: TrainConfig | None = None
) -> Choices:
    """Choose networks, objective, and optimization for a dataset.

    The number of steps is what the device does in the time budget: a model is built and run
    for some seconds to find out.

    Args:
        data: Images in [−1, 1], float32 (N, H, W, C) with H = W = 8, 16, 32, 64, ...; points,
            (N, d); or a `uotm_keras.data.Dataset` of either.
        budget: The time that training may take, such as `"90s"`, `"20m"`, or `"1.5h"`.
            Defaults to `"60m"`.
        config: A configuration whose undecided flags (`None`) are chosen. Defaults to one in
            which everything that can be chosen is undecided.

    Raises:
        InputError: If there are fewer than 50 examples, the images are all the same or of a
            size that does not fit, or the budget is below a minute.

    Example:

    ```python
    images = uk.data.get("folder:my_images", image_size=32)
    choices = uk.auto.configure(images, budget="20m")
    print(choices.describe())
    model = choices.build_model()
    size, steps = choices.config.data.batch_size, choices.config.run.max_steps
    model.fit(images, batch_size=size, epochs=1, steps_per_epoch=steps)
    ```
    """
    dataset = data if isinstance(data, Dataset) else _as_dataset(np.asarray(data))
    try:
        Duration(60.0).parse(budget)
    except ValueError as error:
        raise InputError(f"budget={budget!r} {error}.") from None
    if config is None:
        left = [name for name, found in flags_of(TrainConfig).items() if found.automatic]
        config = updated(TrainConfig(), **{**dict.fromkeys(left), "image_size": 0})
    return choose(updated(config, budget=budget), dataset)


def _as_dataset(array: np.ndarray) -> Dataset:
    if array.ndim == 2:
        return PointDataset(array.astype("float32"), "data")
    # A byte is exact enough for a choice.
    return ArrayDataset(to_uint8(array), "data")


def choose(config: TrainConfig, dataset: Dataset) -> Choices:
    """Choose the undecided flags for an opened dataset; see `configure`."""
    chooser = _Chooser(config, dataset)
    chooser.choose()
    return chooser.result()


def on_cpu() -> bool:
    """Return whether there is no accelerator."""
    return backend.distribution.count_devices()[1] == "CPU"


def choose_image_size(natural: int, cpu: bool) -> tuple[int, str]:
    """Return the side in pixels for images of a natural side, and the reason.

    Args:
        natural: The usual shorter side of the images in pixels.
        cpu: Whether there is no accelerator.

    Raises:
        InputError: If the images are smaller than 8 pixels.
    """
    largest = 32 if cpu else 64
    if natural < _SIZES[0]:
        raise InputError(
            f"flag --image_size=auto: the images have {natural} pixels per side; accepted are at "
            f"least {_SIZES[0]}. Give --image_size to enlarge them."
        )
    fitting = [size for size in _SIZES if size <= largest and size < natural * math.sqrt(2)]
    size = fitting[-1]
    why = f"images have {natural} px"
    return size, f"{why}; more are slow on a CPU" if size == largest < natural else why


class _Chooser:
    """Fills in one group of flags after the other."""

    def __init__(self, config: TrainConfig, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.left = set(undecided(config))
        self.reasons: dict[str, str] = {}
        self.on_cpu = on_cpu()
        self.device = "a CPU" if self.on_cpu else backend.describe_device()
        self.seconds_per_step: float | None = None

    def result(self) -> Choices:
        self.config.check()
        return Choices(
            self.config, self.reasons, self.dataset.shape, self.seconds_per_step,
            _num_classes(self.config, self.dataset),
        )  # fmt: skip

    def choose(self) -> None:
        shape, count = self.dataset.shape, len(self.dataset)
        if count < _FEWEST:
            raise InputError(
                f"{self.dataset.name} has {count} examples: accepted are at least {_FEWEST}."
            )
        images = len(shape) == 3 and "generator" in self.left
        if images and not (shape[0] == shape[1] and shape[0] in _SIZES):
            raise InputError(
                f"images of shape {shape} do not fit the networks that are chosen automatically: "
                f"accepted are square images of {', '.join(map(str, _SIZES))} px."
            )
        self._set("image_size", 0, "the dataset's own size")
        size = min(64 if self.on_cpu else 128, 2 ** int(math.log2(count)))
        self._set("batch_size", size, f"for {self.device}")
        half = backend.prefers_bfloat16()
        self._set(
            "dtype_policy", "mixed_bfloat16" if half else "float32",
            "this CPU multiplies bfloat16 matrices" if half else f"for {self.device}",
        )  # fmt: skip
        self._networks(shape)
        self._objective()
        self._set("generator_lr", 4e-4, "for batches of 64")
        self._set("potential_lr", 4e-4, "the same for both networks")
        self._set("beta_1", 0.0, "no momentum between two players")
        self._set("beta_2", 0.99, "as in StyleGAN2")
        self._duration()

    def _set(self, name: str, value: Any, reason: str) -> None:
        if name in self.left:
            self.left.remove(name)
            self.config = updated(self.config, **{name: value})
            self.reasons[name] = reason

    def _networks(self, shape: tuple[int, ...]) -> None:
        light = len(shape) == 3
        kind = "light" if light else "resmlp"
        why = f"for images on {self.device}" if light else "for points"
        self._set("generator", kind, why)
        self._set("potential", kind, why)
        width = 128 if not light else 16 if self.on_cpu else 64
        for network, name in (("generator", "width"), ("potential", "potential_width")):
            self._set(name, width, f"for a {network} on {self.device}")
        latent = 0 if self.config.generator.generator == "light" else 32
        self._set("latent_dim", latent, "x is random enough" if not latent else "for random maps")

    def _objective(self) -> None:
        self._set("source", "fitted", "weights of examples must not depend on their norm")
        chosen = self.config.objective
        if chosen.wgan_gp_weight or chosen.optimality_weight or chosen.source_gradient_weight:
            self._set("r1_gamma", 0.0, "another penalty is chosen")
        if {"tau", "r1_gamma"} & self.left:
            distance = squared_distance(
                self.dataset,
                _source_shape(self.config, self.dataset.shape),
                self.config.data.source,
            )
            about = f"W₂² from the source to the data is about {distance:.4g}"
            self._set("tau", _rounded(TRANSPORT / distance), about)
            self._set("r1_gamma", _rounded(R1_SCALE * distance), about)
        quarter = self.config.data.batch_size >= 32 and self.config.objective.r1_gamma > 0
        self._set("r1_fraction", 0.25 if quarter else 1.0, "R1 costs as much as the rest")

    def _duration(self) -> None:
        """Choose the number of steps, and what is counted in steps."""
        budget = Duration.seconds(self.config.run.budget)
        if "max_steps" in self.left:
            trial = self._trial()
            started = time.perf_counter()
            self.seconds_per_step = measure_step(trial, self.dataset)
            spent = time.perf_counter() - started
            possible = _SHARE * (budget - 2 * spent) / self.seconds_per_step
            reason = f"{self.config.run.budget} at {1 / self.seconds_per_step:.3g} steps per second"
            if possible < _FEWEST_STEPS:
                reason = f"the least, which takes longer than {self.config.run.budget} here"
            steps = int(_rounded(max(possible, _FEWEST_STEPS), down=True))
            self._set("max_steps", self._whole(steps), reason)
        steps = self.config.run.max_steps
        each = self.seconds_per_step or budget / steps
        for name, seconds in (
            ("log_every", _LINE_SECONDS), ("checkpoint_every", _SAVE_SECONDS),
            ("sample_every", _SAVE_SECONDS),
        ):  # fmt: skip
            interval = self._whole(min(steps, int(_nice(seconds / each))))
            self._set(name, interval, f"about every {seconds:g} s")
        window = max(50.0, min(1000.0, 0.05 * steps))
        self._set("ema_decay", round(1 - 1 / window, 4), f"averages about {window:.0f} steps")
        self._set("lr_schedule", "cosine", "rates reach their minimum in the last step")
        smallest = min(self.config.optimization.generator_lr, self.config.optimization.potential_lr)
        self._set("lr_minimum", _rounded(0.05 * smallest), "a twentieth of the initial rate")
        self._set("lr_period", "step", "counts steps")
        self._set("lr_periods", steps, "the whole training")

    def _whole(self, steps: int) -> int:
        """Return a number of steps that --steps_per_execution divides."""
        many = self.config.devices.steps_per_execution
        return max(many, steps // many * many)

    def _trial(self) -> TrainConfig:
        """Return a complete configuration whose steps take as long as those of the final one.

        Raises:
            InputError: Given flags exclude each other; better now than after the measurement.
        """
        plain = updated(TrainConfig(), lr_minimum=0.0)
        trial = updated(completed(self.config, plain), steps_per_execution=1)
        trial.check()
        return trial


def squared_distance(
    dataset: Dataset, source_shape: tuple[int, ...], source: str, seed: int = 0
) -> float:
    """Estimate W₂²(μ, ν) by an exact plan between samples of the source and of the data.

    With few samples in many dimensions this overestimates W₂²; it is the scale of the cost
    that a batch sees.

    Args:
        dataset: The data.
        source_shape: The shape of one x.
        source: `"gaussian"` or `"fitted"`.
        seed: Seed for the samples. Defaults to 0.

    Raises:
        InputError: If the data are not finite, or all the same.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    count = min(len(dataset), _POINTS)
    rng = np.random.default_rng(seed)
    examples = dataset.take(np.sort(rng.choice(len(dataset), count, replace=False)))
    fitted = FittedSource(source_shape, dataset.shape)
    fitted.adapt(dataset)
    noise = rng.standard_normal((count, *source_shape)).astype("float32")
    points = ops.convert_to_tensor(noise) if source == "gaussian" else fitted(noise)
    if source_shape != dataset.shape:
        points = enlarge_bicubic(points, (dataset.shape[0], dataset.shape[1]))
    flat = ops.convert_to_numpy(points).reshape(count, -1), examples.reshape(count, -1)
    costs = cdist(*flat, "sqeuclidean")
    return float(costs[linear_sum_assignment(costs)].mean())


def measure_step(config: TrainConfig, dataset: Dataset) -> float:
    """Return the seconds that a training step takes, by running some on a model of its own."""
    model = build_model(config, dataset.shape, 1, _num_classes(config, dataset))
    timer = _Timer()
    model.fit(
        dataset, batch_size=config.data.batch_size, epochs=10_000, verbose=0, callbacks=[timer]
    )
    return timer.seconds


def _num_classes(config: TrainConfig, dataset: Dataset) -> int | None:
    if not config.data.conditional:
        return None
    required_labels(dataset)
    return dataset.num_classes


class _Timer(keras.callbacks.Callback):
    """Times steps after the first ones, and ends training when enough have been seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self._times = 0.0, [0.0]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        backend.sync(self.model)
        self._times.append(time.perf_counter())
        timed = self._times[1 + _WARM_STEPS :]
        if len(timed) > _FEWEST_TIMED and timed[-1] - timed[0] > _TIMED_SECONDS:
            self.seconds = float(np.median(np.diff(timed)))
            self.model.stop_training = True


def _source_shape(config: TrainConfig, shape: tuple[int, ...]) -> tuple[int, ...]:
    small = config.generator.generator in ("light", "small")
    return (8, 8, shape[-1]) if small else shape


def _rounded(value: float, down: bool = False) -> float:
    """Round to two significant digits."""
    digits = 1 - math.floor(math.log10(value))
    scaled = value * 10.0**digits
    return (math.floor(scaled) if down else round(scaled)) / 10.0**digits


def _nice(value: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, 50, … that is not above `value`; at least 1."""
    if value < 1:
        return 1
    power = 10.0 ** math.floor(math.log10(value))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= value)
