"""`python -m uotm_keras outliers`: a run's training data, the least plausible first."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uotm_keras.cli.entry import run_command
from uotm_keras.cli.runs import add_checkpoint_flag
from uotm_keras.config.flags import Command, Text, WholeNumber
from uotm_keras.utils.errors import InputError

USAGE = """\
Ranks the training data of a run by the weight dπ₁/dν that its optimum gives each example,
the least plausible first.

    python -m uotm_keras outliers --run_dir=runs/digits

Writes outliers.csv (rank, weight, index, example) and outliers.png, a sheet of the lowest.
Where the run was trained with --contaminate, it also says how well they were found."""


def command() -> Command:
    """The flags of this command."""
    c = Command(USAGE)
    c.group("Flags")
    c.add("run_dir", Text("the path of a folder"), "runs/digits", "The run's directory.")
    add_checkpoint_flag(c)
    c.add("out", Text("the path of a folder"), "RUN_DIR", "Where the two files go.")
    c.add("sheet", WholeNumber(1, 10_000), 64, "Examples on the sheet.")
    c.add(
        "batch_size", WholeNumber(1, 100_000), 256,
        "Examples a call; potentials with minibatch statistics see an example in its batch.",
    )  # fmt: skip
    return c


def main(argv: Sequence[str] | None = None) -> int:
    """Ranks as the flags say; 0, or 2 after one sentence on stderr."""
    return run_command(argv, command, lambda arguments: _rank(command().parse(arguments)))


def _rank(flags: dict) -> int:
    from uotm_keras import backend
    from uotm_keras.cli import build
    from uotm_keras.cli.console import Bars
    from uotm_keras.cli.runs import load_run
    from uotm_keras.training.ranking import describe_found, rank
    from uotm_keras.utils.files import require_writable, write_text
    from uotm_keras.utils.pictures import save_picture

    backend.prepare_command()
    run = load_run(flags["run_dir"], checkpoint=flags["checkpoint"])
    if run.flags["target_divergence"] == "balanced":
        raise InputError(
            f"flag --run_dir={flags['run_dir']}: with --target_divergence=balanced every example "
            "has the weight 1."
        )
    out = Path(flags["run_dir"] if flags["out"] == "RUN_DIR" else flags["out"]).expanduser()
    require_writable(out, f"--out={flags['out']}")
    data = build.build_data(run.flags, Path(flags["run_dir"]).expanduser() / "index.json").target
    with Bars() as bars:
        advance = bars.bar("examples", len(data))
        ranking = rank(run.model, data, flags["batch_size"], advance=advance)
    indices, weights = ranking

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["rank", "weight", "index", "example"])
    for number, (index, weight) in enumerate(zip(indices, weights, strict=True)):
        table.writerow([number, f"{weight:.6g}", index, data.path_of(index)])
    write_text(out / "outliers.csv", text.getvalue())
    save_picture(data.take(indices[: flags["sheet"]]), out / "outliers.png", 8)
    print(
        f"Weights of {len(data)} examples at step {run.step}: lowest {weights.min():.3g}, median "
        f"{np.median(weights):.3g}, highest {weights.max():.3g}."
    )
    if found := describe_found(ranking, data.outliers):
        print(found)
    print(f"  ranking  {out}/outliers.csv\n  lowest   {out}/outliers.png")
    return 0
