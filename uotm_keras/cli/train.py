"""The training command."""

import contextlib
import os
import sys
from collections.abc import Sequence

from uotm_keras.cli import flags as train_flags
from uotm_keras.cli.entry import INTERRUPTED, run_command, tell
from uotm_keras.utils.errors import InputError

DIVERGED = 3
_GOES_ON = "the same command goes on from the last checkpoint."
_OWN = ("run_dir", "data_dir", "num_workers", "worker_timeout")
"""Flags that each process of a job may have its own way."""


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the flags say.

    Args:
        argv: the flags; None takes those of the command line.

    Returns:
        The exit code: 0, or 2 after one sentence on stderr (bad input), 3 (the loss is
        NaN or infinite), 4 (another process of the job has ended), 130 (interrupted).
    """
    return run_command(
        argv,
        train_flags.command,
        lambda arguments: _train(train_flags.parse(arguments)),
        _GOES_ON,
    )


def _train(flags: dict) -> int:
    # Imported here, so that mistakes in flags are told before Keras has started.
    from uotm_keras.backend.meeting import Processes, meet
    from uotm_keras.cli.distribute import find_cluster
    from uotm_keras.exporting import require_packages

    if flags["export"] != "none":
        require_packages(flags["export"])  # before hours of training
    cluster = find_cluster(flags)
    if cluster is None:
        return _train_together(flags, None, Processes())
    try:
        with meet(cluster, flags["worker_timeout"]) as group:
            code = _train_together(flags, cluster, group)
            if code != DIVERGED:  # which the first process alone finds out: that ends the others
                group.finish()
                return code
    except (InputError, KeyboardInterrupt) as error:
        code = tell(error, _GOES_ON)
    # The others end too, for whom JAX would wait at a usual exit, and abort.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _train_together(flags: dict, cluster, group) -> int:
    import keras

    from uotm_keras import backend
    from uotm_keras.cli import build
    from uotm_keras.cli.distribute import open_distribution
    from uotm_keras.cli.report import page_writer
    from uotm_keras.cli.scores import score_generator
    from uotm_keras.data import refuse_changed_data, save_index, skipped_csv
    from uotm_keras.training.checkpoints import Checkpoints
    from uotm_keras.training.loop import Intervals, NonFiniteLoss, train
    from uotm_keras.training.run_directory import RunDirectory
    from uotm_keras.utils.files import write_text

    writes = group.process == 0
    say = _say if writes else _keep_quiet
    directory = RunDirectory(flags["run_dir"])
    checkpoints = Checkpoints(directory.checkpoints)
    start, exists = 0, False
    if writes:
        exists = directory.check(
            flags, keras.backend.backend(), train_flags.OPERATIONAL, train_flags.defaults()
        )
        start = (checkpoints.newest(_say) if exists else None) or 0
    _require_same_flags(flags, group)
    start = group.exchange(start)[0]
    if start >= flags["max_steps"]:
        say(
            f"{directory.path} is finished: it has reached step {start} of "
            f"--max_steps={flags['max_steps']}; a larger --max_steps goes on."
        )
        if writes:
            _export(flags)
        return 0

    if start % flags["steps_per_execution"]:
        raise InputError(
            f"flag --steps_per_execution={flags['steps_per_execution']} must divide the step "
            f"{start} at which the run in {directory.path} stands."
        )
    backend.prepare_command()
    distribution = open_distribution(flags, cluster)
    # A run that is not there yet gets no file before all its flags are known to be right.
    index = directory.path / "index.json"
    data = build.build_data(flags, index)
    datasets = {"dataset": data.target} | (
        {} if data.source is None else {"source_dataset": data.source}
    )
    refuse_changed_data(index, datasets)
    with distribution.scope():
        model = build.build_model(flags, data.target.shape, data.batches.steps_per_epoch)
    model.check_batch(flags["batch_size"], distribution.replicas)
    model.rows_in_groups = True
    scores = score_generator(flags, data, directory) if writes and flags["eval_every"] else None
    with directory.lock() if writes else contextlib.nullcontext():
        save_samples = save_page = None
        if writes:
            device = f"{backend.describe_device()} {distribution.describe()}".strip()
            directory.write_config(flags, keras.backend.backend(), device, data.target.shape)
            save_index(index, datasets)
            if skipped := skipped_csv(datasets):
                write_text(directory.path / "skipped.csv", skipped)
            save_samples = build.sample_saver(flags, data, directory)
            save_page = page_writer(flags, data, directory)
        if start:
            checkpoints.load(model, start)
        group.exchange()
        if start and writes:
            checkpoints.put_aside_newer(start)
        say(_introduction(flags, data, model, start, scores, distribution))
        try:
            step = train(
                model,
                distribution.feed(
                    data.batches, start, flags["num_workers"],
                    model.rows_together(flags["batch_size"]),
                ),
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
                save_page=save_page,
                group=group,
            )  # fmt: skip
        except NonFiniteLoss as error:
            print(f"error: {error}", file=sys.stderr)
            return DIVERGED
    distribution.close()
    if step < flags["max_steps"]:
        say(f"interrupted at step {step}, which has a checkpoint: the same command goes on.")
        return INTERRUPTED
    say(_conclusion(directory, step, scores and scores.best))
    if writes:
        _export(flags)
    return 0


def _require_same_flags(flags: dict, group) -> None:
    """Raises `InputError` in all processes unless each was given what the first was.

    --run_dir may be written otherwise elsewhere, and workers read with what they have.
    """
    every = group.exchange({k: v for k, v in flags.items() if k not in _OWN})
    for process, others in enumerate(every):
        for name in sorted(others):
            if others[name] != every[0].get(name):
                raise InputError(
                    f"flag --{name}={others[name]} of process {process} is "
                    f"{every[0].get(name)} in process 0: give all the same flags."
                )


def _export(flags: dict) -> None:
    from uotm_keras.cli.export import export_run

    if flags["export"] != "none":
        out = f"{flags['run_dir']}/exported"
        _say(export_run(flags["run_dir"], "newest", out, flags["export"], overwrite=True))


def _say(text: str) -> None:
    print(text, flush=True)


def _keep_quiet(text: str) -> None:
    """What the other processes of a job say, which would be the same."""


def _introduction(flags: dict, data, model, start: int, scores, distribution) -> str:
    import keras

    from uotm_keras import backend

    sizes = [f"{network.count_params():,}" for network in (model.generator, model.potential)]
    beginning = f"going on from step {start}" if start else "starting at step 0"
    lines = [
        f"UOTM on {flags['dataset']}: {len(data.target)} examples of shape {data.target.shape}, "
        f"{data.batches.steps_per_epoch} steps an epoch.",
        f"Generator {sizes[0]} parameters, potential {sizes[1]}; {keras.backend.backend()} on "
        f"{backend.describe_device()}; {beginning} of {flags['max_steps']}.",
    ]
    if distribution.describe():
        lines.append(f"Each batch of {flags['batch_size']} is shared by {distribution.describe()}.")
    if scores is not None:
        kept = "; the best checkpoint is kept" if flags["keep_best"] == "on" else ""
        lines.append(
            f"Scores every {flags['eval_every']} steps ({', '.join(scores.scorer.metrics)}) of "
            f"{scores.num_samples} samples of the averaged generator{kept}."
        )
    return "\n".join([*lines, *filter(None, [data.target.skipped_summary()])])


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
