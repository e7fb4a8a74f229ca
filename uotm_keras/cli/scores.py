"""From the configuration to what scores are made with: reference, features and metrics."""

from uotm_keras.config.schema import TrainConfig
from uotm_keras.metrics import Scorer, as_extractor, fid_inception_v3
from uotm_keras.metrics.extractors import Extractor
from uotm_keras.training.data import TrainingData
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.training.scoring import ScoreGenerator
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path

EMBEDDED = ("digits", "mnist5k")
"""The datasets that come with the installation and have a digit classifier."""


def inception(weights: str, preprocessing: str = "pytorch_fid") -> Extractor:
    """Return the feature network of `--inception_weights`.

    Raises:
        InputError: the file does not exist, or cannot be downloaded.
    """
    if weights in ("fid", "imagenet"):
        return as_extractor(weights, preprocessing)
    path = local_path(weights)
    if not path.is_file():
        raise InputError(
            f"flag --inception_weights={weights} is not a file: accepted are fid, imagenet and "
            "the path of a .pth or .npz file."
        )
    return as_extractor(fid_inception_v3(path, preprocessing))


def score_generator(
    config: TrainConfig, opened: TrainingData, directory: RunDirectory
) -> ScoreGenerator:
    """Return the callback that scores a run during training.

    Raises:
        InputError: the data are points, or a file or a package is missing.
    """
    dataset, scores = config.data.dataset, config.scores
    if not opened.target.is_images:
        raise InputError(
            f"flag --eval_every={scores.eval_every} needs images, but {dataset} holds points: "
            "use --eval_every=0."
        )
    digits = dataset if dataset in EMBEDDED else None
    metrics = metric_names(config)
    if "digits" in metrics and digits is None:
        raise InputError(
            f"flag --eval_metrics={','.join(metrics)}: digits is for the datasets "
            f"{' and '.join(EMBEDDED)}, and not for {dataset}."
        )
    # Outliers that were mixed in are not what the generator should learn.
    reference = getattr(opened.target, "clean", opened.target)
    extractor = None if metrics == ["digits"] else inception(scores.inception_weights)
    return ScoreGenerator(
        Scorer(reference, metrics, extractor, digits),
        num_samples=scores.eval_samples,
        source=opened.source,
        keep_best=directory.checkpoints if scores.keep_best else None,
    )


def metric_names(config: TrainConfig) -> list[str]:
    """Return the metrics that a run is scored by."""
    chosen = config.scores.eval_metrics
    if chosen is not None:
        return list(chosen)
    return ["digits" if config.data.dataset in EMBEDDED else "fid"]


def describe_protocol(config: TrainConfig) -> list[str]:
    """Return sentences on how a run is scored; none if it is not."""
    scores = config.scores
    if not scores.eval_every:
        return []
    metrics = metric_names(config)
    mixed = ", without the outliers mixed in" if config.data.contaminate else ""
    sentences = [
        f"Every {scores.eval_every} steps and at the end, {scores.eval_samples} samples of the "
        "averaged generator are scored as 8-bit images, always from the noise of seed 0.",
        f"Metrics: {', '.join(metrics)}. The reference is the training data "
        f"({config.data.dataset}){mixed}.",
    ]
    if metrics != ["digits"]:
        weights = {
            "fid": "the published FID Inception file (inception_weights=fid)",
            "imagenet": "Keras's ImageNet weights (inception_weights=imagenet), whose scores "
            "cannot be compared with published FIDs",
        }.get(scores.inception_weights, scores.inception_weights)
        sentences.append(f"Features: InceptionV3 with {weights}; preprocessing as in pytorch-fid.")
    if "digits" in metrics:
        sentences.append(
            "digits is the Fréchet distance of the features of a digit classifier. It cannot be "
            "compared with FIDs."
        )
    return sentences
