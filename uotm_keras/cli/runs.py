"""Models of earlier runs, for the commands that use them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from uotm_keras.config.flags import Command, Text
from uotm_keras.utils.errors import InputError

_WEIGHTS = re.compile(r"(step|best)_(\d+)\.weights\.h5")


class Run(NamedTuple):
    """A trained model, its flags, and its checkpoint."""

    model: "object"
    flags: dict
    step: int
    checkpoint: Path


def add_checkpoint_flag(command: Command) -> None:
    """Defines --checkpoint, whose value `load_run` takes."""
    command.add(
        "checkpoint", Text("newest, a step, best, or the path of a .weights.h5 file"), "newest",
        "Of the run; best is the one that --keep_best=on kept.",
    )  # fmt: skip


def open_run(run_dir: str):
    """The `RunDirectory` of a run that is there.

    Raises:
        InputError: no run is there.
    """
    from uotm_keras.training.run_directory import RunDirectory

    directory = RunDirectory(run_dir)
    if not directory.config.exists():
        raise InputError(f"flag --run_dir={run_dir} holds no run: {directory.config} is not there.")
    return directory


def load_run(
    run_dir: str, report: Callable[[str], None] = print, checkpoint: str = "newest"
) -> Run:
    """The model of a run directory; the training data are not opened.

    Args:
        run_dir: a directory that `train.py` wrote; any backend reads it.
        report: told of damaged checkpoints that are passed over.
        checkpoint: `"newest"` (whole) one, `"best"`, a step, or the path of a `.weights.h5`.

    Raises:
        InputError: no run or no usable checkpoint is there.
    """
    # Imported here, so that mistakes in flags are told before Keras has started.
    from uotm_keras.cli import build
    from uotm_keras.training.checkpoints import load_weights

    directory = open_run(run_dir)
    config = directory.read_config()
    path = _find(directory.checkpoints, run_dir, checkpoint, report)
    flags = config["flags"]
    # Runs of earlier versions do not say the shape.
    shape = config.get("data_shape") or build.build_data(flags).target.shape
    model = build.build_model(flags, tuple(shape), steps_per_epoch=1)
    load_weights(model, path)
    return Run(model, flags, int(model.step), path)


def _find(folder: Path, run_dir: str, name: str, report: Callable[[str], None]) -> Path:
    """The file of weights that the user means, verified where it has a record."""
    from uotm_keras.training.checkpoints import Checkpoints
    from uotm_keras.training.scoring import BEST

    kinds = {kind: Checkpoints(folder, name=kind) for kind in ("step", BEST)}
    if name in ("newest", BEST):
        kind = kinds[BEST if name == BEST else "step"]
        step = kind.newest(report)
        if step is None and name != BEST:
            raise InputError(f"flag --run_dir={run_dir} holds no checkpoint yet: train it further.")
        if step is None:
            raise InputError(
                f"flag --checkpoint=best: {run_dir} has none; train.py keeps one with "
                "--eval_every and --keep_best=on."
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
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(
            f"flag --checkpoint={name} is not a file: accepted are a step, best, and the path of "
            "a .weights.h5 file."
        )
    match = _WEIGHTS.fullmatch(path.name)
    if match and path.with_name(f"{match[1]}_{match[2]}.json").exists():
        Checkpoints(path.parent, name=match[1]).require(int(match[2]))
    return path
