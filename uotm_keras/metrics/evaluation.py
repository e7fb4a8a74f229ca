"""Computes all scores from one pass over the samples."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from uotm_keras.metrics.extractor import Extractor
from uotm_keras.metrics.extractors import as_extractor
from uotm_keras.metrics.inception_score import inception_score
from uotm_keras.metrics.kernel import kernel_distance
from uotm_keras.metrics.precision_recall import precision_recall
from uotm_keras.metrics.references import Reference, open_reference
from uotm_keras.metrics.samples import jpeg_round_trip
from uotm_keras.metrics.statistics import FeatureStatistics, frechet_distance, warn_if_few
from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.pixels import to_uint8
from uotm_keras.version import __version__

METRICS = ("fid", "kid", "is", "pr", "dc")
PROTOCOLS = ("uint8", "jpeg")
FEATURE_METRICS = frozenset(("kid", "pr", "dc"))
"""The metrics that need the features of each image, not only their mean and covariance."""


@dataclass(frozen=True)
class Options:
    """Settings of the metrics; the defaults are those of torch-fidelity and of the papers.

    Attributes:
        kid_subsets, kid_subset_size: number and size of KID's subsets.
        is_splits: number of splits of the Inception Score.
        k, density_k: neighbors for precision and recall, and for density and coverage.
        neighbour_samples: largest number of samples per side, drawn at random, for these
            four, whose time grows with its square.
        seed: seed of the subsets.
    """

    kid_subsets: int = 100
    kid_subset_size: int = 1000
    is_splits: int = 10
    k: int = 3
    density_k: int = 5
    neighbour_samples: int = 10_000
    seed: int = 2020


def check_metrics(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the names in the order of `METRICS`, each once.

    Raises:
        InputError: a name is unknown, or there is none.
    """
    metrics = list(metrics)
    for name in metrics:
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)
    if not metrics:
        raise InputError(f"no metrics are given: accepted are {', '.join(METRICS)}.")
    return tuple(name for name in METRICS if name in metrics)


def check_enough(
    metrics: Iterable[str], count: int, options: Options, what: str = "samples"
) -> None:
    """Check that there are enough images for the metrics.

    Raises:
        InputError: a metric needs more; the message says how many.
    """
    needed = {
        "kid": options.kid_subset_size,
        "is": options.is_splits if what == "samples" else 0,
        "pr": options.k + 1,
        "dc": max(options.k, options.density_k) + 1,
    }
    for name in metrics:
        least = max(2, needed.get(name, 0))
        if count < least:
            raise InputError(f"metric '{name}' needs at least {least} {what}: there are {count}.")


def evaluate_images(
    batches: Iterable[np.ndarray],
    reference: object,
    metrics: Iterable[str] = ("fid",),
    extractor: object = "fid",
    protocol: str = "uint8",
    *,
    options: Options | None = None,
    value_range: tuple[float, float] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Score samples against a reference; features are computed once for all metrics.

    Args:
        batches: samples (b, H, W, C), uint8, or floats, which are rounded to uint8 first.
        reference: see `open_reference`; may be None if `is` is the only metric.
        metrics: names of `METRICS`: fid, kid, is (Inception Score), pr (precision and
            recall), dc (density and coverage).
        extractor: see `as_extractor`.
        protocol: `"uint8"` scores the samples as PNG files would hold them; `"jpeg"` as
            they come back from JPEG files of quality 75, as the UOTM authors do.
        options: the metrics' settings.
        value_range: what is black and white in float samples; None: [0, 255].
        progress: called with the number of samples after each batch.

    Returns:
        A dict that JSON can represent: `metrics`, from fid, kid, kid_std, is, is_std, precision,
        recall, density, coverage to floats; `samples` and `reference_samples` (counts;
        None if a reference file does not say); `network`, `weights`, `preprocessing`,
        `protocol`, `reference`, `version`; `neighbour_samples` if pr or dc is among the metrics;
        `notes`, sentences that belong next to the numbers.

    Raises:
        InputError: the metrics, the samples and the reference do not fit together.
    """
    metrics = check_metrics(metrics)
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)
    options = options or Options()
    extractor = as_extractor(extractor)
    needs_features = any(name in FEATURE_METRICS for name in metrics)
    opened: Reference | None = None
    if metrics != ("is",):
        if reference is None:
            raise InputError(f"metrics {', '.join(metrics)} need a reference.")
        opened = open_reference(reference, extractor, keep_features=needs_features)
    if needs_features and opened is not None and opened.features is None:
        named = [name for name in metrics if name in FEATURE_METRICS]
        raise InputError(
            f"the reference {opened.description} contains only a mean and a covariance, and "
            f"{', '.join(named)} need its images: give a dataset, a folder or an array."
        )
    seen = _Features(extractor, keep=needs_features, logits="is" in metrics)
    for batch in batches:
        batch = np.asarray(batch)
        if batch.dtype != np.uint8:
            batch = to_uint8(batch, value_range or _full_range(batch))
        seen.add(jpeg_round_trip(batch) if protocol == "jpeg" else batch)
        if progress is not None:
            progress(len(batch))
    if seen.count < 2:
        raise InputError(f"there are {seen.count} samples: scores need at least 2.")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        values = _scores(metrics, seen, opened, options)
    notes = [str(warning.message) for warning in caught]
    network = extractor.network
    if network.note:
        notes.insert(0, network.note)
    if opened is not None and opened.network is None:
        notes.append(
            f"{opened.description} does not say which network and preprocessing made it; "
            "the samples' are assumed."
        )
    result = {
        "metrics": values,
        "samples": seen.count,
        "reference_samples": None if opened is None else opened.count,
        "network": network.name,
        "weights": network.weights,
        "preprocessing": network.preprocessing,
        "protocol": protocol,
        "reference": None if opened is None else opened.description,
        "version": __version__,
        "notes": notes,
    }
    if ("pr" in metrics or "dc" in metrics) and opened is not None and opened.features is not None:
        result["neighbour_samples"] = [
            min(options.neighbour_samples, n) for n in (len(opened.features), seen.count)
        ]
    return result


def _full_range(batch: np.ndarray) -> tuple[float, float]:
    low, high = float(batch.min(initial=0)), float(batch.max(initial=0))
    if not (0 <= low and high <= 255) or 0 < high <= 1:
        raise InputError(
            f"samples range from {low:.4g} to {high:.4g}: accepted are uint8 and floats in "
            "[0, 255]; pass value_range=(-1, 1) or (0, 1) for others."
        )
    return (0.0, 255.0)


class _Features:
    """What is kept of the samples: sums for FID, features and logits only if needed."""

    def __init__(self, extractor: Extractor, keep: bool, logits: bool):
        self.extractor, self.keep, self.logits = extractor, keep, logits
        self.statistics: FeatureStatistics | None = None
        self._features: list[np.ndarray] = []
        self._logits: list[np.ndarray] = []

    @property
    def count(self) -> int:
        return 0 if self.statistics is None else self.statistics.count

    def add(self, images: np.ndarray) -> None:
        outputs = self.extractor(images)
        features = outputs["features"]
        if self.statistics is None:
            self.statistics = FeatureStatistics(features.shape[1])
        self.statistics.update(features)
        if self.keep:
            self._features.append(np.asarray(features, "float32"))
        if self.logits:
            if "logits" not in outputs:
                raise InputError(
                    f"metric 'is' needs logits, and the feature extractor "
                    f"{self.extractor.network.name} returns none."
                )
            self._logits.append(np.asarray(outputs["logits"], "float32"))

    @property
    def features(self) -> np.ndarray:
        self._features = [np.concatenate(self._features)]
        return self._features[0]

    @property
    def all_logits(self) -> np.ndarray:
        return np.concatenate(self._logits)


def _scores(
    metrics: tuple[str, ...], seen: _Features, reference: Reference | None, options: Options
) -> dict[str, float]:
    values: dict[str, float] = {}
    statistics = seen.statistics
    if "fid" in metrics and reference is not None and statistics is not None:
        warn_if_few(statistics.count, statistics.dim, "samples")
        if reference.count is not None:
            warn_if_few(reference.count, len(reference.mean), "reference")
        values["fid"] = frechet_distance(
            reference.mean, reference.covariance, statistics.mean, statistics.covariance
        )
    real_features = None if reference is None else reference.features
    if "kid" in metrics and real_features is not None:
        values["kid"], values["kid_std"] = kernel_distance(
            real_features,
            seen.features,
            options.kid_subsets,
            options.kid_subset_size,
            seed=options.seed,
        )
    if "is" in metrics:
        values["is"], values["is_std"] = inception_score(
            seen.all_logits, options.is_splits, seed=options.seed
        )
    if ("pr" in metrics or "dc" in metrics) and real_features is not None:
        rng = np.random.default_rng(options.seed)
        real, fake = (
            _draw(features, options.neighbour_samples, rng)
            for features in (real_features, seen.features)
        )
        scores = precision_recall(real, fake, options.k, options.density_k)
        if "pr" in metrics:
            values |= {"precision": scores.precision, "recall": scores.recall}
        if "dc" in metrics:
            values |= {"density": scores.density, "coverage": scores.coverage}
    return values


def _draw(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    if len(features) <= count:
        return features
    return features[np.sort(rng.choice(len(features), count, replace=False))]
