"""Checkpoints: whole or absent, verified when read, the last two kept."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path, write_text


class NotFinite(RuntimeError):
    """A weight is NaN or infinite: there is nothing worth a checkpoint."""


class Checkpoints:
    """The checkpoints of one run, in a folder.

    A checkpoint is `step_N.weights.h5` (generator, potential, average, both optimizers,
    step, random state, the log's running sums) and `step_N.json` with its SHA-256, which
    is written last: without it the weights do not count.

    Args:
        folder: where they lie; made when the first is written.
        keep: how many are kept; None keeps all.
        name: instead of `step`, so that others in the same folder are not touched.
    """

    def __init__(self, folder: Path, keep: int | None = 2, name: str = "step"):
        self.folder = Path(folder)
        self.keep = keep
        self.name = name
        self._pattern = re.compile(rf"{name}_(\d+)\.json")

    def steps(self) -> list[int]:
        """The steps of all checkpoints, ascending, damaged ones included."""
        if not self.folder.is_dir():
            return []
        matches = (self._pattern.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def weights_path(self, step: int) -> Path:
        return self.folder / f"{self.name}_{step:06d}.weights.h5"

    def _record_path(self, step: int) -> Path:
        return self.folder / f"{self.name}_{step:06d}.json"

    def save(self, model: keras.Model, step: int, notes: Mapping | None = None) -> None:
        """Writes the checkpoint of `step`, then removes all but the last `keep`.

        The model's variables must be up to date (`backend.sync`). The `notes` are written
        into its record.

        Raises:
            NotFinite: a variable is NaN or infinite; nothing was written.
            InputError: the folder cannot be written, or the disk is full.
        """
        require_finite(model)
        with atomic_path(self.weights_path(step), ".weights.h5") as temporary:
            _require_space(temporary, model)
            model.save_weights(temporary)
            with open(temporary, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        record = {"step": step, "sha256": digest, "bytes": size, **(notes or {})}
        write_text(self._record_path(step), json.dumps(record) + "\n")
        self._tidy()

    def _tidy(self) -> None:
        """Removes all but the last `keep`, and what killed processes left half done."""
        for old in self.steps()[: -self.keep] if self.keep is not None else []:
            self._record_path(old).unlink(missing_ok=True)
        kept = {self.weights_path(step).name for step in self.steps()}
        for path in self.folder.iterdir():
            weights = path.name.endswith(".weights.h5") and path.name not in kept
            ours = path.name.startswith(f"{self.name}_") and weights
            if ours or path.name.startswith(f".{self.name}_"):
                path.unlink(missing_ok=True)

    def keep_only(self, step: int) -> None:
        """Removes all checkpoints but that of `step`."""
        for other in self.steps():
            if other != step:
                self._record_path(other).unlink(missing_ok=True)
        self._tidy()

    def newest(self, report: Callable[[str], None]) -> int | None:
        """The step of the newest whole checkpoint, or None if there is none at all.

        Args:
            report: told of each damaged one that is passed over.

        Raises:
            InputError: there are checkpoints, but all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            fault = self._fault(step)
            if fault is None:
                return step
            report(f"checkpoint {self.weights_path(step)} {fault}: trying the one before.")
        # One without a record is the very first, if the process was killed in its midst.
        if steps or len(list(self.folder.glob(f"{self.name}_*"))) > 1:
            raise InputError(
                f"no checkpoint in {self.folder} is usable: put back a whole one, or give "
                "another --run_dir to start anew."
            )
        return None

    def record(self, step: int) -> dict | None:
        """What was written beside the weights of `step`, or None if they are not whole."""
        if step not in self.steps() or self._fault(step) is not None:
            return None
        return json.loads(self._record_path(step).read_text(encoding="utf-8"))

    def require(self, step: int) -> None:
        """Makes sure that there is a whole checkpoint of `step`.

        Raises:
            InputError: there is none, or it is damaged.
        """
        fault = self._fault(step)
        if fault is not None:
            there = ", ".join(map(str, self.steps())) or "none"
            raise InputError(
                f"checkpoint {self.weights_path(step)} {fault}: the steps that have one in that "
                f"folder are {there}."
            )

    def _fault(self, step: int) -> str | None:
        try:
            record = json.loads(self._record_path(step).read_text(encoding="utf-8"))
            with open(self.weights_path(step), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        except ValueError:
            return "has a damaged record"
        if not isinstance(record, dict) or record.get("sha256") != digest:
            return "is damaged (its checksum is wrong)"
        return None

    def load(self, model: keras.Model, step: int) -> None:
        """Sets every variable of a compiled model to those of `step`.

        Raises:
            InputError: the weights do not fit the model.
        """
        load_weights(model, self.weights_path(step))

    def put_aside_newer(self, step: int) -> None:
        """Renames checkpoints after `step`, which were found damaged, to `*.damaged`.

        So they do not count among the last ones kept. Only for the process that trains:
        another one may see newer checkpoints that are whole.
        """
        for newer in (s for s in self.steps() if s > step):
            for damaged in (self.weights_path(newer), self._record_path(newer)):
                if damaged.exists():
                    damaged.replace(damaged.with_name(damaged.name + ".damaged"))


def load_weights(model: keras.Model, path: Path) -> None:
    """Sets every variable of a compiled model to those of a file.

    Raises:
        InputError: the weights do not fit the model, or cannot be read.
    """
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{path} does not fit this model: {first}") from error


def _require_space(path: Path, model: keras.Model) -> None:
    """Has the file system give the space once, as HDF5 crashes where a disk is full.

    Raises:
        OSError: it has not as much.
    """
    variables = model.variables + model.optimizer.variables
    size = 2**20 + sum(4 * math.prod(v.shape) + 4096 for v in variables)  # HDF5's own included
    if hasattr(os, "posix_fallocate"):
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def require_finite(model: keras.Model) -> None:
    """Raises `NotFinite` if a variable of the model is NaN or infinite."""
    for variable in model.variables:
        values = keras.ops.convert_to_numpy(variable.value)
        # Numbers such as bfloat16 are no floats to numpy: as float32 they are.
        if values.dtype.kind not in "iub" and not np.isfinite(values.astype("float32")).all():
            raise NotFinite(f"variable {variable.path} is not finite")
