"""`python -m uotm_keras export`: the averaged generator of a run for programs without Keras."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uotm_keras.cli.shared_flags import checkpoint_flag, run_dir_flag
from uotm_keras.config import Boolean, Command, Enum, TrainConfig, flag, run_command, to_flags
from uotm_keras.config.groups import FOLDER

if TYPE_CHECKING:
    from uotm_keras.training.runs import Run

_KINDS = {
    "savedmodel": "a TensorFlow SavedModel",
    "onnx": "an ONNX graph",
    "litert": "a LiteRT model",
}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Which generator is exported, and how."""

    run_dir: str = run_dir_flag()
    checkpoint: str = checkpoint_flag()
    format: str = flag("savedmodel", Enum(*_KINDS), "Format of the export.")
    out: str = flag("exported", FOLDER, "Folder to create.")
    overwrite: bool = flag(False, Boolean(), "Whether an export in --out may be replaced.")


COMMAND = Command(
    """\
Export the averaged generator of a run to a folder that needs only TensorFlow (savedmodel), only
ONNX Runtime (onnx), or only LiteRT (litert), formerly TensorFlow Lite.

    python -m uotm_keras export --run_dir=runs/digits --out=digits_model
    python -m uotm_keras export --run_dir=runs/digits --out=digits_onnx --format=onnx

A SavedModel has the signatures serve(source, latent), also called serving_default, and
sample(n, seed). model.onnx and model.tflite have the inputs source and latent. All are float32,
take any batch size and return images in [-1, 1]. The folder also holds uotm_keras.json (what was
exported), model_card.md (in the Hugging Face form) and samples.png. All formats can be written
with every backend and need TensorFlow; onnx also needs the extra:
pip install 'uotm_keras[onnx]'.""",
    ExportConfig,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `run_command`."""
    return run_command(COMMAND, _export, argv)


def _export(config: ExportConfig) -> int:
    print(export_run(config))
    return 0


def export_run(config: ExportConfig) -> str:
    """Export the averaged generator of a run, and return a sentence that says where it is.

    Raises:
        InputError: the run, a package or the checkpoint is missing, or --out cannot be
            written.
    """
    from uotm_keras.exporting import require_packages
    from uotm_keras.training.runs import load_run

    require_packages(config.format)
    run = load_run(config.run_dir, checkpoint=config.checkpoint)
    folder = run.model.export(
        config.out,
        config.format,
        overwrite=config.overwrite,
        metadata=run_metadata(config.run_dir, run),
    )
    return f"The averaged generator of step {run.step} is in {folder}, {_KINDS[config.format]}."


def run_metadata(run_dir: str, run: "Run") -> dict[str, Any]:
    """Return what an export records about its run, for `exporting.model_card`.

    Args:
        run_dir: the run's folder.
        run: the exported run; only scores of its step are recorded.
    """
    from uotm_keras.training.metrics_log import read_log
    from uotm_keras.training.run_directory import RunDirectory

    directory = RunDirectory(run_dir)
    record = directory.read_config()
    at_step = [line for line in read_log(directory.metrics) if line["step"] == run.step]
    metadata = {
        "data_set": run.config.data.dataset,
        "flags": to_flags(run.config),
        "device": record.get("device"),
        "versions": record.get("versions"),
        "git_commit": record.get("git_commit"),
        "class_names": record.get("class_names"),
        "seconds": at_step[-1].get("seconds") if at_step else None,
        "scores": _logged_scores(at_step, run.config) | _digit_score(directory.path, run.step),
    }
    return {name: value for name, value in metadata.items() if value}


_NETWORKS = {
    "digits": "a digit classifier's features",
    "own": "an encoder trained on the data",
    "own_real": "an encoder trained on the data",
}
"""What computed the features of the scores that do not use Inception."""


def _logged_scores(lines: list[dict], config: TrainConfig) -> dict[str, dict]:
    """The scores of `--eval_every` at one step."""
    from uotm_keras.metrics.scorer import LABELS

    scores = {}
    for line in lines:
        for name, label in LABELS.items():
            if name not in line:
                continue
            record = {
                "value": line[name],
                "samples": line["score_samples"],
                "network": _NETWORKS.get(name, "Inception"),
            }
            if f"{name}_std" in line:
                record["std"] = line[f"{name}_std"]
            if name not in _NETWORKS:
                record["weights"] = config.scores.inception_weights
            if name != "is":
                record["reference"] = config.data.dataset
            scores[label] = record
    return scores


def _digit_score(folder: Path, step: int) -> dict[str, dict]:
    """The score of `python -m uotm_keras digits`, if it is of this step."""
    try:
        record = json.loads((folder / "digit_score.json").read_text())
        if record["step"] != step:
            return {}
        about = {"samples": record["num_samples"], "network": "a digit classifier"}
        return {
            "recognized as a digit": {"value": record["confident"], **about},
            "novelty": {"value": record["novelty"], **about},
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
