"""`evaluate.py`: scores of a run, or of images in a folder or an .npz file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uotm_keras.cli.evaluate_config import COMMAND, EvaluateConfig
from uotm_keras.config import run_command
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path

if TYPE_CHECKING:
    from uotm_keras.cli.evaluation_inputs import Subject

DEFAULT_METRICS = ("fid", "kid", "is", "pr", "dc")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `run_command`."""
    return run_command(COMMAND, _evaluate, argv)


def _evaluate(config: EvaluateConfig) -> int:
    output = _output(config.output)

    from uotm_keras.cli import console
    from uotm_keras.cli.evaluation_inputs import digits_of, open_reference, open_subject
    from uotm_keras.cli.scores import inception, own_encoder
    from uotm_keras.metrics import Options, Scorer
    from uotm_keras.metrics.evaluation import check_enough
    from uotm_keras.utils.files import write_text

    subject = open_subject(config)
    metrics, remark = _metrics(config, subject)
    if remark:
        print(remark, flush=True)
    check_enough(metrics, subject.count, Options())
    reference = open_reference(config, subject, metrics)
    digits = digits_of(reference.digits, config.dataset, subject.digits)
    if "digits" in metrics and digits is None:
        raise InputError(
            f"flag --metrics={','.join(metrics)}: digits is for images like those of digits or "
            "mnist5k: say which by --dataset."
        )
    extractor = None
    if set(metrics) - {"digits", "own"}:
        extractor = inception(config.inception_weights or "fid", config.preprocessing)
    own = own_encoder(reference.images) if "own" in metrics else None
    with console.Bars() as bars:
        scorer = Scorer(
            reference.images,
            metrics,
            extractor,
            digits,
            own,
            protocol=subject.protocol,
            description=reference.description,
            progress=bars.bar("reference", reference.count),
        )
        scored = scorer.score(
            subject.batches, subject.value_range, bars.bar("samples", subject.count)
        )
    result = {
        "metrics": scored.pop("metrics"),
        **subject.about,
        **scored,
        "protocol": config.protocol,
        "notes": [*subject.notes, *scored["notes"]],
    }
    console.print_scores(result, subject.name)
    print(json.dumps(result, ensure_ascii=False), flush=True)
    if output is not None:
        write_text(output, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 0


def _output(name: str | None) -> Path | None:
    """The file of --output, checked before hours of work."""
    if name is None:
        return None
    from uotm_keras.utils.files import require_writable

    path = local_path(name)
    if path.is_dir():
        raise InputError(f"flag --output={name} cannot be written: it is a folder, give a file.")
    require_writable(path.parent, f"--output={name}")
    return path


def _metrics(config: EvaluateConfig, subject: "Subject") -> tuple[list[str], str]:
    """The metrics, and a sentence that explains an automatic choice of some of them."""
    from uotm_keras.cli.evaluation_inputs import digits_of, statistics_only
    from uotm_keras.metrics.inception_weights import published_weights_at_hand

    if config.metrics:
        return list(config.metrics), ""
    digits = digits_of(config.reference, config.dataset) or subject.digits
    offline = config.inception_weights is None and not published_weights_at_hand()
    if digits and offline:
        return ["digits"], (
            f"The score is the digit Fréchet distance, not FID: {digits} is an embedded dataset, "
            "and no Inception weights are given or stored (--metrics=fid downloads them)."
        )
    statistics = config.reference is not None and statistics_only(config.reference)
    if offline and not statistics:
        return ["own"], (
            "The score is the own-feature Fréchet distance, not FID: no Inception weights are "
            "given or stored (--metrics=fid downloads them)."
        )
    if statistics:
        return ["fid", "is"], (
            f"The scores are fid and is: {config.reference} holds a mean and a covariance, and "
            "the other scores need its images."
        )
    return list(DEFAULT_METRICS), ""
