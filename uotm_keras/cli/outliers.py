"""`python -m uotm_keras outliers`: the training data of a run, the least plausible first."""

import csv
import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uotm_keras.cli.shared_flags import checkpoint_flag, run_dir_flag
from uotm_keras.config import Command, Integer, flag, run_command
from uotm_keras.config.groups import FOLDER
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path

if TYPE_CHECKING:
    from uotm_keras.data import Dataset


@dataclasses.dataclass(frozen=True)
class OutliersConfig:
    """Which run's training data are ranked, and where the ranking is written."""

    run_dir: str = run_dir_flag()
    checkpoint: str = checkpoint_flag()
    out: str | None = flag(
        None, FOLDER, "Folder for outliers.csv and outliers.png.", none="RUN_DIR"
    )
    sheet: int = flag(
        64, Integer(1, 10_000), "Number of examples in outliers.png, those of lowest weight."
    )
    batch_size: int = flag(
        256, Integer(1, 100_000),
        "Number of examples per call of the potential. Potentials with a minibatch standard "
        "deviation rate an example within its batch.",
    )  # fmt: skip


COMMAND = Command(
    """\
Rank the training data of a run by the weight dπ₁/dν that the learned plan gives each example,
the least plausible first.

    python -m uotm_keras outliers --run_dir=runs/digits

This writes outliers.csv (rank, weight, index, example) and outliers.png, the examples of lowest
weight. For a run with --contaminate it also states how well the outliers were found.""",
    OutliersConfig,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `run_command`."""
    return run_command(COMMAND, _rank, argv)


def _rank(config: OutliersConfig) -> int:
    from uotm_keras import backend
    from uotm_keras.cli.console import Bars
    from uotm_keras.training.data import open_data
    from uotm_keras.training.ranking import (
        costs_for_weights,
        describe_found,
        describe_masses,
        rank,
        source_mass,
    )
    from uotm_keras.training.runs import load_run
    from uotm_keras.utils.files import require_writable
    from uotm_keras.utils.pictures import save_picture

    backend.prepare_command()
    run = load_run(config.run_dir, checkpoint=config.checkpoint)
    if not run.model.objective.relaxes_data:
        raise InputError(
            f"flag --run_dir={config.run_dir}: with --target_divergence=balanced every example "
            "has the weight 1."
        )
    out = local_path(config.out or config.run_dir)
    require_writable(out, f"--out={config.out or config.run_dir}")
    index = local_path(config.run_dir) / "index.json"
    opened = open_data(run.config, index)
    data, costs = opened.target, costs_for_weights(run.model, opened.source)
    with Bars() as bars:
        advance = bars.bar("examples", len(data))
        ranking = rank(run.model, data, config.batch_size, costs=costs, advance=advance)
    indices, weights = ranking
    _write_table(out / "outliers.csv", indices, weights, data)
    save_picture(data.take(indices[: config.sheet]), out / "outliers.png", 8)
    print(
        f"Weights of {len(data)} examples at step {run.step}: lowest {weights.min():.3g}, median "
        f"{np.median(weights):.3g}, highest {weights.max():.3g}."
    )
    if doubt := describe_masses(source_mass(run.model, opened.source), float(weights.mean())):
        print(f"warning: {doubt}", file=sys.stderr)
    if found := describe_found(ranking, data.outliers):
        print(found)
    print(f"  ranking  {out}/outliers.csv\n  lowest   {out}/outliers.png")
    return 0


def _write_table(path: Path, indices: np.ndarray, weights: np.ndarray, data: "Dataset") -> None:
    from uotm_keras.utils.files import write_text

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["rank", "weight", "index", "example"])
    for number, (index, weight) in enumerate(zip(indices, weights, strict=True)):
        table.writerow([number, f"{weight:.6g}", index, data.path_of(index)])
    write_text(path, text.getvalue())
