"""Finished cases of an experiment, kept so that a long one can go on or be shared.

A case is one training, of one setting with one seed. Its results are a JSON file in
OUT/.cases/NAME, named by the case and by the flags that matter to it, which the same command
takes instead of training again. After a change of the code begin afresh, by --fresh: a file
does not know what made it.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import require_writable, write_text

NOT_OF_A_CASE = ("out", "seeds", "only_seeds", "fresh", "part", "variants")
"""Flags that do not change what a case computes; parts and variants are in its names."""


class Cases:
    """The cases of one experiment.

    Args:
        name: of the experiment's files.
        flags: its flags' values; the results' folder is among them.

    Attributes:
        seeds: those that this command runs.
        is_part: whether --only_seeds leaves some to others, so that there are no tables yet.
        reused: how many cases have been found finished.

    Raises:
        InputError: --only_seeds names a seed that --seeds has not, or --out cannot be written.
    """

    def __init__(self, name: str, flags: dict):
        require_writable(flags["out"], f"--out={flags['out']}")
        self.folder = Path(flags["out"]).expanduser() / ".cases" / name
        self._settings = {k: v for k, v in flags.items() if k not in NOT_OF_A_CASE}
        self._settings["backend"] = keras.backend.backend()
        self._fresh = flags["fresh"] == "on"
        self._seconds: dict[Path, float] = {}
        every = list(range(flags["seeds"]))
        self.seeds = sorted(set(flags["only_seeds"])) or every
        if self.seeds[-1] not in every:
            raise InputError(
                f"flag --only_seeds={self.seeds[-1]}: accepted are seeds below "
                f"--seeds={flags['seeds']}."
            )
        self.is_part = self.seeds != every
        self.reused = 0

    def __len__(self) -> int:
        return len(self._seconds)

    @property
    def cpu(self) -> float:
        """Seconds of CPU time of all cases, also of those that other commands did."""
        return sum(self._seconds.values())

    def case(self, names: Iterable, work: Callable[..., dict], *arguments) -> dict:
        """The results of one case, from its file or from `work`.

        Args:
            names: what tells the case from the experiment's others, such as (method, seed).
            work: makes of the arguments a dict of numbers, texts, arrays, and lists or dicts of
                these.

        Returns:
            That dict as JSON gives it back, always: with arrays and tuples as lists.
        """
        names = [str(name) for name in names]
        settings = {"case": names, **self._settings}
        path = self.folder / f"{_readable(names)}-{_digest(settings)}.json"
        # A case that this command has done is not done again.
        kept = None if self._fresh and path not in self._seconds else _read(path)
        if kept is None:
            started = time.process_time()
            found = work(*arguments)
            seconds = time.process_time() - started
            text = json.dumps(
                {"settings": settings, "cpu": seconds, "found": found}, default=_plain
            )
            write_text(path, text + "\n")
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
    """What a file holds; None where there is none, or a broken one."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and {"cpu", "found"} <= set(kept) else None


def _plain(value):
    """Of NumPy's what JSON can hold."""
    if isinstance(value, np.ndarray):
        if value.dtype == np.float32:
            # By their shortest texts: as float64 they would have twice the digits.
            value = value.astype(str).astype("float64")
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be kept as JSON.")
