"""Models of finished and running runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from uotm_keras.config.schema import TrainConfig
from uotm_keras.models.build import build_model
from uotm_keras.models.uotm import UOTM
from uotm_keras.training.checkpoints import Checkpoints, load_weights
from uotm_keras.training.data import open_data
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.training.scoring import BEST
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path

_WEIGHTS = re.compile(r"(step|best)_(\d+)\.weights\.h5")


class Run(NamedTuple):
    """A trained model with its run's configuration, its step, and its file of weights."""

    model: UOTM
    config: TrainConfig
    step: int
    checkpoint: Path


def open_run(run_dir: str | Path) -> RunDirectory:
    """Return the directory of a run that is there.

    Raises:
        InputError: the folder holds no run.
    """
    directory = RunDirectory(run_dir)
    if not directory.config.exists():
        raise InputError(
            f"flag --run_dir={run_dir} holds no run: {directory.config} does not exist."
        )
    return directory


def load_run(
    run_dir: str | Path, report: Callable[[str], None] = print, checkpoint: str = "newest"
) -> Run:
    """Load the model of a run, without opening its training data.

    Args:
        run_dir: a folder that `train.py` wrote, with any backend.
        report: called with one sentence for each damaged checkpoint that is skipped.
        checkpoint: "newest" (the latest undamaged one), "best", a step, or the path of a
            `.weights.h5` file.

    Raises:
        InputError: the folder holds no run, or no usable checkpoint.
    """
    directory = open_run(run_dir)
    config = directory.read_flags()
    path = _find(directory.checkpoints, run_dir, checkpoint, report)
    # Runs of early versions did not record the shape.
    record = directory.read_config()
    shape = record.get("data_shape") or open_data(config).target.shape
    model = build_model(config, tuple(shape), 1, record.get("num_classes"))
    load_weights(model, path)
    return Run(model, config, int(model.step), path)


def _find(folder: Path, run_dir: str | Path, name: str, report: Callable[[str], None]) -> Path:
    """Return the file of weights that `name` means, verified if it has a record."""
    kinds = {kind: Checkpoints(folder, name=kind) for kind in ("step", BEST)}
    if name in ("newest", BEST):
        kind = kinds[BEST if name == BEST else "step"]
        step = kind.newest(report)
        if step is None and name != BEST:
            raise InputError(f"flag --run_dir={run_dir} holds no checkpoint yet: train it further.")
        if step is None:
            raise InputError(
                f"flag --checkpoint=best: {run_dir} has no best checkpoint; train.py keeps one "
                "with --eval_every and --keep_best."
            )
        return kind.weights_path(step)
    if name.isdecimal():
        step = int(name)
        for kind in kinds.values():
            if step in kind.steps():
                kind.require(step)
                return kind.weights_path(step)
        there = sorted({step for kind in kinds.values() for step in kind.steps()})
        raise InputError(
            f"flag --checkpoint={name}: {run_dir} has no checkpoint of that step, but of "
            f"{', '.join(map(str, there)) or 'none'}."
        )
    path = local_path(name)
    if not path.is_file():
        raise InputError(
            f"flag --checkpoint={name} is not a file: accepted are newest, best, a step, and the "
            "path of a .weights.h5 file."
        )
    match = _WEIGHTS.fullmatch(path.name)
    if match and path.with_name(f"{match[1]}_{match[2]}.json").exists():
        Checkpoints(path.parent, name=match[1]).require(int(match[2]))
    return path
