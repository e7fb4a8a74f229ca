"""What a run writes and shows: lines of the log, scores, sample grids, its page, checkpoints."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping

import keras
import psutil

from uotm_keras.models.uotm import UOTM
from uotm_keras.training.checkpoints import Checkpoints, NotFinite, require_finite
from uotm_keras.training.display import Display
from uotm_keras.training.metrics_log import MetricsLog
from uotm_keras.training.scoring import ScoreGenerator
from uotm_keras.utils.typing import Tensor

_EXPLODED = 1e6
"""A loss of the first step above this is a fault of the scale, not of the learning rates."""

_NORMAL_DATA = 30.0
"""Greatest absolute value of data that need no advice on their scale."""


class NonFiniteLoss(RuntimeError):
    """Training diverged; the message says at which step, and what to try."""


class Output:
    """The files and the display of a run; see `loop.train` for the arguments."""

    def __init__(
        self,
        model: UOTM,
        log: MetricsLog,
        checkpoints: Checkpoints,
        display: Display,
        *,
        start: int,
        log_every: int,
        batch_size: int,
        save_samples: Callable[[UOTM, int], None],
        scores: ScoreGenerator | None,
        save_page: Callable[[UOTM, int], None] | None,
        data_range: Callable[[], tuple[float, float]] | None,
    ) -> None:
        self._uotm = model
        self._log, self._checkpoints, self._display = log, checkpoints, display
        self._batch_size, self._save_samples = batch_size, save_samples
        self._scores, self._save_page, self._data_range = scores, save_page, data_range
        self._start = self._last_checkpoint = start
        self._log_every = log_every
        self._first_loss: float | None = None
        self._shown = False
        self._process = psutil.Process()
        self._clock = _Clock(start, log.seconds)

    def begin(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Note the end of the first training call, which compiles."""
        # The generator's loss would come after an update of the potential.
        if "potential_loss" in losses:
            self._first_loss = _number(losses["potential_loss"])
        self._clock.restart(step)

    def first_line_is_late(self, seconds: float) -> bool:
        """Return whether no line has been shown so long after the first step."""
        return not self._shown and self._clock.since_restart() >= seconds

    def show(self, step: int) -> None:
        """Show the means so far, without writing a line of the log."""
        self._shown = True
        self._display.update(step, self._means() | self._rates(self._clock.rate(step)))

    def _means(self) -> dict[str, float]:
        return {name: float(t.result()) for name, t in self._uotm.trackers.items()}

    def finite_means(self, step: int) -> dict[str, float]:
        """Return the means of the current log interval.

        Raises:
            NonFiniteLoss: If one is NaN or infinite.
        """
        means = self._means()
        wrong = [name for name, value in means.items() if not math.isfinite(value)]
        if wrong:
            raise self._diverged(step, f"{' and '.join(wrong)} became NaN or infinite")
        return means

    def write_line(self, step: int, means: Mapping[str, float], scored: bool) -> None:
        """Write and show the line of a step, with its scores if they are due."""
        model = self._uotm
        rate = self._clock.rate(step)
        self._clock.restart(step)
        scores = self._score(step) if scored else {}
        values = {
            **means,
            "generator_lr": _number(model.generator_optimizer.learning_rate),
            "potential_lr": _number(model.potential_optimizer.learning_rate),
            "ema_decay": model.ema_decay,
            **self._rates(rate),
            "memory_mb": self._process.memory_info().rss / 2**20,
            "seconds": self._clock.seconds(),
        }
        if model.divergence_schedule is not None:
            values["alpha"] = _number(model.divergence_schedule(step))
        self._log.write(step, values | scores)
        self._shown = True
        self._display.update(step, values)

    def _rates(self, rate: float) -> dict[str, float]:
        return {"steps_per_second": rate, "images_per_second": rate * self._batch_size}

    def _score(self, step: int) -> dict[str, float]:
        assert self._scores is not None
        with self._clock.paused():
            try:
                require_finite(self._uotm)
                values = self._scores.score(self._uotm, step)
            except NotFinite as error:
                raise self._diverged(step, str(error)) from None
        self._display.scored(step, values, self._scores.best)
        return {**values, "score_samples": self._scores.num_samples}

    def save(self, step: int, saved: bool, sampled: bool) -> None:
        """Write the sample grid, and the page and the checkpoint of a step, if they are due.

        The checkpoint comes last: a run that is killed before repeats everything of this step.
        """
        with self._clock.paused():
            try:
                if saved:
                    require_finite(self._uotm)
                if sampled:
                    self._save_samples(self._uotm, step)
                if saved:
                    if self._save_page is not None:
                        self._save_page(self._uotm, step)
                    self._log.sync()
                    self._checkpoints.save(self._uotm, step)
                    self._last_checkpoint = step
            except NotFinite as error:
                raise self._diverged(step, str(error)) from None

    def _diverged(self, step: int, what: str) -> NonFiniteLoss:
        last = self._last_checkpoint
        where = f"the last good checkpoint is {self._checkpoints.weights_path(last)}"
        if not last:
            where = "there is no checkpoint before it"
        return NonFiniteLoss(
            f"training stopped at step {step}: {what} within the last "
            f"{self._log_every} steps; {where}; {self._advice()}"
        )

    def _advice(self) -> str:
        loss = self._first_loss
        if self._start or loss is None or abs(loss) <= _EXPLODED:
            return (
                "try lower learning rates, a larger --r1_gamma, or a divergence that grows more "
                "slowly (softplus)."
            )
        scale = ""
        if self._data_range is not None:
            low, high = self._data_range()
            if max(abs(low), abs(high)) > _NORMAL_DATA:
                scale = (
                    f"scale the data, which are in [{low:.3g}, {high:.3g}], to about [-1, 1], or "
                )
        return (
            f"the potential's loss was {loss:.3g} in the first step already, so lower learning "
            f"rates do not help: {scale}choose a --potential whose initial values are smaller, or "
            "a divergence that grows more slowly (softplus)."
        )


class _Clock:
    """Measures the steps per second between two lines, and the seconds of training."""

    def __init__(self, step: int, earlier: float) -> None:
        self._begin = time.perf_counter()
        self._earlier = earlier
        self.restart(step)

    def restart(self, step: int) -> None:
        """Begin an interval, after a line or after the first step, which compiles."""
        self._since, self._step = time.perf_counter(), step

    def since_restart(self) -> float:
        """Return the seconds of the current interval."""
        return time.perf_counter() - self._since

    def rate(self, step: int) -> float:
        """Return the steps per second of the current interval."""
        return (step - self._step) / max(self.since_restart(), 1e-9)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time in this context out of the rate."""
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin

    def seconds(self) -> float:
        """Return the seconds of training, including those of earlier processes."""
        return self._earlier + time.perf_counter() - self._begin


def _number(value: Tensor) -> float:
    return float(keras.ops.convert_to_numpy(value))
