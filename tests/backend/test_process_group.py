"""What a process group does with values and errors; its processes are threads here."""

import threading

import numpy as np
import pytest

from uotm_keras.backend.process_group import ProcessGroup, ProcessLost
from uotm_keras.utils.errors import InputError


class Engine:
    """Gathers the arrays of threads."""

    def __init__(self, processes: int):
        self.arrays = [None] * processes
        self.barrier = threading.Barrier(processes, timeout=20)

    def gather(self, process: int, array: np.ndarray) -> np.ndarray:
        self.arrays[process] = array
        self.barrier.wait()
        stacked = np.stack(self.arrays)
        self.barrier.wait()
        return stacked


class ThreadGroup(ProcessGroup):
    closed = False

    def __init__(self, engine: Engine, process: int):
        self._engine, self.process, self.processes = engine, process, len(engine.arrays)

    def _all_gather_array(self, array):
        return self._engine.gather(self.process, array)

    def is_loss(self, error):
        return isinstance(error, (ConnectionError, threading.BrokenBarrierError))

    def close(self):
        self.barrier()
        self.closed = True


def together(processes: int, work) -> list:
    """What `work` returns or raises in each process."""
    engine = Engine(processes)
    results = [None] * processes

    def run(process):
        try:
            with ThreadGroup(engine, process) as group:
                results[process] = work(group)
        except Exception as error:
            results[process] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


def test_values_of_all_processes_in_order():
    def work(group):
        everyone = group.all_gather({"text": "ä" * group.process, "n": group.process})
        flags = [group.any(group.process == 2), group.any(False)]
        return [(value["n"], value["text"]) for value in everyone], flags

    assert together(3, work) == [([(0, ""), (1, "ä"), (2, "ää")], [True, False])] * 3


def test_one_process_waits_for_none():
    with ProcessGroup() as group:
        assert group.all_gather(5) == [5] and group.any(True) and not group.any(False)
        group.barrier()
        with pytest.raises(InputError, match="wrong"), group.shared_errors(InputError):
            raise InputError("wrong")


def test_an_error_of_one_is_raised_in_all_and_the_group_closes():
    groups = []

    def work(group):
        groups.append(group)
        with group.shared_errors(InputError, KeyError):
            if group.process == 1:
                raise InputError("a full disk")

    errors = together(3, work)
    assert [type(error) for error in errors] == [InputError] * 3
    assert {str(error) for error in errors} == {"a full disk"}
    assert all(group.closed for group in groups)


def test_other_errors_are_not_shared():
    def work(group):
        with group.shared_errors(InputError):
            if group.process == 1:
                group._engine.barrier.abort()
                raise TypeError("a bug")

    survivor, failed = together(2, work)
    assert type(failed) is TypeError and type(survivor) is ProcessLost


def test_an_error_of_the_engine_is_a_lost_process(monkeypatch):
    monkeypatch.setattr("uotm_keras.backend.process_group._GRACE", 0.0)

    def work(group):
        raise ConnectionError("connection reset\nby the peer")

    for error in together(2, work):
        assert type(error) is ProcessLost
        assert "another process of the group has ended" in str(error)
        assert str(error).endswith("(connection reset)")
