"""Checkpoints: whole or absent, verified when read, the last two kept."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from uotm_keras.errors import InputError
from uotm_keras.files import atomic_path, write_text

_NAME = re.compile(r"step_(\d+)\.json")


class NotFinite(RuntimeError):
    """A weight is NaN or infinite: there is nothing worth a checkpoint."""


class Checkpoints:
    """The checkpoints of one run, in a folder.

    A checkpoint is `step_N.weights.h5` (generator, potential, average, both optimizers,
    step, random state, the log's running sums) and `step_N.json` with its SHA-256, which
    is written last: without it the weights do not count.

    Args:
        folder: where they lie; made when the first is written.
        keep: how many are kept.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps of all checkpoints, ascending, damaged ones included."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def weights_path(self, step: int) -> Path:
        return self.folder / f"step_{step:06d}.weights.h5"

    def _record_path(self, step: int) -> Path:
        return self.folder / f"step_{step:06d}.json"

    def save(self, model: keras.Model, step: int) -> None:
        """Writes the checkpoint of `step`, then removes all but the last `keep`.

        The model's variables must be up to date (`backend.sync`).

        Raises:
            NotFinite: a variable is NaN or infinite; nothing was written.
            InputError: the folder cannot be written, or the disk is full.
        """
        _require_finite(model)
        with atomic_path(self.weights_path(step), ".weights.h5") as temporary:
            _require_space(temporary, model)
            model.save_weights(temporary)
            with open(temporary, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        record = {"step": step, "sha256": digest, "bytes": size}
        write_text(self._record_path(step), json.dumps(record) + "\n")
        self._tidy()

    def _tidy(self) -> None:
        """Removes all but the last `keep`, and what killed processes left half done."""
        for old in self.steps()[: -self.keep]:
            self._record_path(old).unlink(missing_ok=True)
        kept = {self.weights_path(step).name for step in self.steps()}
        for path in self.folder.iterdir():
            weights = path.name.endswith(".weights.h5") and path.name not in kept
            if path.name.startswith(".step_") or (path.name.startswith("step_") and weights):
                path.unlink(missing_ok=True)

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
        if steps or len(list(self.folder.glob("step_*"))) > 1:
            raise InputError(
                f"no checkpoint in {self.folder} is usable: put back a whole one, or give "
                "another --run_dir to start anew."
            )
        return None

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

        Newer checkpoints, which were found damaged, are put aside as `*.damaged`, so that
        they do not count among the last ones kept.

        Raises:
            InputError: the weights do not fit the model.
        """
        path = self.weights_path(step)
        try:
            model.load_weights(path)
        except (ValueError, KeyError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"{path} does not fit this model: {first}") from error
        for newer in (s for s in self.steps() if s > step):
            for damaged in (self.weights_path(newer), self._record_path(newer)):
                if damaged.exists():
                    damaged.replace(damaged.with_name(damaged.name + ".damaged"))


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


def _require_finite(model: keras.Model) -> None:
    for variable in model.variables:
        values = keras.ops.convert_to_numpy(variable.value)
        # Numbers such as bfloat16 are no floats to numpy: as float32 they are.
        if values.dtype.kind not in "iub" and not np.isfinite(values.astype("float32")).all():
            raise NotFinite(f"variable {variable.path} is not finite")
