"""From flags to what scores are made with: the reference, the feature networks, the metrics."""

from collections.abc import Mapping
from pathlib import Path

from uotm_keras.cli.build import Data
from uotm_keras.metrics import Scorer, as_extractor, fid_inception_v3
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.training.scoring import ScoreGenerator
from uotm_keras.utils.errors import InputError

EMBEDDED = ("digits", "mnist5k")


def inception(weights: str, preprocessing: str = "pytorch_fid"):
    """The feature network of --inception_weights.

    Raises:
        InputError: no such file, or a download that is needed is not possible.
    """
    path = Path(weights).expanduser()
    if weights in ("fid", "imagenet"):
        return as_extractor(weights, preprocessing)
    if not path.is_file():
        raise InputError(
            f"flag --inception_weights={weights} is not a file: accepted are fid, imagenet and "
            "the path of a .pth or .npz file."
        )
    return as_extractor(fid_inception_v3(path, preprocessing))


def score_generator(flags: Mapping, data: Data, directory: RunDirectory) -> ScoreGenerator:
    """What --eval_every and the flags beside it ask for.

    Raises:
        InputError: the data are points, or something that is needed is not there.
    """
    if not data.target.is_images:
        raise InputError(
            f"flag --eval_every={flags['eval_every']} needs images, but {flags['dataset']} "
            "holds points: accepted is 0."
        )
    digits = flags["dataset"] if flags["dataset"] in EMBEDDED else None
    metrics = metric_names(flags)
    if "digits" in metrics and digits is None:
        raise InputError(
            f"flag --eval_metrics={','.join(metrics)}: digits is for the data sets "
            f"{' and '.join(EMBEDDED)}, and not for {flags['dataset']}."
        )
    # Outliers that were mixed in are not what is to be learnt.
    reference = getattr(data.target, "clean", data.target)
    extractor = None if metrics == ["digits"] else inception(flags["inception_weights"])
    scorer = Scorer(reference, metrics, extractor, digits)
    return ScoreGenerator(
        scorer,
        num_samples=flags["eval_samples"],
        source=data.source,
        keep_best=directory.checkpoints if flags["keep_best"] == "on" else None,
    )


def metric_names(flags: Mapping) -> list[str]:
    """What --eval_metrics means."""
    return flags.get("eval_metrics") or ["digits" if flags["dataset"] in EMBEDDED else "fid"]


def describe_protocol(flags: Mapping) -> list[str]:
    """How train.py scores a run of these flags, in sentences; nothing where it does not."""
    if not flags.get("eval_every"):
        return []
    metrics = metric_names(flags)
    images = f"{flags['eval_samples']} samples" if flags.get("eval_samples") else "samples"
    sentences = [
        f"Every {flags['eval_every']} steps and at the end, of {images} of the averaged "
        "generator, always from the noise of seed 0, as 8-bit images.",
        f"Metrics: {', '.join(metrics)}. The reference is the training data ({flags['dataset']})"
        + (", without the outliers mixed in." if flags.get("contaminate") else "."),
    ]
    if metrics != ["digits"]:
        weights = flags.get("inception_weights", "fid")
        told = {
            "fid": "the published FID Inception file (inception_weights=fid)",
            "imagenet": "Keras's ImageNet weights (inception_weights=imagenet): these scores "
            "compare with no published FID",
        }
        sentences.append(
            f"Features: InceptionV3, weights {told.get(weights, weights)}; preprocessing as "
            "pytorch-fid's."
        )
    if "digits" in metrics:
        sentences.append(
            "digits is FID's formula in the features of a digit classifier: it compares with no "
            "FID."
        )
    return sentences
