"""One run: `fit` from where it stands to its end, with everything it writes."""

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import psutil

from uotm_keras import backend
from uotm_keras.backend.process_group import ProcessGroup
from uotm_keras.models.uotm import UOTM
from uotm_keras.training.checkpoints import Checkpoints, NotFinite, require_finite
from uotm_keras.training.display import Display
from uotm_keras.training.metrics_log import MetricsLog
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.training.scoring import ScoreGenerator
from uotm_keras.utils.errors import InputError


@dataclasses.dataclass(frozen=True)
class Intervals:
    """When a run ends, and the steps between what it writes; they need not divide.

    Attributes:
        max_steps: the step at which training ends.
        log, checkpoint: every so many steps, and at the end.
        sample: every so many steps, and at the end; 0 only at the end.
        score: every so many steps, and at the end; 0 never.
    """

    max_steps: int
    log: int = 100
    checkpoint: int = 1000
    sample: int = 1000
    score: int = 0


_CALLS_PER_STOP_CHECK = 10
"""Training calls between two checks of a process group for a signal in any of its processes."""


class NonFiniteLoss(RuntimeError):
    """Training diverged; the message says where, and what to try."""


def train(
    model: UOTM,
    batches: object,
    directory: RunDirectory,
    intervals: Intervals,
    *,
    start: int,
    batch_size: int,
    save_samples: Callable[[UOTM, int], None],
    scores: ScoreGenerator | None = None,
    save_page: Callable[[UOTM, int], None] | None = None,
    group: ProcessGroup | None = None,
) -> int:
    """Trains from step `start` to `intervals.max_steps`.

    The numbers that come out do not depend on where the run was stopped between.

    Args:
        model: compiled; in the state of step `start`.
        batches: what `fit` takes, from the batch of step `start` on.
        directory: where the log and the checkpoints go.
        intervals: when.
        start: the step of the model's state.
        batch_size: for the images per second.
        save_samples: writes the picture of (model, step).
        scores: scores the model, where `intervals` say when.
        save_page: writes the page of (model, step), after each checkpoint and its picture.
        group: The process group (`ProcessGroup`), of which only the first process writes.
            Defaults to a single process.

    Returns:
        The step reached: less than `max_steps` if a signal (Ctrl-C, SIGTERM) stopped the
        run, which then has a checkpoint of that step.

    Raises:
        NonFiniteLoss: a loss or a weight became NaN or infinite.
        InputError: something cannot be written.
    """
    group = ProcessGroup() if group is None else group
    with contextlib.ExitStack() as stack:
        output = None
        with group.shared_errors(InputError):
            if group.process == 0:
                log = MetricsLog(directory.metrics, directory.tensorboard, start)
                output = _Output(
                    stack.enter_context(contextlib.closing(log)),
                    Checkpoints(directory.checkpoints),
                    stack.enter_context(Display(start, intervals.max_steps)),
                    batch_size, save_samples, scores, save_page,
                )  # fmt: skip
        stop = stack.enter_context(_stop_signals())
        recorder = _Recorder(output, group, stop, intervals, start)
        model.fit(
            batches,
            steps_per_epoch=intervals.max_steps - start,
            epochs=1,
            shuffle=False,
            verbose=0,
            callbacks=_Callbacks([recorder], add_history=True, model=model),
        )
    return recorder.step


class _Callbacks(keras.callbacks.CallbackList):
    """Keras's list without its conversion of the losses to numbers, a wait each step."""

    def on_train_batch_begin(self, batch, logs=None):
        pass

    def on_train_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class _Recorder(keras.callbacks.Callback):
    """Has the first process write the log, the checkpoints and the samples when they are due."""

    def __init__(
        self,
        output: "_Output | None",
        group: ProcessGroup,
        stop: threading.Event,
        intervals: Intervals,
        start: int,
    ):
        super().__init__()
        self.step = self._start = start
        self._output, self._group, self._stop = output, group, stop
        self._intervals = intervals
        self._calls = 0
        if output:
            output.begin(start, intervals)

    def on_train_begin(self, logs=None):
        # `fit` resets the trackers, but those of a checkpoint belong to an interval begun.
        self._sums = [(v, np.array(v)) for v in self._tracker_variables()]

    def on_epoch_begin(self, epoch, logs=None):
        for variable, value in self._sums:
            variable.assign(value)

    def _tracker_variables(self) -> list:
        return [v for tracker in self.model.trackers.values() for v in tracker.variables]

    def on_train_batch_end(self, batch, logs=None):
        first = self._calls == 0
        self.step = self._start + batch + 1  # Keras may have run several
        intervals, stop = self._intervals, self._asked_to_stop()
        end = self.step == intervals.max_steps
        logged = self.step % intervals.log == 0
        sampled = end or (intervals.sample > 0 and self.step % intervals.sample == 0)
        saved = end or stop or self.step % intervals.checkpoint == 0
        scored = intervals.score > 0 and (end or self.step % intervals.score == 0)
        if not (logged or sampled or saved or scored):
            if first and self._output:
                self._output.clock.restart(self.step)
            return
        backend.sync(self.model)
        # The others wait here, as a training step's collectives have shorter timeouts. Assigning
        # a variable is a collective under JAX, so it stays outside the blocks.
        with self._group.shared_errors(InputError, NonFiniteLoss):
            if self._output:
                self._output.model = self.model
                with backend.distribution.alone():
                    means = self._output.finite_means(self.step)
                    if logged or end or scored:
                        self._output.write_line(self.step, means, scored)
        if logged:
            for variable in self._tracker_variables():
                variable.assign(np.zeros(variable.shape, variable.dtype))
        if saved or sampled:
            with self._group.shared_errors(InputError, NonFiniteLoss):
                if self._output:
                    with backend.distribution.alone():
                        self._output.save(self.step, saved, sampled)
        self.model.stop_training = stop

    def _asked_to_stop(self) -> bool:
        self._calls += 1
        if self._group.processes == 1:
            return self._stop.is_set()
        # All processes must stop at the same step.
        due = self._calls % _CALLS_PER_STOP_CHECK == 0
        return due and self._group.any(self._stop.is_set())


class _Output:
    """What a run writes and shows."""

    model: UOTM

    def __init__(
        self,
        log: MetricsLog,
        checkpoints: Checkpoints,
        display: Display,
        batch_size: int,
        save_samples: Callable[[UOTM, int], None],
        scores: ScoreGenerator | None,
        save_page: Callable[[UOTM, int], None] | None,
    ):
        self._log, self._checkpoints, self._display = log, checkpoints, display
        self._batch_size, self._save_samples = batch_size, save_samples
        self._scores, self._save_page = scores, save_page
        self._process = psutil.Process()

    def begin(self, start: int, intervals: Intervals) -> None:
        self._last_checkpoint, self._log_every = start, intervals.log
        self.clock = _Clock(start, self._log.seconds)

    def finite_means(self, step: int) -> dict[str, float]:
        means = {name: float(t.result()) for name, t in self.model.trackers.items()}
        wrong = [name for name, value in means.items() if not math.isfinite(value)]
        if wrong:
            raise self._diverged(step, f"{' and '.join(wrong)} became NaN or infinite")
        return means

    def save(self, step: int, saved: bool, sampled: bool) -> None:
        """The checkpoint and the picture of a step, where they are due."""
        with self.clock.paused():
            # After the line, so that a run which goes on from here need not write it.
            if saved:
                self._save_checkpoint(step)
            if sampled:
                self._save_samples(self.model, step)
            if saved and self._save_page is not None:
                self._save_page(self.model, step)

    def _save_checkpoint(self, step: int) -> None:
        self._log.sync()
        try:
            self._checkpoints.save(self.model, step)
        except NotFinite as error:
            raise self._diverged(step, str(error)) from None
        self._last_checkpoint = step

    def _score(self, step: int) -> dict[str, float]:
        with self.clock.paused():
            try:
                require_finite(self.model)
                values = self._scores.score(self.model, step)
            except NotFinite as error:
                raise self._diverged(step, str(error)) from None
        self._display.scored(step, values, self._scores.best)
        return {**values, "score_samples": self._scores.num_samples}

    def _diverged(self, step: int, what: str) -> NonFiniteLoss:
        last = self._last_checkpoint
        where = f"the last good checkpoint is {self._checkpoints.weights_path(last)}"
        if not last:
            where = "there is no checkpoint before it"
        return NonFiniteLoss(
            f"training stopped at step {step}: {what} within the last "
            f"{self._log_every} steps; {where}; try lower learning rates, a larger "
            "--r1_gamma, or a divergence that grows more slowly (softplus)."
        )

    def write_line(self, step: int, means: dict[str, float], scored: bool) -> None:
        """The line of a step, with its scores where they are due."""
        model = self.model
        rate = self.clock.rate(step)
        scores = self._score(step) if scored else {}
        values = {
            **means,
            "generator_lr": _number(model.generator_optimizer.learning_rate),
            "potential_lr": _number(model.potential_optimizer.learning_rate),
            "ema_decay": model.ema_decay,
            "steps_per_second": rate,
            "images_per_second": rate * self._batch_size,
            "memory_mb": self._process.memory_info().rss / 2**20,
            "seconds": self.clock.seconds(),
        }
        if model.divergence_schedule is not None:
            values["alpha"] = _number(model.divergence_schedule(step))
        self._log.write(step, values | scores)
        self._display.update(step, values)


class _Clock:
    """Steps per second between two lines, and seconds of training."""

    def __init__(self, step: int, earlier: float):
        self._begin = time.perf_counter()
        self._earlier = earlier
        self.restart(step)

    def restart(self, step: int) -> None:
        """Counts from here, as after the first step, which compiles."""
        self._since, self._step = time.perf_counter(), step

    def rate(self, step: int) -> float:
        """Steps per second since the last call."""
        rate = (step - self._step) / max(time.perf_counter() - self._since, 1e-9)
        self.restart(step)
        return rate

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here does not count for the rate."""
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin

    def seconds(self) -> float:
        """Seconds of training, those of earlier processes included."""
        return self._earlier + time.perf_counter() - self._begin


def _number(value) -> float:
    return float(keras.ops.convert_to_numpy(value))


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(number, frame):
        stop.set()
        signal.signal(number, old[number])

    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in old:
        signal.signal(number, handler)
    try:
        yield stop
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)
