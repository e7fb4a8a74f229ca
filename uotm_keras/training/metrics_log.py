"""Log the metrics of a run to `metrics.jsonl` and to TensorBoard."""

import json
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uotm_keras.utils.errors import InputError

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

_MAX_STEP = 2**53


class MetricsLog:
    """Append one JSON object per log interval, each step once however often a run resumes.

    Args:
        path: The path of `metrics.jsonl`. An incomplete last line, left by a crash, is
            removed.
        tensorboard: The folder of TensorBoard's event files.
        start: The step from which training starts or resumes.

    Attributes:
        seconds: Seconds of training up to the last line at or before `start`.

    Raises:
        InputError: If the file cannot be written or is not a log.
    """

    def __init__(self, path: Path, tensorboard: Path, start: int) -> None:
        self.path = path
        try:
            lines = _read_repaired(path)
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 closed by close()
            self._writer = _event_writer(tensorboard)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}.") from None
        self._steps = {line["step"] for line in lines}
        before = [line.get("seconds", 0.0) for line in lines if line["step"] <= start]
        self.seconds = float(before[-1]) if before else 0.0

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the line of `step`, unless the log already has it."""
        if step in self._steps:
            return
        try:
            # TensorBoard first: a process that is killed in between writes both again.
            self._write_events(step, values)
            # One write per line, so that a crash can only truncate the last one.
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}.") from None
        self._steps.add(step)

    def _write_events(self, step: int, values: Mapping[str, float]) -> None:
        import time

        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=scalars))
        self._writer.add_event(event)
        self._writer.flush()

    def sync(self) -> None:
        """Flush the lines to disk before a checkpoint that continues after them."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}.") from None

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._writer.close()


def _read_repaired(path: Path) -> list[dict[str, Any]]:
    """Return the lines of the log, after cutting off an incomplete last line."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    return read_log(path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl` in the order of their steps.

    The file is not changed, because another process may be writing it; an incomplete last
    line is ignored. A missing file has no lines.

    Raises:
        InputError: If the file cannot be read or is not a log.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None
    lines = []
    for number, text in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            line = json.loads(text)
            step = line["step"]
            if type(step) is not int or not 0 <= step <= _MAX_STEP:
                raise ValueError
            if not all(type(value) in (int, float) for value in line.values()):
                raise ValueError
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InputError(
                f"{path} line {number} is not a JSON object of numbers with an integer step: "
                "repair or remove the line."
            ) from None
        lines.append(line)
    return sorted(lines, key=lambda line: line["step"])


def _event_writer(folder: Path) -> "EventFileWriter":
    # If a module of this name exists, TensorBoard does not import all of TensorFlow.
    sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    return EventFileWriter(str(folder))
