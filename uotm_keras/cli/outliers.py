"""`python -m uotm_keras outliers`: the training data of a run, the least plausible first."""

import csv
import dataclasses
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uotm_keras.cli.shared_flags import checkpoint_flag, run_dir_flag
from uotm_keras.config import Command, Enum, Integer, flag, run_command
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
    rank_by: str = flag(
        "auto",
        Enum("auto", "score", "weight"),
        "score ranks by how unusual an example is among the others and how low its weight is "
        "(docs/outliers.md), weight by dπ₁/dν alone; auto takes score for images, weight for "
        "points.",
    )
    sheet: int = flag(64, Integer(1, 10_000), "Number of examples in outliers.png.")
    batch_size: int = flag(
        256, Integer(1, 100_000),
        "Number of examples per call of the potential. Potentials with a minibatch standard "
        "deviation rate an example within its batch.",
    )  # fmt: skip


COMMAND = Command(
    """\
Rank the training data of a run, the least plausible first.

    python -m uotm_keras outliers --run_dir=runs/digits

This writes outliers.csv (rank, score, weight, index, example) and outliers.png, the first of the
ranking. The weight is dπ₁/dν, what the learned plan keeps of an example; where the objective
keeps all, there is none. For a run with --contaminate the command also states how well the
outliers were found.""",
    OutliersConfig,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `run_command`."""
    return run_command(COMMAND, _rank, argv)


def _rank(config: OutliersConfig) -> int:
    from uotm_keras import backend
    from uotm_keras.cli.console import Bars
    from uotm_keras.metrics.isolation import FEWEST
    from uotm_keras.training.data import open_data
    from uotm_keras.training.ranking import (
        costs_for_weights,
        describe_found,
        describe_masses,
        rank,
        rank_by_score,
        source_mass,
    )
    from uotm_keras.training.runs import load_run
    from uotm_keras.utils.files import require_writable
    from uotm_keras.utils.pictures import save_picture

    backend.prepare_command()
    run = load_run(config.run_dir, checkpoint=config.checkpoint)
    out = local_path(config.out or config.run_dir)
    require_writable(out, f"--out={config.out or config.run_dir}")
    opened = open_data(run.config, local_path(config.run_dir) / "index.json")
    data, weighted = opened.target, run.model.objective.relaxes_data
    by_score = config.rank_by == "score"
    if config.rank_by == "auto":
        by_score = data.is_images and (len(data) >= FEWEST or not weighted)
    if not (weighted or by_score):
        raise InputError(
            f"flag --run_dir={config.run_dir}: with --target_divergence=balanced every example "
            "has the weight 1. Give --rank_by=score."
        )
    columns, ranking = {}, None
    with Bars() as bars:
        if weighted:
            costs = costs_for_weights(run.model, opened.source)
            advance = bars.bar("weights", len(data))
            ranking = rank(run.model, data, config.batch_size, costs=costs, advance=advance)
            indices, weights = ranking
            unusual = -weights
            columns["weight"] = dict(zip(indices, weights, strict=True))
        if by_score:
            indices, unusual = rank_by_score(data, ranking, bars.bar("scores", len(data)))
            columns["score"] = dict(zip(indices, unusual, strict=True))
    _write_table(out / "outliers.csv", indices, columns, data)
    save_picture(data.take(indices[: config.sheet]), out / "outliers.png", 8)
    if weighted:
        print(
            f"Weights of {len(data)} examples at step {run.step}: lowest {weights.min():.3g}, "
            f"median {np.median(weights):.3g}, highest {weights.max():.3g}."
        )
        mass = source_mass(run.model, opened.source)
        if doubt := describe_masses(mass, float(weights.mean())):
            print(f"warning: {doubt}", file=sys.stderr)
    print(f"Ranked by {'the outlier score' if by_score else 'the weight'}.")
    if found := describe_found(indices, unusual, data.outliers):
        print(found)
    print(f"  ranking          {out}/outliers.csv\n  least plausible  {out}/outliers.png")
    return 0


def _write_table(
    path: Path, indices: np.ndarray, columns: Mapping[str, Mapping[int, float]], data: "Dataset"
) -> None:
    from uotm_keras.utils.files import write_text

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [name for name in ("score", "weight") if name in columns]
    table.writerow(["rank", *names, "index", "example"])
    for number, index in enumerate(indices):
        values = [f"{columns[name][index]:.6g}" for name in names]
        table.writerow([number, *values, index, data.path_of(index)])
    write_text(path, text.getvalue())
