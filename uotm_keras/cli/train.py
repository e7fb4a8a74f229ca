"""`train.py`: train a model, from the flags to the last line of the output."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from uotm_keras.config import Command, TrainConfig, from_flags, run_command, to_flags, updated
from uotm_keras.config.automatic import completed, undecided, with_run_dir
from uotm_keras.config.command_line import report_error
from uotm_keras.utils.environment import INTERRUPTED
from uotm_keras.utils.errors import InputError

if TYPE_CHECKING:
    from uotm_keras.backend.process_group import ProcessGroup
    from uotm_keras.data import Dataset
    from uotm_keras.training.checkpoints import Checkpoints
    from uotm_keras.training.data import TrainingData
    from uotm_keras.training.loop import Intervals
    from uotm_keras.training.run_directory import RunDirectory

DIVERGED, PROCESS_LOST = 3, 4
_RESUMES = "the same command resumes from the latest checkpoint."
_OWN = ("run_dir", "data_dir", "num_workers", "worker_timeout")
"""Flags that may differ between the processes of a job."""

COMMAND = Command(
    """\
Train a generative model by unbalanced optimal transport (UOTM).

    python train.py --dataset=folder:PATH [--flag=value ...]
    python train.py --config=digits [--flag=value ...]

With the first form the settings are chosen from the data, the device and --budget.
The environment variable KERAS_BACKEND chooses the backend: tensorflow (the default), jax or
torch. A switch is given as --name, --noname or --name=on|off. "Paper" below is UOTM
(arXiv 2305.14777): its CIFAR-10 run, and after a slash CelebA-HQ at 256 px.

Exit codes: 0 done; 2 a flag, a file or the environment is wrong; 3 the loss became NaN or
infinite; 4 another process of the job has ended; 130 interrupted.""",
    TrainConfig,
    show_flagfiles=True,
    automatic=True,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say.

    Args:
        argv: the flags; None takes those of the command line.

    Returns:
        The exit code: 0, or 2 after one sentence on stderr (bad input), 3 (the loss is
        NaN or infinite), 4 (another process of the job has ended), 130 (interrupted).
    """
    return run_command(COMMAND, _train, argv, _RESUMES)


def _train(config: TrainConfig) -> int:
    # Imported here, so that mistakes in flags are reported before Keras starts.
    from uotm_keras.backend.process_group import ProcessLost
    from uotm_keras.exporting import require_packages
    from uotm_keras.training.distribute import find_cluster, open_process_group

    config = with_run_dir(config)
    if config.run.export != "none":
        require_packages(config.run.export)  # before hours of training
    cluster = find_cluster(config.devices)
    if cluster is None:
        return _train_together(config, open_process_group(None, config.devices))
    try:
        with open_process_group(cluster, config.devices) as group:
            return _train_together(config, group)
    except (InputError, KeyboardInterrupt) as error:
        code = report_error(error, _RESUMES)
    except ProcessLost as error:
        print(
            f"error: {error}; the same commands resume from the last checkpoint.", file=sys.stderr
        )
        code = PROCESS_LOST
    # A normal exit would wait for the other processes inside the engine.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _train_together(config: TrainConfig, group: "ProcessGroup") -> int:
    from uotm_keras import backend
    from uotm_keras.data import refuse_changed_data
    from uotm_keras.models.build import build_model
    from uotm_keras.training.checkpoints import Checkpoints
    from uotm_keras.training.data import open_data
    from uotm_keras.training.distribute import open_distribution
    from uotm_keras.training.run_directory import RunDirectory

    writes = group.process == 0
    directory = RunDirectory(config.run.run_dir)
    checkpoints = Checkpoints(directory.checkpoints)
    _require_same_flags(config, group)
    start, target = 0, None
    with group.shared_errors(InputError):
        if writes:
            if undecided(config) and directory.config.exists():
                config = completed(config, directory.read_flags())
                config.check()
            if directory.check(config, backend.NAME):
                start = checkpoints.newest(_say) or 0
            elif undecided(config):
                config, target = _choose(config)
    start, flags = group.all_gather((start, to_flags(config)))[0]
    if not writes:
        own = {name: value for name, value in to_flags(config).items() if name in _OWN}
        config = from_flags(TrainConfig, {**flags, **own})
    if start >= config.run.max_steps:
        if writes:
            _say(
                f"{directory.path} is finished: it has reached step {start} of "
                f"--max_steps={config.run.max_steps}; a larger --max_steps trains it further."
            )
            _complete_finished(config, directory, start)
            _export(config)
        return 0
    if start % config.devices.steps_per_execution:
        raise InputError(
            f"flag --steps_per_execution={config.devices.steps_per_execution} must divide the "
            f"step {start} at which the run in {directory.path} resumes."
        )

    backend.prepare_command(config.devices.deterministic)
    distribution = open_distribution(config.devices, group)
    # A new run writes nothing, not even an index, before all its flags are known to be right.
    with group.shared_errors(InputError):
        opened = open_data(config, directory.index, target)
        refuse_changed_data(directory.index, opened.by_flag())
    with distribution.scope():
        model = build_model(
            config, opened.target.shape, opened.batches.steps_per_epoch, opened.num_classes
        )
    model.check_batch(config.data.batch_size, distribution.replicas)
    return _fit(config, directory, checkpoints, start, opened, model, distribution, group)


def _choose(config: TrainConfig) -> "tuple[TrainConfig, Dataset]":
    """Choose the flags that are left to the program; return the opened data too."""
    from uotm_keras import backend, data
    from uotm_keras.reporting.formatting import duration
    from uotm_keras.training import auto
    from uotm_keras.training.data import open_target

    chosen = config.data
    if chosen.source_dataset:
        raise InputError(
            f"flag --generator=auto is for generation from noise: with --source_dataset="
            f"{chosen.source_dataset} give --generator, such as ncsnpp."
        )
    backend.prepare_command(config.devices.deterministic)
    reasons: dict[str, str] = {}
    if chosen.image_size is None:
        natural = data.natural_size(chosen.dataset, chosen.data_dir)
        if natural:
            size, reason = auto.choose_image_size(natural, auto.on_cpu())
            config, reasons = updated(config, image_size=size), {"image_size": reason}
    if config.run.max_steps is None:
        _say("Choosing the settings; this measures the speed of the device and takes a minute.")
    target = open_target(config)
    choices = auto.choose(config, target)
    _say(dataclasses.replace(choices, reasons={**reasons, **choices.reasons}).describe())
    if choices.seconds_per_step:
        seconds = choices.seconds_per_step * choices.config.run.max_steps
        end = datetime.now() + timedelta(seconds=seconds)
        _say(f"Training takes about {duration(seconds)}, until {end:%H:%M}.")
    if outlook := choices.outlook():
        _say(outlook)
    return choices.config, target


def _require_same_flags(config: TrainConfig, group: "ProcessGroup") -> None:
    """Raise `InputError` in all processes unless each has the flags of the first."""
    every = group.all_gather({k: v for k, v in to_flags(config).items() if k not in _OWN})
    for process, others in enumerate(every):
        for name in sorted(others):
            if others[name] != every[0].get(name):
                raise InputError(
                    f"flag --{name}={others[name]} of process {process} is "
                    f"{every[0].get(name)} in process 0: give all processes the same flags."
                )


def _fit(
    config: TrainConfig,
    directory: "RunDirectory",
    checkpoints: "Checkpoints",
    start: int,
    opened: "TrainingData",
    model: Any,
    distribution: Any,
    group: "ProcessGroup",
) -> int:
    """Train from step `start` to the end, with everything that is written on the way."""
    from uotm_keras import backend
    from uotm_keras.cli.report import page_writer
    from uotm_keras.cli.scores import score_generator
    from uotm_keras.data import save_index, skipped_csv
    from uotm_keras.reporting.sample_grids import sample_saver
    from uotm_keras.training.loop import Intervals, NonFiniteLoss, train
    from uotm_keras.utils.files import write_text

    run, writes = config.run, group.process == 0
    intervals = Intervals(
        run.max_steps, run.log_every, run.checkpoint_every, run.sample_every,
        config.scores.eval_every,
    )  # fmt: skip
    scores: Any = None
    save_samples: Any = None
    save_page: Any = None
    with contextlib.ExitStack() as stack:
        with group.shared_errors(InputError):
            if writes:
                if config.scores.eval_every:
                    scores = score_generator(config, opened, directory)
                stack.enter_context(directory.lock())
                directory.remove_leftovers()
                device = f"{backend.describe_device()} {distribution.describe()}".strip()
                directory.write_config(
                    config, backend.NAME, device, opened.target.shape, opened.num_classes,
                    opened.target.class_names if config.data.conditional else None,
                )  # fmt: skip
                save_index(directory.index, opened.by_flag())
                if skipped := skipped_csv(opened.by_flag()):
                    write_text(directory.skipped, skipped)
                else:
                    directory.skipped.unlink(missing_ok=True)
                save_samples = sample_saver(config, opened, directory)
                save_page = page_writer(config, opened, directory)
        if start:
            checkpoints.load(model, start)
        else:
            if model.fitted_source is not None:
                model.adapt_source(opened.target)
            if model.conditions is not None:
                model.adapt_conditions(opened.target.labels)
        group.barrier()
        if writes:
            if start:
                checkpoints.put_aside_newer(start)
                with backend.distribution.alone():
                    _complete(model, directory, intervals, start, save_samples, save_page)
            _say(_introduction(config, opened, model, start, scores, distribution))
        try:
            step = train(
                model,
                distribution.feed(
                    opened.batches, start, config.data.num_workers,
                    model.partition.rows_together(config.data.batch_size),
                ),
                directory,
                intervals,
                start=start,
                batch_size=config.data.batch_size,
                save_samples=save_samples,
                scores=scores,
                save_page=save_page,
                data_range=lambda: _range(opened.target),
                group=group,
            )  # fmt: skip
        except NonFiniteLoss as error:
            print(f"error: {error}", file=sys.stderr)
            return DIVERGED
    distribution.close()
    if step < run.max_steps:
        if writes:
            _say(f"interrupted at step {step}, which has a checkpoint: the same command resumes.")
        return INTERRUPTED
    if writes:
        _say(_conclusion(directory, step, scores and scores.best))
        _export(config)
    return 0


def _complete(
    model: Any,
    directory: "RunDirectory",
    intervals: "Intervals",
    step: int,
    save_samples: Callable[[Any, int], None],
    save_page: Callable[[Any, int], None],
) -> None:
    """Write the sample grid and the page of a checkpoint if they are missing.

    Versions up to 0.1.0 wrote them after the checkpoint, and files may have been deleted.
    """
    from uotm_keras.reporting.run_files import page_step

    missing = intervals.samples_at(step) and not directory.sample_grid(step).exists()
    if missing:
        save_samples(model, step)
    if missing or (page_step(directory) or 0) < step:
        save_page(model, step)


def _complete_finished(config: TrainConfig, directory: "RunDirectory", step: int) -> None:
    """Complete a run that needs no more training, without loading anything if it is complete."""
    from uotm_keras import backend
    from uotm_keras.cli.report import page_writer
    from uotm_keras.reporting.run_files import page_step
    from uotm_keras.reporting.sample_grids import sample_saver
    from uotm_keras.training.data import open_data
    from uotm_keras.training.loop import Intervals
    from uotm_keras.training.runs import load_run

    run = config.run
    intervals = Intervals(run.max_steps, sample=run.sample_every)
    grid_there = directory.sample_grid(step).exists() or not intervals.samples_at(step)
    if grid_there and (page_step(directory) or 0) >= step:
        return
    backend.prepare_command(config.devices.deterministic)
    with directory.lock():
        directory.remove_leftovers()
        opened = open_data(config, directory.index)
        model = load_run(directory.path, _say, str(step)).model
        _complete(
            model, directory, intervals, step,
            sample_saver(config, opened, directory), page_writer(config, opened, directory),
        )  # fmt: skip
    _say(f"Completed the sample grid and the page of step {step}.")


def _range(dataset: "Dataset") -> tuple[float, float]:
    """Return the least and the greatest value of the first examples."""
    import numpy as np

    examples = dataset.take(np.arange(min(len(dataset), 1000)))
    return float(examples.min()), float(examples.max())


def _export(config: TrainConfig) -> None:
    from uotm_keras.cli.export import ExportConfig, export_run

    if config.run.export != "none":
        out = f"{config.run.run_dir}/exported"
        chosen = ExportConfig(config.run.run_dir, format=config.run.export, out=out, overwrite=True)
        _say(export_run(chosen))


def _say(text: str) -> None:
    print(text, flush=True)


def _introduction(
    config: TrainConfig,
    opened: "TrainingData",
    model: Any,
    start: int,
    scores: Any,
    distribution: Any,
) -> str:
    from uotm_keras import backend

    sizes = [f"{network.count_params():,}" for network in (model.generator, model.potential)]
    beginning = f"resuming from step {start}" if start else "starting at step 0"
    lines = [
        f"UOTM on {config.data.dataset}: {len(opened.target)} examples of shape "
        f"{opened.target.shape}, {opened.batches.steps_per_epoch} steps per epoch.",
        f"Generator {sizes[0]} parameters, potential {sizes[1]}; {backend.NAME} on "
        f"{backend.describe_device()}; {beginning} of {config.run.max_steps}.",
    ]
    if distribution.describe():
        lines.append(
            f"Each batch of {config.data.batch_size} is split among {distribution.describe()}."
        )
    if scores is not None:
        kept = "; the best checkpoint is kept" if config.scores.keep_best else ""
        lines.append(
            f"Scores every {config.scores.eval_every} steps "
            f"({', '.join(scores.scorer.metrics)}) with {scores.num_samples} samples of the "
            f"averaged generator{kept}."
        )
    return "\n".join([*lines, *filter(None, [opened.target.skipped_summary()])])


def _conclusion(directory: "RunDirectory", step: int, best: dict | None) -> str:
    lines = [
        f"Finished at step {step}.",
        *([f"  page         {directory.page}"] if directory.page.exists() else []),
        f"  samples      {directory.samples}/step_{step:06d}.png  (real data: real.png)",
        f"  curves       tensorboard --logdir {directory.tensorboard}",
        f"  numbers      {directory.metrics}",
        f"  checkpoints  {directory.checkpoints}",
    ]
    if best is not None:
        lines.append(f"  best         best_{best['step']:06d}, with a score of {best['score']:.4g}")
    return "\n".join(lines)
