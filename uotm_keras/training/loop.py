"""The training loop of a run: `fit` from its latest step to the end, and what it writes."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from uotm_keras import backend
from uotm_keras.backend.process_group import ProcessGroup
from uotm_keras.models.uotm import UOTM
from uotm_keras.training.checkpoints import Checkpoints
from uotm_keras.training.display import Display
from uotm_keras.training.metrics_log import MetricsLog
from uotm_keras.training.output import NonFiniteLoss, Output
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.training.scoring import ScoreGenerator
from uotm_keras.training.stop_signals import stop_signals
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

__all__ = ["Intervals", "NonFiniteLoss", "train"]

_FIRST_LINE_SECONDS = 20.0
"""Seconds after the first step until a line of progress is shown, if none is due before."""
_AGREEMENT_SECONDS = 1.0
"""Seconds between two exchanges of a process group, so that they cost little."""
_MAX_CALLS = 10
"""Maximum number of training calls between two exchanges of a process group."""


@dataclasses.dataclass(frozen=True)
class Intervals:
    """When a run ends, and the intervals at which it writes, in steps.

    The intervals need not divide each other.

    Attributes:
        max_steps: The step at which training ends.
        log: Interval of the log; the last step is logged too.
        checkpoint: Interval of the checkpoints; the last step has one too.
        sample: Interval of the sample grids; the last step has one too. 0 means only there.
        score: Interval of the scores; the last step is scored too. 0 means never.
    """

    max_steps: int
    log: int = 100
    checkpoint: int = 1000
    sample: int = 1000
    score: int = 0

    def samples_at(self, step: int) -> bool:
        """Return whether a sample grid is due at `step`."""
        return step == self.max_steps or (self.sample > 0 and step % self.sample == 0)


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
    data_range: Callable[[], tuple[float, float]] | None = None,
    group: ProcessGroup | None = None,
) -> int:
    """Train from step `start` to `intervals.max_steps`.

    The results do not depend on whether and where the run was interrupted.

    Args:
        model: A compiled model in its state of step `start`.
        batches: What `fit` accepts, beginning with the batch of step `start`.
        directory: The run's directory, which gets the log and the checkpoints.
        intervals: When to write what.
        start: The step of the model's state.
        batch_size: Examples per step, from which the images per second are computed.
        save_samples: A function of (model, step) that writes the sample grid.
        scores: The callback that scores the model at the steps of `intervals`. Defaults to
            `None`.
        save_page: A function of (model, step) that writes the run's page, before each
            checkpoint. Defaults to `None`.
        data_range: A function that returns the least and the greatest value of the data, for
            the advice when training diverges. Defaults to `None`.
        group: The process group, of which only the first process writes. Defaults to `None`,
            a single process.

    Returns:
        The step reached. It is below `max_steps` if a signal (Ctrl-C, SIGTERM, SIGHUP) stopped
        the run, which then has a checkpoint of that step.

    Raises:
        NonFiniteLoss: If a loss or a weight became NaN or infinite.
        InputError: If a file cannot be written.
    """
    group = ProcessGroup() if group is None else group
    with contextlib.ExitStack() as stack:
        output = None
        with group.shared_errors(InputError):
            if group.process == 0:
                log = MetricsLog(directory.metrics, directory.tensorboard, start)
                output = Output(
                    model,
                    stack.enter_context(contextlib.closing(log)),
                    Checkpoints(directory.checkpoints),
                    stack.enter_context(Display(start, intervals.max_steps)),
                    start=start,
                    log_every=intervals.log,
                    batch_size=batch_size,
                    save_samples=save_samples,
                    scores=scores,
                    save_page=save_page,
                    data_range=data_range,
                )
        stop = stack.enter_context(stop_signals())
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
    """Keras's list without its conversion of the losses to numbers, a wait at each step."""

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        pass

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class _Recorder(keras.callbacks.Callback):
    """Lets the first process write the log, the checkpoints and the samples when they are due."""

    def __init__(
        self,
        output: Output | None,
        group: ProcessGroup,
        stop: threading.Event,
        intervals: Intervals,
        start: int,
    ) -> None:
        super().__init__()
        self.step = self._start = start
        self._output, self._intervals = output, intervals
        self._agreement = _Agreement(group, stop)
        self._group = group
        self._before: Tensor | None = None
        self._sums: list[tuple[keras.Variable, np.ndarray]] = []

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        # `fit` resets the running means, but a checkpoint may have saved an unfinished interval.
        self._sums = [(v, np.array(v)) for v in self._tracker_variables()]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        for variable, value in self._sums:
            variable.assign(value)

    def _tracker_variables(self) -> list[keras.Variable]:
        return [v for tracker in self.model.trackers.values() for v in tracker.variables]

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        losses = dict(logs or {})
        first = self.step == self._start
        self.step = self._start + batch + 1  # Keras may have run several steps.
        if first and self._output:
            self._output.begin(self.step, losses)
        self._wait_for_previous_step(losses)
        step, intervals = self.step, self._intervals
        waiting = self._output is not None and self._output.first_line_is_late(_FIRST_LINE_SECONDS)
        stop, show = self._agreement.reach(waiting)
        end = step == intervals.max_steps
        logged = step % intervals.log == 0
        sampled = intervals.samples_at(step)
        saved = end or stop or step % intervals.checkpoint == 0
        scored = intervals.score > 0 and (end or step % intervals.score == 0)
        if logged or sampled or saved or scored:
            self._write(logged, sampled, saved, scored, logged or end or scored)
        elif show:
            backend.sync(self.model)
            if self._output:
                self._output.show(step)
        if stop:
            self.model.stop_training = True

    def _wait_for_previous_step(self, losses: Mapping[str, Tensor]) -> None:
        """Keep at most one step queued in the engine, so that a signal is answered soon."""
        if self._before is not None:
            keras.ops.convert_to_numpy(self._before)
        self._before = losses.get("loss")

    def _write(self, logged: bool, sampled: bool, saved: bool, scored: bool, line: bool) -> None:
        backend.sync(self.model)
        # The other processes wait here, because the collectives of a training step have shorter
        # timeouts. Assigning a variable is a collective under JAX, so it is outside the blocks.
        with self._group.shared_errors(InputError, NonFiniteLoss):
            if self._output:
                with backend.distribution.alone():
                    means = self._output.finite_means(self.step)
                    if line:
                        self._output.write_line(self.step, means, scored)
        if logged:
            for variable in self._tracker_variables():
                variable.assign(np.zeros(variable.shape, variable.dtype))
        if saved or sampled:
            with self._group.shared_errors(InputError, NonFiniteLoss):
                if self._output:
                    with backend.distribution.alone():
                        self._output.save(self.step, saved, sampled)


class _Agreement:
    """What the processes of a group decide together, because all must act at the same step."""

    def __init__(self, group: ProcessGroup, stop: threading.Event) -> None:
        self._group, self._stop = group, stop
        self._since, self._due = 0, 1  # Training calls since the last exchange, and to the next.
        self._last = time.monotonic()

    def reach(self, waiting: bool) -> tuple[bool, bool]:
        """Return whether to stop, and whether to show a line of progress.

        Args:
            waiting: Whether this process wants to show a line.
        """
        if self._group.processes == 1:
            return self._stop.is_set(), waiting
        self._since += 1
        if self._since < self._due:
            return False, False
        now = time.monotonic()
        seconds_per_call = (now - self._last) / self._since
        found = self._group.all_gather([self._stop.is_set(), waiting, seconds_per_call])
        # The same number in all processes, from the slowest one.
        slowest = max(max(entry[2] for entry in found), 1e-9)
        self._due = min(max(int(_AGREEMENT_SECONDS / slowest), 1), _MAX_CALLS)
        self._since, self._last = 0, time.monotonic()
        return any(entry[0] for entry in found), any(entry[1] for entry in found)
