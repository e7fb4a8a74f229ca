"""Scores by name of samples that are read once per feature network."""

from collections.abc import Callable, Iterable

import numpy as np

from uotm_keras.metrics.evaluation import (
    FEATURE_METRICS,
    METRICS,
    PROTOCOLS,
    Options,
    check_enough,
    evaluate_images,
)
from uotm_keras.metrics.extractor import Extractor
from uotm_keras.metrics.extractors import as_extractor
from uotm_keras.metrics.own_features import NOTE, SCORE_NAME, own_extractor, real_against_real
from uotm_keras.metrics.references import Reference, open_reference
from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.version import __version__

_ALONE = ("digits", "own")
"""The metrics that are FID's formula with features of their own."""
NAMES = (*METRICS, *_ALONE)
LABELS = {
    "fid": "FID",
    "kid": "KID",
    "is": "Inception Score",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "digits": "digit Fréchet distance, not FID",
    "own": SCORE_NAME,
    "own_real": "real against real, own features",
}
"""The label of each value in tables."""
LOWER_IS_BETTER = {"fid": True, "kid": True, "is": False, "digits": True, "own": True}
"""Whether lower is better, for the metrics that rank generators by one number."""


class Scorer:
    """Scores samples against one reference, which is opened once.

    Args:
        reference: see `open_reference`; may be None if `is` is the only metric.
        metrics: names of `NAMES`: those of `evaluate_images`; `digits`, FID's formula with the
            features of a digit classifier; and `own`, the same with an encoder trained on the
            reference. Defaults to `("fid",)`.
        extractor: see `as_extractor`; for all metrics but `digits` and `own`. Defaults to
            `"fid"`.
        digits: the digit classifier of the metric `digits`: `"digits"` or `"mnist5k"`.
        own: the encoder of the metric `own`. Defaults to `own_extractor(reference)`.
        protocol, options: see `evaluate_images`.
        description: name of the reference, for results. Defaults to the name found.
        progress: called with the number of reference images after each batch.

    Attributes:
        metrics: the names, each once.

    Raises:
        InputError: a name is unknown, something required is missing, or the reference is too
            small.

    Example:
        scorer = Scorer("folder/of/real/images", ["fid", "is"])
        scorer.score(lambda: batches, value_range=(-1, 1))["metrics"]["fid"]["value"]
    """

    def __init__(
        self,
        reference: object,
        metrics: Iterable[str] = ("fid",),
        extractor: object = "fid",
        digits: str | None = None,
        own: Extractor | None = None,
        *,
        protocol: str = "uint8",
        options: Options | None = None,
        description: str | None = None,
        progress: Callable[[int], None] | None = None,
    ):
        self.metrics = tuple(dict.fromkeys(metrics))
        self.protocol, self.options = protocol, options or Options()
        for name in self.metrics:
            if name not in NAMES:
                raise unknown_name("metric", name, NAMES)
        if not self.metrics:
            raise InputError(f"no metrics are given: accepted are {', '.join(NAMES)}.")
        if protocol not in PROTOCOLS:
            raise unknown_name("protocol", protocol, PROTOCOLS)
        if "digits" in self.metrics and digits is None:
            raise InputError(
                "metric 'digits' is for images like those of the datasets digits and mnist5k: "
                "pass one of the two names as `digits`."
            )
        self._parts: list[tuple[tuple[str, ...], Extractor, Reference | None]] = []
        if "own" in self.metrics:
            own = own or own_extractor(reference)
        common = tuple(name for name in self.metrics if name not in _ALONE)
        for names, chosen in ((common, extractor), (("digits",), digits), (("own",), own)):
            if not set(names) & set(self.metrics):
                continue
            used = as_extractor(chosen)
            opened = None
            if names != ("is",):
                opened = open_reference(
                    reference,
                    used,
                    keep_features=bool(set(names) & {*FEATURE_METRICS, "own"}),
                    description=description,
                    progress=progress,
                )
                if opened.count is not None:
                    check_enough(names, opened.count, self.options, "reference images")
            self._parts.append((names, used, opened))

    def check_enough(self, count: int) -> None:
        """Check that there are enough samples.

        Raises:
            InputError: a metric needs more; the message says how many.
        """
        check_enough(self.metrics, count, self.options)

    def score(
        self,
        samples: Callable[[], Iterable[np.ndarray]],
        value_range: tuple[float, float] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> dict:
        """Score a set of samples.

        Args:
            samples: returns the batches (b, H, W, C), the same ones at each call; it is called
                once per feature network.
            value_range, progress: see `evaluate_images`.

        Returns:
            A dict that JSON can represent: `metrics`, by name (`precision`, `recall`, `density`
            and `coverage` for pr and dc) a dict of `value`, `std` if it is defined,
            `samples`, `reference`, `reference_samples`, `network`, `weights`,
            `preprocessing`, and `neighbour_samples` for the metrics of neighbors (the
            Inception Score has no reference); for own also `real_against_real`, the mean
            distance between two parts of the reference with `real_samples` images each;
            `protocol`, `version`, `notes`.

        Raises:
            InputError: see `evaluate_images`.
        """
        records: dict[str, dict] = {}
        notes: dict[str, None] = {}
        for names, extractor, reference in self._parts:
            alone = names[0] if names[0] in _ALONE else None
            result = evaluate_images(
                samples(),
                reference,
                ("fid",) if alone else names,
                extractor,
                self.protocol,
                options=self.options,
                value_range=value_range,
                progress=progress,
            )
            notes |= dict.fromkeys(result["notes"])
            for name, record in _records(result).items():
                records[alone or name] = record
            if alone == "own" and reference is not None and reference.features is not None:
                floor, count = real_against_real(reference.features, result["samples"])
                records["own"] |= {"real_against_real": floor, "real_samples": count}
                notes[NOTE] = None
        return {
            "metrics": records,
            "protocol": self.protocol,
            "version": __version__,
            "notes": list(notes),
        }


def _records(result: dict) -> dict[str, dict]:
    """Each value of `evaluate_images` with everything that was used for it."""
    values = result["metrics"]
    about = ("samples", "reference", "reference_samples", "network", "weights", "preprocessing")
    records = {}
    for name, value in values.items():
        if name.endswith("_std"):
            continue
        record = {"value": value}
        if f"{name}_std" in values:
            record["std"] = values[f"{name}_std"]
        record |= {key: result[key] for key in about}
        if name == "is":
            record |= {"reference": None, "reference_samples": None}
        if name in ("precision", "recall", "density", "coverage"):
            record["neighbour_samples"] = result["neighbour_samples"]
        records[name] = record
    return records
