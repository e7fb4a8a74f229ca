"""The numbers of a run: `metrics.jsonl`, and the same for TensorBoard."""

import json
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path

from uotm_keras.utils.errors import InputError


class MetricsLog:
    """Appends one JSON object a log interval, each step once however often a run resumes.

    Args:
        path: `metrics.jsonl`. A last line torn by a crash is removed.
        tensorboard: the folder of TensorBoard's event files.
        start: the step from which the run goes on.

    Raises:
        InputError: the file cannot be written, or is not such a log.
    """

    def __init__(self, path: Path, tensorboard: Path, start: int):
        self.path = path
        try:
            lines = _read_repaired(path)
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 closed by close()
            self._writer = _event_writer(tensorboard)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}.") from None
        self._steps = {line["step"] for line in lines}
        before = [line.get("seconds", 0.0) for line in lines if line["step"] <= start]
        self.seconds = before[-1] if before else 0.0
        """Seconds of training up to the last line before `start`."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the line of `step` unless it is there."""
        if step in self._steps:
            return
        try:
            # One write a line, so that a crash tears at most the last.
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
            self._write_events(step, values)
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
        """Has the lines on disk before a checkpoint that goes on after them."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}.") from None

    def close(self) -> None:
        self._file.close()
        self._writer.close()


def _read_repaired(path: Path) -> list[dict]:
    """The lines of the log; what follows the last line's end is cut off."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    return read_log(path)


def read_log(path: Path) -> list[dict]:
    """The lines of `metrics.jsonl` by step; none if it is not there.

    Nothing is repaired: another process may be writing. A last line without its end, which
    it has not finished, is left out.

    Raises:
        InputError: the file cannot be read, or is no such log.
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
            lines.append({**line, "step": int(line["step"])})
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{path} line {number} is not a JSON object with a step: repair or remove it."
            ) from None
    return sorted(lines, key=lambda line: line["step"])


def _event_writer(folder: Path):
    # TensorBoard would import all of TensorFlow unless a module of this name exists.
    sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    return EventFileWriter(str(folder))
