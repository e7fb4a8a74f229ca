"""`python -m uotm_keras digits`: how good the digits of a run are, for people."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from uotm_keras.cli.entry import run_command
from uotm_keras.config.flags import Command, Text, WholeNumber
from uotm_keras.utils.errors import InputError

DATA_SETS = ("digits", "mnist5k")

USAGE = """\
Scores a run on one of the embedded sets of digits, digits or mnist5k.

    python -m uotm_keras digits --run_dir=runs/digits

Prints the score and writes it to RUN_DIR/digit_score.json."""


def command() -> Command:
    """The flags of this command."""
    c = Command(USAGE)
    c.group("Flags")
    c.add("run_dir", Text("the path of a folder"), "runs/digits", "The run's directory.")
    c.add("num_samples", WholeNumber(10, 100_000), 1000, "Samples to score.")
    c.add("seed", WholeNumber(0), 0, "Of the samples.")
    return c


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the score and writes it beside the run; 0, or 2 after one sentence on stderr."""
    return run_command(argv, command, lambda arguments: _score(command().parse(arguments)))


def _score(flags: dict) -> int:
    from uotm_keras.cli.runs import load_run
    from uotm_keras.metrics.digit_features import (
        SCORE_NAME,
        digit_frechet_distance,
        real_against_real,
    )
    from uotm_keras.metrics.digit_quality import digit_quality
    from uotm_keras.utils.files import write_text
    from uotm_keras.utils.pixels import to_uint8

    run_dir = Path(flags["run_dir"])
    run = load_run(run_dir)
    dataset = run.flags["dataset"]
    if dataset not in DATA_SETS:
        raise InputError(
            f"flag --run_dir={run_dir} was trained on {dataset}: accepted are runs on "
            f"{' or '.join(DATA_SETS)}."
        )
    count = flags["num_samples"]
    samples = run.model.generate(count, seed=flags["seed"], batch_size=min(count, 250))
    quality = digit_quality(samples, dataset)
    distance = digit_frechet_distance(to_uint8(samples, (-1.0, 1.0)), dataset)
    between_real = real_against_real(dataset)
    record = {
        "step": run.step,
        "num_samples": count,
        "seed": flags["seed"],
        **asdict(quality),
        SCORE_NAME: distance,
        f"{SCORE_NAME}, real halves": between_real,
    }
    write_text(run_dir / "digit_score.json", json.dumps(record, indent=2) + "\n")
    print(f"Score of {count} samples at step {run.step}:")
    print(quality.describe())
    print(
        f"  {SCORE_NAME}: {distance:.2f} (between two halves of the real data: {between_real:.2f})"
    )
    print("Where things are:")
    print(f"  samples   {run_dir}/samples/step_{run.step:06d}.png  (beside the data, real.png)")
    print(f"  curves    {run_dir}/metrics.jsonl, or tensorboard --logdir {run_dir}/tensorboard")
    print(f"  score     {run_dir}/digit_score.json")
    if (run_dir / "report.html").exists():
        print(f"  page      {run_dir}/report.html")
    return 0
