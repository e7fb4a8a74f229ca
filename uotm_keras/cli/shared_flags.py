"""Flags that several commands have."""

from typing import Any

from uotm_keras.config.fields import flag
from uotm_keras.config.groups import FOLDER
from uotm_keras.config.parsers import Text


def run_dir_flag() -> Any:
    """Return the field of `--run_dir` for commands about one finished or running run."""
    return flag("runs/digits", FOLDER, "Folder of the run, as written by train.py.")


def checkpoint_flag() -> Any:
    """Return the field of `--checkpoint`, whose value `load_run` takes."""
    return flag(
        "newest", Text("newest, a step, best, or the path of a .weights.h5 file"),
        "Checkpoint of the run to use. best is the one that --keep_best kept.",
    )  # fmt: skip
