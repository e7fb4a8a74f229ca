"""The training loop: signals, the first line of progress, agreement, advice."""

import math
import os
import signal
import threading

import pytest

from uotm_keras.backend.process_group import ProcessGroup
from uotm_keras.training.loop import Intervals, NonFiniteLoss, _Agreement, _Recorder
from uotm_keras.training.output import Output, _Clock
from uotm_keras.training.stop_signals import stop_signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_ask_to_stop_and_then_have_their_usual_effect(name):
    number = getattr(signal, name)
    received = []
    old = signal.signal(number, lambda number, frame: received.append(number))
    try:
        with stop_signals() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), number)
            assert stop.is_set() and received == []
            os.kill(os.getpid(), number)
            assert received == [number]
        os.kill(os.getpid(), number)
        assert received == [number, number]
    finally:
        signal.signal(number, old)


def test_nohup_is_respected():
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, old)


class Group:
    """Three processes, of which two are imitated."""

    processes = 3

    def __init__(self, *others):
        self.others, self.exchanges = others, 0

    def all_gather(self, value):
        self.exchanges += 1
        return [value, *self.others]


def test_processes_agree_at_once_where_steps_are_slow():
    event = threading.Event()
    agreement = _Agreement(Group([False, False, 0.0], [True, False, 2.0]), event)
    assert agreement.reach(False) == (True, False)
    agreement = _Agreement(group := Group([False, True, 2.0], [False, False, 0.0]), event)
    assert [agreement.reach(False) for _ in range(4)] == [(False, True)] * 4
    assert group.exchanges == 4


def test_processes_agree_rarely_where_steps_are_fast():
    event = threading.Event()
    event.set()
    agreement = _Agreement(group := Group([False, False, 0.0], [False, False, 0.0]), event)
    found = [agreement.reach(False)[0] for _ in range(21)]
    assert group.exchanges == 3 and [i for i, stop in enumerate(found) if stop] == [0, 10, 20]


def test_at_most_one_step_is_queued(monkeypatch):
    """So that a signal is answered within a step, though engines run ahead of Python."""
    waited, stop = [], threading.Event()
    monkeypatch.setattr("keras.ops.convert_to_numpy", waited.append)
    recorder = _Recorder(None, ProcessGroup(), stop, Intervals(100), 0)
    for batch in range(3):
        recorder.on_train_batch_end(batch, {"loss": f"of step {batch + 1}"})
        assert waited == [f"of step {i}" for i in range(1, batch + 1)]


def test_intervals():
    assert [step for step in range(1, 11) if Intervals(10, sample=4).samples_at(step)] == [4, 8, 10]
    assert [step for step in range(1, 11) if Intervals(10, sample=0).samples_at(step)] == [10]


class Log:
    seconds = 0.0


def output(losses: dict, start: int = 0, data_range=None) -> Output:
    class Checkpoints:
        def weights_path(self, step):
            return f"step_{step}"

    made = Output(
        None, Log(), Checkpoints(), None, start=start, log_every=5, batch_size=1,
        save_samples=None, scores=None, save_page=None, data_range=data_range,
    )  # fmt: skip
    made.begin(start + 1, losses)
    return made


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, 1e26, -2e6])
def test_a_loss_that_explodes_in_the_first_step_is_not_a_matter_of_the_rates(loss):
    losses = {"potential_loss": loss, "generator_loss": 1.0}
    message = str(output(losses, 0, lambda: (-2e4, 3e4))._diverged(5, "it"))
    assert f"the potential's loss was {loss:.3g} in the first step already" in message
    assert "scale the data, which are in [-2e+04, 3e+04], to about [-1, 1]" in message
    assert "try lower" not in message
    message = str(output(losses, 0, lambda: (-1.0, 1.0))._diverged(5, "it"))
    assert "scale the data" not in message and "choose a --potential" in message


@pytest.mark.parametrize(
    "start, losses",
    [
        (0, {"potential_loss": 5.0}),
        (0, {"potential_loss": 5.0, "generator_loss": math.nan}),  # after the first update
        (3, {"potential_loss": math.nan}),
        (0, {}),
    ],
)
def test_later_divergence_may_be(start, losses):
    message = str(output(losses, start)._diverged(5, "it"))
    assert "try lower learning rates" in message and "first step" not in message


def test_the_clock_leaves_pauses_out(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    clock = _Clock(0, earlier=7.0)
    now = 102.0
    with clock.paused():
        now = 112.0
    assert clock.since_restart() == 2.0 and clock.rate(8) == 4.0
    assert clock.seconds() == 19.0


def test_the_error_can_be_shared():
    """`ProcessGroup.shared_errors` makes it again from its message."""
    assert str(NonFiniteLoss("why")) == "why"
