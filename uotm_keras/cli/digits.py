"""`python -m uotm_keras digits`: a score of a run's digits that people can read."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from uotm_keras.cli.shared_flags import run_dir_flag
from uotm_keras.config import Command, Integer, flag, run_command
from uotm_keras.utils.errors import InputError

DATASETS = ("digits", "mnist5k")


@dataclasses.dataclass(frozen=True)
class DigitsConfig:
    """Which run is scored, and by how many samples."""

    run_dir: str = run_dir_flag()
    num_samples: int = flag(1000, Integer(10, 100_000), "Number of samples to score.")
    seed: int = flag(0, Integer(0), "Seed for the samples.")


COMMAND = Command(
    """\
Score a run on one of the embedded datasets of digits, digits or mnist5k.

    python -m uotm_keras digits --run_dir=runs/digits

The score is printed and written to RUN_DIR/digit_score.json.""",
    DigitsConfig,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `run_command`."""
    return run_command(COMMAND, _score, argv)


def _score(config: DigitsConfig) -> int:
    from uotm_keras.metrics.digit_features import (
        SCORE_NAME,
        digit_frechet_distance,
        real_against_real,
    )
    from uotm_keras.metrics.digit_quality import digit_quality
    from uotm_keras.training.runs import load_run
    from uotm_keras.utils.files import write_text
    from uotm_keras.utils.pixels import to_uint8

    run_dir, count = Path(config.run_dir), config.num_samples
    run = load_run(run_dir)
    dataset = run.config.data.dataset
    if dataset not in DATASETS:
        raise InputError(
            f"flag --run_dir={run_dir} was trained on {dataset}: accepted are runs on "
            f"{' or '.join(DATASETS)}."
        )
    samples = run.model.generate(count, seed=config.seed, batch_size=min(count, 250))
    quality = digit_quality(samples, dataset)
    distance = digit_frechet_distance(to_uint8(samples, (-1.0, 1.0)), dataset)
    between_real = real_against_real(dataset)
    record = {
        "step": run.step,
        "num_samples": count,
        "seed": config.seed,
        **dataclasses.asdict(quality),
        SCORE_NAME: distance,
        f"{SCORE_NAME}, real halves": between_real,
    }
    write_text(run_dir / "digit_score.json", json.dumps(record, indent=2) + "\n")
    print(f"Score of {count} samples at step {run.step}:")
    print(quality.describe())
    print(
        f"  {SCORE_NAME}: {distance:.2f} (between two halves of the real data: {between_real:.2f})"
    )
    print("Files:")
    print(f"  samples   {run_dir}/samples/step_{run.step:06d}.png  (real data: real.png)")
    print(f"  curves    {run_dir}/metrics.jsonl, or tensorboard --logdir {run_dir}/tensorboard")
    print(f"  score     {run_dir}/digit_score.json")
    if (run_dir / "report.html").exists():
        print(f"  page      {run_dir}/report.html")
    return 0
