"""From the configuration to what scores are made with: reference, features and metrics."""

from uotm_keras.cli.console import Bars
from uotm_keras.config.schema import TrainConfig
from uotm_keras.metrics import Scorer, as_extractor, fid_inception_v3, own_extractor
from uotm_keras.metrics.extractors import Extractor
from uotm_keras.metrics.inception_weights import published_weights_at_hand
from uotm_keras.metrics.own_features import NOTE, STEPS
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
        try:
            return as_extractor(weights, preprocessing)
        except InputError as error:
            sentence = str(error).rstrip(".")
            raise InputError(f"{sentence}; or use the metric own, which needs no file.") from error
    path = local_path(weights)
    if not path.is_file():
        raise InputError(
            f"flag --inception_weights={weights} is not a file: accepted are fid, imagenet and "
            "the path of a .pth or .npz file."
        )
    return as_extractor(fid_inception_v3(path, preprocessing))


def own_encoder(reference: object) -> Extractor:
    """Return the encoder of the metric `own`, and show the progress of its training.

    Raises:
        InputError: there are too few images.
    """
    done = 0
    with Bars() as bars:
        advance = bars.bar("encoder", STEPS)

        def progress(count: int) -> None:
            nonlocal done
            advance(count)
            if done == 0:
                print("Training an encoder on the data, once, for the metric own.", flush=True)
            done += count
            if done % 100 == 0 and not bars.shown:
                print(f"encoder step {done}/{STEPS}", flush=True)

        return own_extractor(reference, steps=STEPS, progress=progress)


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
    inceptions = set(metrics) - {"digits", "own"}
    extractor = inception(scores.inception_weights) if inceptions else None
    own = own_encoder(reference) if "own" in metrics else None
    return ScoreGenerator(
        Scorer(reference, metrics, extractor, digits, own),
        num_samples=scores.eval_samples,
        source=opened.source,
        keep_best=directory.checkpoints if scores.keep_best else None,
    )


def metric_names(config: TrainConfig) -> list[str]:
    """Return the metrics that a run is scored by."""
    chosen = config.scores.eval_metrics
    if chosen is not None:
        return list(chosen)
    if config.data.dataset in EMBEDDED:
        return ["digits"]
    given = config.scores.inception_weights != "fid"
    return ["fid" if given or published_weights_at_hand() else "own"]


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
    if set(metrics) - {"digits", "own"}:
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
    if "own" in metrics:
        sentences.append(
            "own is the Fréchet distance of the features of an encoder trained on the data. It is "
            f"not FID. {NOTE}"
        )
    return sentences
