"""The evaluation command: scores of a run or of a folder of samples."""

import json
from collections.abc import Sequence
from pathlib import Path

from uotm_keras.cli import flags as train_flags
from uotm_keras.cli.entry import run_command
from uotm_keras.cli.runs import add_checkpoint_flag
from uotm_keras.config.flags import Choice, Command, Names, Text, WholeNumber, expand_flagfiles
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import MAX_SEED

ALL = ("fid", "kid", "is", "pr", "dc")

USAGE = """\
Scores generated images: FID, KID, Inception Score, precision and recall, density and coverage.

    python evaluate.py --run_dir=runs/digits
    python evaluate.py --flagfile=configs/cifar10.flags --run_dir=runs/cifar10
    python evaluate.py --samples=my_images --reference=tfds:cifar10 --output=scores.json

Give --run_dir or --samples. The last line of the output is one JSON object with the scores
and all that they were made with. docs/fid.md says what is computed.

Every flag of train.py is accepted, so that a flagfile of a run can be given: --dataset,
--data_dir, --image_size and --channels say where the reference comes from, --batch_size
counts as below, and the others are ignored.

Exit codes: 0 done; 2 a flag, a file or the environment is wrong; 130 interrupted."""


def command() -> Command:
    """The flags of this command; those of training are accepted besides."""
    c = Command(USAGE)
    c.group("Flags")
    c.add(
        "run_dir", Text("the path of a folder"), None,
        "A run of train.py, whose averaged generator is scored.",
    )  # fmt: skip
    add_checkpoint_flag(c)
    c.add(
        "samples", Text("the path of a folder of images, or of an .npz"), None,
        "Images to score instead of a run's; a run_dir in a flagfile is then ignored.",
    )  # fmt: skip
    c.add(
        "reference",
        Text("a data set as for train.py, a folder of images, an .npz or an .npy"), "auto",
        "The real side: images, or their mean and covariance (the authors' .npy too).\n"
        "auto is the run's training data, or --dataset, without what --contaminate mixes in.",
    )  # fmt: skip
    c.add(
        "metrics", Names(*train_flags.METRICS, optional=True), "auto",
        "pr is precision and recall, dc density and coverage, digits the digit Fréchet\n"
        "distance (not FID). auto is fid,kid,is,pr,dc; only digits for the data sets digits\n"
        "and mnist5k, where no Inception weights are given or kept; only fid,is for a\n"
        "reference without images.",
    )  # fmt: skip
    c.add(
        "num_samples", WholeNumber(2, 10_000_000, optional=True), "auto",
        "auto is 50000, or, with --samples, as many as there are up to 50000.",
    )  # fmt: skip
    c.add("seed", WholeNumber(0, MAX_SEED), 0, "Of the samples of a run.")
    c.add(
        "protocol", Choice("uint8", "jpeg"), "uint8",
        "jpeg scores images after a JPEG file of quality 75, as the UOTM authors do, and of a\n"
        "run only whole batches: 50000 // batch_size · batch_size samples.",
    )  # fmt: skip
    c.add("batch_size", WholeNumber(1, 100_000), 64, "Samples a call of the generator.")
    c.add(
        "inception_weights", Text("fid, imagenet or the path of a .pth or .npz file"), "fid",
        "fid is the published file, downloaded once; imagenet's scores compare with no FID.",
    )  # fmt: skip
    c.add(
        "preprocessing", Choice("pytorch_fid", "tf1"), "pytorch_fid",
        "How images reach the FID network: as in pytorch-fid, or as in torch-fidelity.",
    )  # fmt: skip
    c.add("output", Text("the path of a file"), "none", "Writes the JSON object to a file too.")
    c.accept(train_flags.command())
    return c


def main(argv: Sequence[str] | None = None) -> int:
    """Scores as the flags say.

    Args:
        argv: the flags; None takes those of the command line.

    Returns:
        The exit code: 0, or 2 after one sentence on stderr, 130 (interrupted).
    """
    return run_command(argv, command, lambda arguments: _evaluate(*parse(arguments)))


def parse(arguments: list[str]) -> tuple[dict, dict]:
    """All flags' values by name, and those that were given.

    Raises:
        InputError: a flag is unknown, has a bad value, or does not go with another.
    """
    values, given = command().parse(arguments), command().given(arguments)
    typed = command().given(expand_flagfiles(arguments, read=False))
    if values["samples"] is not None:
        if "run_dir" in typed:
            raise InputError(
                f"flags --run_dir={values['run_dir']} and --samples={values['samples']} exclude "
                "each other: give one."
            )
        values["run_dir"] = None
        if "checkpoint" in given:
            raise InputError(
                f"flag --checkpoint={values['checkpoint']} is of a run, not of --samples: give "
                "--run_dir instead."
            )
    elif values["run_dir"] is None:
        raise InputError("flag --run_dir or --samples is missing: give one of them.")
    values["output"] = _output(given.get("output"))
    values["channels"] = int(values["channels"])
    if values["data_dir"] == "none":
        values["data_dir"] = None
    if values["reference"] == "auto":
        given.pop("reference", None)
    return values, {name: values[name] for name in given}


def _output(name: str | None) -> Path | None:
    """The file to write, which must be possible before hours are spent on its content."""
    if name is None:
        return None
    from uotm_keras.utils.files import require_writable

    path = Path(name).expanduser()
    if path.is_dir():
        raise InputError(f"flag --output={name} cannot be written: it is a folder, give a file.")
    require_writable(path.parent, f"--output={name}")
    return path


def _evaluate(flags: dict, given: dict) -> int:
    # Imported here, so that mistakes in flags are told before the work begins.
    from uotm_keras.cli import console as report
    from uotm_keras.cli import evaluation_inputs as subjects
    from uotm_keras.cli.scores import inception
    from uotm_keras.metrics import Options, Scorer
    from uotm_keras.metrics.evaluation import check_enough
    from uotm_keras.utils.files import write_text

    subject = subjects.open_subject(flags)
    metrics, remark = _metrics(flags, given, subject)
    if remark:
        print(remark, flush=True)
    check_enough(metrics, subject.count, Options())
    reference = subjects.open_reference(given, subject, metrics)
    digits = subjects.digits_of(reference.digits, given.get("dataset"), subject.digits)
    if "digits" in metrics and digits is None:
        raise InputError(
            f"flag --metrics={','.join(metrics)}: digits is for images like those of digits or "
            "mnist5k: say which by --dataset."
        )
    with report.Bars() as bars:
        scorer = Scorer(
            reference.images,
            metrics,
            None if metrics == ["digits"] else inception(
                flags["inception_weights"], flags["preprocessing"]
            ),
            digits,
            protocol=subject.protocol,
            description=reference.description,
            progress=bars.bar("reference", reference.count),
        )  # fmt: skip
        result = scorer.score(
            subject.batches, subject.value_range, bars.bar("samples", subject.count)
        )
    result = {
        "metrics": result.pop("metrics"),
        **subject.about,
        **result,
        "protocol": flags["protocol"],
        "notes": [*subject.notes, *result["notes"]],
    }
    report.print_scores(result, subject.name)
    print(json.dumps(result, ensure_ascii=False), flush=True)
    if flags["output"] is not None:
        write_text(flags["output"], json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 0


def _metrics(flags: dict, given: dict, subject) -> tuple[list[str], str]:
    """The metrics, and a sentence on why they are not all, if nobody said which."""
    from uotm_keras.cli.evaluation_inputs import digits_of, statistics_only
    from uotm_keras.metrics.inception_weights import published_weights_at_hand

    if flags["metrics"]:
        return flags["metrics"], ""
    digits = digits_of(given.get("reference"), given.get("dataset")) or subject.digits
    if digits and "inception_weights" not in given and not published_weights_at_hand():
        return ["digits"], (
            f"The score is the digit Fréchet distance, not FID: {digits} is an embedded data set, "
            "and no Inception weights are given or kept (--metrics=fid fetches them)."
        )
    if statistics_only(flags["reference"]):
        return ["fid", "is"], (
            f"The scores are fid and is: {flags['reference']} holds a mean and a covariance, and "
            "the others need its images."
        )
    return list(ALL), ""
