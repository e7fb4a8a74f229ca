"""A process group: the processes that train one model together, and the values they exchange."""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np

from uotm_keras.backend.cluster import Cluster
from uotm_keras.utils.errors import InputError

Json = Any
"""What `json` can write: None, bool, int, float, str, and lists and dicts of these."""

_GRACE = 3.0
"""Seconds that the first process, which hosts the engine's coordinator, outlives a failure."""


class ProcessLost(RuntimeError):
    """Another process of the group has ended or cannot be reached."""


class ProcessGroup:
    """A process group of one process; the backends subclass it.

    Every method but `is_loss` is a collective: all processes must call it, in the same order.
    As a context manager, the group closes on exit and raises `ProcessLost` in place of the
    errors by which the engine reports that another process is gone.

    Attributes:
        process: Index of this process (int, from 0).
        processes: Number of processes (int).
    """

    process: int = 0
    processes: int = 1
    _agreed = False

    def all_gather(self, value: Json = None) -> list[Json]:
        """Return the JSON values of all processes, ordered by process index."""
        if self.processes == 1:
            return [value]
        message = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
        lengths = self._all_gather_array(np.array([message.size], np.int32))[:, 0]
        # JAX compiles once per size, so sizes are powers of two.
        padded = np.zeros(1 << int(lengths.max() - 1).bit_length(), np.int32)
        padded[: message.size] = message
        rows = self._all_gather_array(padded).astype(np.uint8)
        return [
            json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)
        ]

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return any(self.all_gather(flag))

    def barrier(self) -> None:
        """Wait until all processes have called this method."""
        self.all_gather()

    @contextlib.contextmanager
    def shared_errors(self, *kinds: type[Exception]) -> Iterator[None]:
        """Raise an error of one process in all processes, at the end of the block.

        The block must not contain a collective that only some processes reach after an error.

        Args:
            *kinds: The exceptions to share, each built from its message alone.

        Raises:
            Exception: The process's own error, or else that of the first process that has one.
        """
        if self.processes == 1:
            yield
            return
        own = None
        try:
            yield
        except kinds as error:
            own = error
        failures = self.all_gather(None if own is None else [type(own).__name__, str(own)])
        if any(failures):
            self._agreed = True
        if own is not None:
            raise own
        for name, message in filter(None, failures):
            raise next(kind for kind in kinds if kind.__name__ == name)(message)

    def close(self) -> None:
        """Wait for all processes, then leave the group."""

    def is_loss(self, error: BaseException) -> bool:
        """Return whether this error of the engine means that another process is gone."""
        return False

    def _all_gather_array(self, array: np.ndarray) -> np.ndarray:
        """Stack the int32 vectors of all processes, which have the same size."""
        raise NotImplementedError

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None or self._agreed:
                self.close()
                return
        except Exception as closing:
            error = closing
        if self.processes > 1 and isinstance(error, Exception) and self.is_loss(error):
            if self.process == 0:
                # The coordinator ends with this process, and would abort the others before
                # they can report the loss themselves.
                time.sleep(_GRACE)
            raise ProcessLost(
                f"another process of the group has ended or cannot be reached ({_reason(error)})"
            ) from error
        if error is not None and kind is None:
            raise error


def _reason(error: Exception) -> str:
    """Return the most telling line of an engine's message, which may have many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "ollective" in line or "Error" in line]
    return (telling or lines or [type(error).__name__])[0]


@contextlib.contextmanager
def rendezvous(cluster: Cluster, seconds: float, *failures: type[Exception]) -> Iterator[None]:
    """Bound the time in which the engine forms the process group.

    The engines wait in native code, some without a limit of their own, so a timer ends this
    process with one sentence and exit code 2.

    Args:
        cluster: The processes of the job.
        seconds: Seconds to wait.
        *failures: Errors by which the engine reports that the group cannot form.

    Raises:
        InputError: The engine reported a failure.
    """
    others = [cluster.name(p) for p in range(cluster.processes) if p != cluster.process]
    missing = others[0] if len(others) == 1 else f"the other {len(others)} processes"
    advice = f"start all {cluster.processes} processes, or increase --worker_timeout."

    def give_up() -> None:
        sys.stdout.flush()
        sys.stderr.write(
            f"error: process {cluster.process} could not form a process group with {missing} "
            f"within {seconds:g} seconds: {advice}\n"
        )
        sys.stderr.flush()
        os._exit(2)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except failures as error:
        raise InputError(
            f"process {cluster.process} could not form a process group with {missing} "
            f"({_reason(error)}): {advice}"
        ) from None
    finally:
        timer.cancel()
