"""Models of earlier runs, for the commands that use them."""

from collections.abc import Callable
from typing import NamedTuple

from uotm_keras.errors import InputError


class Run(NamedTuple):
    """A trained model, its flags, and the step of its checkpoint."""

    model: "object"
    flags: dict
    step: int


def load_run(run_dir: str, report: Callable[[str], None] = print) -> Run:
    """The model of a run directory, at its newest whole checkpoint.

    Args:
        run_dir: a directory that `train.py` wrote; any backend reads it.
        report: told of damaged checkpoints that are passed over.

    Raises:
        InputError: no run or no usable checkpoint is there.
    """
    # Imported here, so that mistakes in flags are told before Keras has started.
    from uotm_keras.cli import build
    from uotm_keras.training.checkpoints import Checkpoints
    from uotm_keras.training.run_directory import RunDirectory

    directory = RunDirectory(run_dir)
    flags = directory.read_config()["flags"]
    checkpoints = Checkpoints(directory.checkpoints)
    step = checkpoints.newest(report)
    if step is None:
        raise InputError(f"flag --run_dir={run_dir} holds no checkpoint yet: train it further.")
    data = build.build_data(flags)
    model = build.build_model(flags, data.target.shape, data.steps_per_epoch)
    checkpoints.load(model, step)
    return Run(model, flags, step)
