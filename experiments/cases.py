"""Finished cases of an experiment, stored so that it can be resumed or shared by commands.

A case is one training run of one setting with one seed. Its result is a JSON file in
OUT/.cases/NAME, identified by the names of the case and by the flags that affect it. The same
command reads the file instead of training again. The file does not identify the code that wrote
it: use --fresh after a change of the code.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from uotm_keras import InputError
from uotm_keras.utils.files import local_path

NOT_OF_A_CASE = ("out", "seeds", "only_seeds", "fresh", "part", "variants")
"""Flags that do not change what a case computes; parts and variants are in its names."""


class Cases:
    """The cases of one experiment.

    Args:
        name: name of the experiment.
        out: path of the results folder, which is created if necessary.
        flags: value of every flag, as `uotm_keras.config.to_flags` returns them.

    Attributes:
        folder: folder of the stored cases.
        seeds: the seeds that this command runs.
        is_part: whether `--only_seeds` leaves seeds to other commands, so that this command
            writes no results.
        reused: number of cases that were already finished.

    Raises:
        InputError: `--only_seeds` contains a seed that `--seeds` does not include.
        OSError: the results folder cannot be created.
    """

    def __init__(self, name: str, out: str, flags: Mapping[str, Any]) -> None:
        every = list(range(flags["seeds"]))
        self.seeds = sorted(set(flags["only_seeds"])) or every
        if self.seeds[-1] not in every:
            raise InputError(
                f"--only_seeds={self.seeds[-1]} is not one of the --seeds={flags['seeds']} seeds; "
                f"use seeds from 0 to {every[-1]}."
            )
        self.is_part = self.seeds != every
        self.reused = 0
        self.folder = local_path(out) / ".cases" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._settings = {k: v for k, v in flags.items() if k not in NOT_OF_A_CASE}
        self._settings["backend"] = keras.backend.backend()
        self._fresh = flags["fresh"] in (True, "on")
        self._seconds: dict[Path, float] = {}

    def __len__(self) -> int:
        return len(self._seconds)

    @property
    def cpu(self) -> float:
        """CPU seconds of all cases, including those that other commands ran."""
        return sum(self._seconds.values())

    def case(self, names: Iterable, work: Callable[..., dict], *arguments: Any) -> dict:
        """Return the result of one case from its file, or compute and store it.

        Args:
            names: what distinguishes the case within the experiment, such as (method, seed).
            work: called with `arguments`; returns a dict of numbers, strings, arrays, and lists
                or dicts of these.

        Returns:
            The dict after a round trip through JSON: arrays and tuples become lists.
        """
        names = [str(name) for name in names]
        settings = {"case": names, **self._settings}
        path = self.folder / f"{_readable(names)}-{_digest(settings)}.json"
        # --fresh does not repeat a case that this command itself has finished.
        kept = None if self._fresh and path not in self._seconds else _read(path)
        if kept is None:
            started = time.process_time()
            found = work(*arguments)
            seconds = time.process_time() - started
            text = json.dumps(
                {"settings": settings, "cpu": seconds, "found": found}, default=_plain
            )
            path.write_text(text + "\n", encoding="utf-8")
            kept = json.loads(text)
        elif path not in self._seconds:
            self.reused += 1
        self._seconds[path] = kept["cpu"]
        return kept["found"]


def _digest(settings: dict) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _readable(names: list[str]) -> str:
    return "_".join(re.sub(r"[^\w.]+", "-", name).strip("-") for name in names)[:100]


def _read(path: Path) -> dict | None:
    """Return the content of a case's file, or None if it is missing or damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and {"cpu", "found"} <= set(kept) else None


def _plain(value: Any) -> Any:
    """Convert NumPy values to what JSON can represent."""
    if isinstance(value, np.ndarray):
        if value.dtype == np.float32:
            # Through the shortest text: a direct conversion to float64 doubles the digits.
            value = value.astype(str).astype("float64")
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON.")
