"""`python -m uotm_keras export`: the averaged generator of a run as a TensorFlow SavedModel."""

from collections.abc import Sequence

from uotm_keras.cli.entry import run_command
from uotm_keras.cli.parsing import Choice, Command, Text
from uotm_keras.cli.runs import add_checkpoint_flag

USAGE = """\
Writes the averaged generator of a run as a SavedModel, which needs nothing but TensorFlow.

    python -m uotm_keras export --run_dir=runs/digits --out=digits_model

Signatures, float32, in [-1, 1] for images: serve(source, latent) of any batch, also called
serving_default, and sample(n, seed). uotm_keras.json beside them says what was exported."""


def command() -> Command:
    """The flags of this command."""
    c = Command(USAGE)
    c.group("Flags")
    c.add("run_dir", Text("the path of a folder"), "runs/digits", "The run's directory.")
    add_checkpoint_flag(c)
    c.add("out", Text("the path of a folder"), "exported", "The folder to make.")
    c.add("overwrite", Choice("off", "on"), "off", "Whether a SavedModel there may be replaced.")
    return c


def main(argv: Sequence[str] | None = None) -> int:
    """Exports as the flags say; 0, or 2 after one sentence on stderr."""
    return run_command(argv, command, lambda arguments: _export(command().parse(arguments)))


def _export(flags: dict) -> int:
    from uotm_keras.cli.runs import load_run

    run = load_run(flags["run_dir"], checkpoint=flags["checkpoint"])
    folder = run.model.export(
        flags["out"],
        overwrite=flags["overwrite"] == "on",
        metadata={"data_set": run.flags["dataset"], "flags": run.flags},
    )
    print(f"The averaged generator of step {run.step} is in {folder}, a TensorFlow SavedModel.")
    return 0
