"""Checkpoints: written atomically, verified when they are read, the last two kept."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path, write_text


class NotFinite(RuntimeError):
    """A variable is NaN or infinite, so that a checkpoint would be useless."""


class Checkpoints:
    """The checkpoints of one run, in a folder.

    A checkpoint consists of `step_N.weights.h5` (both networks, the averaged generator, both
    optimizers, the step, the random states, and the running means of the log) and of its
    record, `step_N.json`, with the SHA-256 of the weights. The record is written last: weights
    without a record do not count.

    Args:
        folder: Folder of the checkpoints, which is created with the first one.
        keep: Number of checkpoints to keep, or `None` to keep all. Defaults to 2.
        name: First part of the file names. Checkpoints of other names in the same folder are
            left alone. Defaults to `"step"`.
    """

    def __init__(self, folder: Path, keep: int | None = 2, name: str = "step") -> None:
        self.folder = Path(folder)
        self.keep = keep
        self.name = name
        self._pattern = re.compile(rf"{name}_(\d+)\.json")

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints in ascending order, including damaged ones."""
        if not self.folder.is_dir():
            return []
        matches = (self._pattern.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def weights_path(self, step: int) -> Path:
        """Return the path of the weights of `step`."""
        return self.folder / f"{self.name}_{step:06d}.weights.h5"

    def _record_path(self, step: int) -> Path:
        return self.folder / f"{self.name}_{step:06d}.json"

    def save(self, model: keras.Model, step: int, notes: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint of `step`, then remove all but the last `keep`.

        Args:
            model: A model whose variables are up to date (`backend.sync`).
            step: The step that the model has reached.
            notes: Additional entries of the record. Defaults to `None`.

        Raises:
            NotFinite: If a variable is NaN or infinite. Nothing is written.
            InputError: If the folder cannot be written or the disk is full.
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
        self._remove_old()

    def _remove_old(self) -> None:
        """Remove all but the last `keep`, and the incomplete files of killed processes."""
        for old in self.steps()[: -self.keep] if self.keep is not None else []:
            self._record_path(old).unlink(missing_ok=True)
        kept = {self.weights_path(step).name for step in self.steps()}
        for path in self.folder.iterdir():
            weights = path.name.endswith(".weights.h5") and path.name not in kept
            ours = path.name.startswith(f"{self.name}_") and weights
            if ours or path.name.startswith(f".{self.name}_"):
                path.unlink(missing_ok=True)

    def keep_only(self, step: int) -> None:
        """Remove all checkpoints but that of `step`."""
        for other in self.steps():
            if other != step:
                self._record_path(other).unlink(missing_ok=True)
        self._remove_old()

    def newest(self, report: Callable[[str], None]) -> int | None:
        """Return the step of the latest undamaged checkpoint, or `None` without checkpoints.

        Args:
            report: A function that is called with one sentence per damaged checkpoint.

        Raises:
            InputError: If all checkpoints are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            fault = self._fault(step)
            if fault is None:
                return step
            report(f"checkpoint {self.weights_path(step)} {fault}: trying the one before it.")
        # One file of weights without a record is a first checkpoint that was not completed.
        if steps or len(list(self.folder.glob(f"{self.name}_*"))) > 1:
            raise InputError(
                f"no checkpoint in {self.folder} is usable: restore an undamaged one, or give "
                "another --run_dir to start a new run."
            )
        return None

    def record(self, step: int) -> dict[str, Any] | None:
        """Return the record of `step`, or `None` if the checkpoint is missing or damaged."""
        if step not in self.steps():
            return None
        found = self._verified(step)
        return None if isinstance(found, str) else found

    def require(self, step: int) -> None:
        """Check that there is an undamaged checkpoint of `step`.

        Raises:
            InputError: If it is missing or damaged.
        """
        fault = self._fault(step)
        if fault is not None:
            available = ", ".join(map(str, self.steps())) or "none"
            raise InputError(
                f"checkpoint {self.weights_path(step)} {fault}; the folder has checkpoints of the "
                f"steps: {available}."
            )

    def _fault(self, step: int) -> str | None:
        found = self._verified(step)
        return found if isinstance(found, str) else None

    def _verified(self, step: int) -> dict[str, Any] | str:
        """Return the record of `step`, or what is wrong with the checkpoint."""
        try:
            record = json.loads(self._record_path(step).read_text(encoding="utf-8"))
            with open(self.weights_path(step), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        except (ValueError, RecursionError):
            return "has a damaged record"
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            return "has a damaged record"
        if record["step"] != step:
            return f"has the record of step {record['step']}"
        if record.get("sha256") != digest:
            return "is damaged (its checksum is wrong)"
        return record

    def load(self, model: keras.Model, step: int) -> None:
        """Set every variable of a compiled model to its value at `step`.

        Raises:
            InputError: If the weights do not fit the model, or are those of another step.
        """
        path = self.weights_path(step)
        load_weights(model, path)
        found = int(keras.ops.convert_to_numpy(model.step.value))
        if found != step:
            raise InputError(
                f"{path} holds the weights of step {found}: restore the file of step {step}, or "
                "remove it and its .json to resume from another checkpoint."
            )

    def put_aside_newer(self, step: int) -> None:
        """Rename the checkpoints after `step`, which are damaged, to `*.damaged`.

        They no longer count among those that are kept. Call this only in the process that
        trains, because a process that only reads may see newer checkpoints that are whole.
        """
        for newer in (s for s in self.steps() if s > step):
            for damaged in (self.weights_path(newer), self._record_path(newer)):
                if damaged.exists():
                    damaged.replace(damaged.with_name(damaged.name + ".damaged"))


def load_weights(model: keras.Model, path: Path) -> None:
    """Set every variable of a compiled model to its value in a file.

    Raises:
        InputError: If the weights do not fit the model or cannot be read.
    """
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{path} does not fit this model: {first}") from error


def _require_space(path: Path, model: keras.Model) -> None:
    """Reserve the space of a checkpoint, because HDF5 crashes when the disk is full.

    Raises:
        OSError: If the file system does not have the space.
    """
    variables = model.variables + model.optimizer.variables
    size = 2**20 + sum(4 * math.prod(v.shape) + 4096 for v in variables)  # with HDF5's own data
    if hasattr(os, "posix_fallocate"):
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def require_finite(model: keras.Model) -> None:
    """Raise `NotFinite` if a variable of the model is NaN or infinite."""
    for variable in model.variables:
        values = keras.ops.convert_to_numpy(variable.value)
        # NumPy does not know bfloat16 as a floating-point type, hence the conversion.
        if values.dtype.kind not in "iub" and not np.isfinite(values.astype("float32")).all():
            raise NotFinite(f"variable {variable.path} is not finite")
