"""The training command."""

import sys
from collections.abc import Sequence

from uotm_keras.cli import flags as train_flags
from uotm_keras.cli.entry import INTERRUPTED, run_command

DIVERGED = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the flags say.

    Args:
        argv: the flags; None takes those of the command line.

    Returns:
        The exit code: 0, or 2 after one sentence on stderr (bad input), 3 (the loss is
        NaN or infinite), 130 (interrupted).
    """
    return run_command(
        argv,
        train_flags.command,
        lambda arguments: _train(train_flags.parse(arguments)),
        "the same command goes on from the last checkpoint.",
    )


def _train(flags: dict) -> int:
    # Imported here, so that mistakes in flags are told before Keras has started.
    import keras

    from uotm_keras import backend
    from uotm_keras.cli import build
    from uotm_keras.cli.run_page import page_writer
    from uotm_keras.cli.scores import score_generator
    from uotm_keras.exporting import require_packages
    from uotm_keras.training.checkpoints import Checkpoints
    from uotm_keras.training.loop import Intervals, NonFiniteLoss, train
    from uotm_keras.training.run_directory import RunDirectory

    if flags["export"] != "none":
        require_packages(flags["export"])  # before hours of training
    directory = RunDirectory(flags["run_dir"])
    exists = directory.check(
        flags, keras.backend.backend(), train_flags.OPERATIONAL, train_flags.defaults()
    )
    checkpoints = Checkpoints(directory.checkpoints)
    start = (checkpoints.newest(_say) if exists else None) or 0
    if start >= flags["max_steps"]:
        _say(
            f"{directory.path} is finished: it has reached step {start} of "
            f"--max_steps={flags['max_steps']}; a larger --max_steps goes on."
        )
        _export(flags)
        return 0

    backend.prepare_command()
    data = build.build_data(flags)
    told = data.target.report()
    model = build.build_model(flags, data.target.shape, data.steps_per_epoch)
    scores = score_generator(flags, data, directory) if flags["eval_every"] else None
    with directory.lock():
        directory.write_config(
            flags, keras.backend.backend(), backend.describe_device(), data.target.shape
        )
        save_samples = build.sample_saver(flags, data, directory)
        if start:
            checkpoints.load(model, start)
            checkpoints.put_aside_newer(start)
        _say(_introduction(flags, data, model, start, scores))
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
                    flags["eval_every"],
                ),
                start=start,
                batch_size=flags["batch_size"],
                save_samples=save_samples,
                scores=scores,
                save_page=page_writer(flags, data, directory),
            )
        except NonFiniteLoss as error:
            print(f"error: {error}", file=sys.stderr)
            return DIVERGED
    if step < flags["max_steps"]:
        _say(f"interrupted at step {step}, which has a checkpoint: the same command goes on.")
        return INTERRUPTED
    _say(_conclusion(directory, step, scores and scores.best))
    if data.target.report() != told:  # files that failed only when they were decoded
        _say(data.target.report())
    _export(flags)
    return 0


def _export(flags: dict) -> None:
    from uotm_keras.cli.export import export_run

    if flags["export"] != "none":
        out = f"{flags['run_dir']}/exported"
        _say(export_run(flags["run_dir"], "newest", out, flags["export"], overwrite=True))


def _say(text: str) -> None:
    print(text, flush=True)


def _introduction(flags: dict, data, model, start: int, scores) -> str:
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
    if scores is not None:
        kept = "; the best checkpoint is kept" if flags["keep_best"] == "on" else ""
        lines.append(
            f"Scores every {flags['eval_every']} steps ({', '.join(scores.scorer.metrics)}) of "
            f"{scores.num_samples} samples of the averaged generator{kept}."
        )
    return "\n".join([*lines, *filter(None, [data.target.report()])])


def _conclusion(directory, step: int, best: dict | None) -> str:
    lines = [
        f"Finished at step {step}.",
        *([f"  page         {directory.page}"] if directory.page.exists() else []),
        f"  samples      {directory.samples}/step_{step:06d}.png  (beside the data, real.png)",
        f"  curves       tensorboard --logdir {directory.tensorboard}",
        f"  numbers      {directory.metrics}",
        f"  checkpoints  {directory.checkpoints}",
    ]
    if best is not None:
        lines.append(f"  the best     best_{best['step']:06d}, of score {best['score']:.4g}")
    return "\n".join(lines)
