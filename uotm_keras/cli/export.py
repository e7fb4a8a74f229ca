"""`python -m uotm_keras export`: the averaged generator of a run for programs without Keras."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from uotm_keras.cli.entry import run_command
from uotm_keras.cli.runs import add_checkpoint_flag
from uotm_keras.config.flags import Choice, Command, Text

USAGE = """\
Writes the averaged generator of a run as a folder that needs only TensorFlow (savedmodel) or
only ONNX Runtime (onnx).

    python -m uotm_keras export --run_dir=runs/digits --out=digits_model
    python -m uotm_keras export --run_dir=runs/digits --out=digits_onnx --format=onnx

A SavedModel has the signatures serve(source, latent), also called serving_default, and
sample(n, seed); model.onnx the inputs source and latent. float32, any batch size, images in
[-1, 1]. Beside them lie uotm_keras.json (what was exported), model_card.md (for people, in
the Hugging Face form) and samples.png. Every backend writes both, with TensorFlow's help;
onnx needs the extra: pip install 'uotm_keras[onnx]'."""


def command() -> Command:
    """The flags of this command."""
    c = Command(USAGE)
    c.group("Flags")
    c.add("run_dir", Text("the path of a folder"), "runs/digits", "The run's directory.")
    add_checkpoint_flag(c)
    c.add("format", Choice("savedmodel", "onnx"), "savedmodel", "What to write.")
    c.add("out", Text("the path of a folder"), "exported", "The folder to make.")
    c.add("overwrite", Choice("off", "on"), "off", "Whether an export there may be replaced.")
    return c


def main(argv: Sequence[str] | None = None) -> int:
    """Exports as the flags say; 0, or 2 after one sentence on stderr."""
    return run_command(argv, command, lambda arguments: _export(command().parse(arguments)))


def _export(flags: dict) -> int:
    out, overwrite = flags["out"], flags["overwrite"] == "on"
    print(export_run(flags["run_dir"], flags["checkpoint"], out, flags["format"], overwrite))
    return 0


def export_run(run_dir: str, checkpoint: str, out: str, format: str, overwrite: bool) -> str:
    """Exports a run's averaged generator; a sentence that says where it is.

    Args:
        run_dir, checkpoint: see `runs.load_run`.
        out: the folder to make.
        format: of `exporting.FORMATS`.
        overwrite: whether an export there may be replaced.
    """
    from uotm_keras.cli.runs import load_run
    from uotm_keras.exporting import require_packages

    require_packages(format)
    run = load_run(run_dir, checkpoint=checkpoint)
    metadata = run_metadata(run_dir, run.flags, run.step)
    folder = run.model.export(out, format, overwrite=overwrite, metadata=metadata)
    kind = {"savedmodel": "a TensorFlow SavedModel", "onnx": "an ONNX graph"}[format]
    return f"The averaged generator of step {run.step} is in {folder}, {kind}."


def run_metadata(run_dir: str, flags: Mapping, step: int) -> dict:
    """What an export says of its run, for `model_card.model_card`.

    Args:
        run_dir: the run's directory.
        flags: its flags.
        step: of the exported weights; scores of other steps are not told.
    """
    from uotm_keras.training.metrics_log import read_log
    from uotm_keras.training.run_directory import RunDirectory

    directory = RunDirectory(run_dir)
    config = directory.read_config()
    at_step = [line for line in read_log(directory.metrics) if line["step"] == step]
    record = {
        "data_set": flags["dataset"],
        "flags": dict(flags),
        "device": config.get("device"),
        "versions": config.get("versions"),
        "git_commit": config.get("git_commit"),
        "seconds": at_step[-1].get("seconds") if at_step else None,
        "scores": _logged_scores(at_step, flags) | _digit_score(directory.path, step),
    }
    return {name: value for name, value in record.items() if value}


def _logged_scores(lines: list[dict], flags: Mapping) -> dict[str, dict]:
    """What --eval_every scored at this step."""
    from uotm_keras.metrics.scorer import LABELS

    scores = {}
    for line in lines:
        for name, label in LABELS.items():
            if name not in line:
                continue
            digits = name == "digits"
            record = {
                "value": line[name],
                "samples": line["score_samples"],
                "network": "a digit classifier's features" if digits else "Inception",
            }
            if f"{name}_std" in line:
                record["std"] = line[f"{name}_std"]
            if not digits:
                record["weights"] = flags.get("inception_weights")
            if name != "is":
                record["reference"] = flags["dataset"]
            scores[label] = record
    return scores


def _digit_score(folder: Path, step: int) -> dict[str, dict]:
    """What `python -m uotm_keras digits` found, if it was at this step."""
    try:
        record = json.loads((folder / "digit_score.json").read_text())
        if record["step"] != step:
            return {}
        about = {"samples": record["num_samples"], "network": "a digit classifier"}
        return {
            "recognised as a digit": {"value": record["confident"], **about},
            "novelty": {"value": record["novelty"], **about},
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
