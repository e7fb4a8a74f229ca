"""The training command."""

import sys
from collections.abc import Sequence

from uotm_keras.cli import flags as train_flags
from uotm_keras.environment import check_backend
from uotm_keras.errors import InputError

DIVERGED, INTERRUPTED = 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the flags say.

    Args:
        argv: the flags; None takes those of the command line.

    Returns:
        The exit code: 0, or 2 after one sentence on stderr (bad input), 3 (the loss is
        NaN or infinite), 130 (interrupted).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if any(argument in ("--help", "-help", "-h", "--helpfull") for argument in argv):
        print(train_flags.command().help())
        return 0
    try:
        check_backend()
        flags = train_flags.parse(argv)
        return _train(flags)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED


def _train(flags: dict) -> int:
    # Imported here, so that mistakes in flags are told before Keras has started.
    import keras

    from uotm_keras import backend
    from uotm_keras.cli import build
    from uotm_keras.training.checkpoints import Checkpoints
    from uotm_keras.training.loop import Intervals, NonFiniteLoss, train
    from uotm_keras.training.run_directory import RunDirectory

    directory = RunDirectory(flags["run_dir"])
    exists = directory.check(flags, keras.backend.backend(), train_flags.OPERATIONAL)
    checkpoints = Checkpoints(directory.checkpoints)
    start = (checkpoints.newest(_say) if exists else None) or 0
    if start >= flags["max_steps"]:
        _say(
            f"{directory.path} is finished: it has reached step {start} of "
            f"--max_steps={flags['max_steps']}; a larger --max_steps goes on."
        )
        return 0

    data = build.build_data(flags)
    model = build.build_model(flags, data.target.shape, data.steps_per_epoch)
    with directory.lock():
        directory.write_config(flags, keras.backend.backend(), backend.describe_device())
        save_samples = build.sample_saver(flags, data, directory)
        if start:
            checkpoints.load(model, start)
        _say(_introduction(flags, data, model, start))
        try:
            step = train(
                model,
                data.batches_from,
                directory,
                Intervals(
                    flags["max_steps"],
                    flags["log_every"],
                    flags["checkpoint_every"],
                    flags["sample_every"],
                ),
                start=start,
                batch_size=flags["batch_size"],
                save_samples=save_samples,
            )
        except NonFiniteLoss as error:
            print(f"error: {error}", file=sys.stderr)
            return DIVERGED
    if step < flags["max_steps"]:
        _say(f"interrupted at step {step}, which has a checkpoint: the same command goes on.")
        return INTERRUPTED
    _say(_conclusion(directory, step))
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _introduction(flags: dict, data, model, start: int) -> str:
    import keras

    from uotm_keras import backend

    sizes = [f"{network.count_params():,}" for network in (model.generator, model.potential)]
    beginning = f"going on from step {start}" if start else "starting at step 0"
    lines = [
        f"UOTM on {flags['dataset']}: {len(data.target)} examples of shape {data.target.shape}, "
        f"{data.steps_per_epoch} steps an epoch.",
        f"Generator {sizes[0]} parameters, potential {sizes[1]}; {keras.backend.backend()} on "
        f"{backend.describe_device()}; {beginning} of {flags['max_steps']}.",
    ]
    return "\n".join([*lines, *filter(None, [data.target.report()])])


def _conclusion(directory, step: int) -> str:
    return "\n".join(
        [
            f"Finished at step {step}.",
            f"  samples      {directory.samples}/step_{step:06d}.png  (beside the data, real.png)",
            f"  curves       tensorboard --logdir {directory.tensorboard}",
            f"  numbers      {directory.metrics}",
            f"  checkpoints  {directory.checkpoints}",
        ]
    )
