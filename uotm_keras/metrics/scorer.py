"""Scores by name, `digits` among them, of samples that come again for each network."""

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
from uotm_keras.metrics.references import Reference, open_reference
from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.version import __version__

NAMES = (*METRICS, "digits")
LABELS = {
    "fid": "FID",
    "kid": "KID",
    "is": "Inception Score",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "digits": "digit Fréchet distance, not FID",
}
"""What each value is called in tables."""
LOWER_IS_BETTER = {"fid": True, "kid": True, "is": False, "digits": True}
"""The metrics of one number that says which of two generators is better."""


class Scorer:
    """Judges samples against one reference, which is opened once.

    Args:
        reference: see `open_reference`; the Inception Score alone needs none.
        metrics: of `NAMES`: those of `evaluate_images`, and `digits`, FID's formula in the
            features of a digit classifier.
        extractor: see `as_extractor`; for all metrics but `digits`.
        digits: which digit classifier, `"digits"` or `"mnist5k"`; for the metric `digits`.
        protocol, options: see `evaluate_images`.
        description: of the reference, instead of the one found.
        progress: called with the number of reference images after each batch.

    Attributes:
        metrics: the names, each once.

    Raises:
        InputError: an unknown name; what is needed is not given; a reference too small.
    """

    def __init__(
        self,
        reference: object,
        metrics: Iterable[str] = ("fid",),
        extractor: object = "fid",
        digits: str | None = None,
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
            raise InputError(f"no metrics were named: accepted are {', '.join(NAMES)}.")
        if protocol not in PROTOCOLS:
            raise unknown_name("protocol", protocol, PROTOCOLS)
        if "digits" in self.metrics and digits is None:
            raise InputError(
                "metric 'digits' is for images like those of the data sets digits and mnist5k: "
                "say which of the two."
            )
        self._parts: list[tuple[tuple[str, ...], Extractor, Reference | None]] = []
        common = tuple(name for name in self.metrics if name != "digits")
        for names, chosen in ((common, extractor), (("digits",), digits)):
            if not set(names) & set(self.metrics):
                continue
            used = as_extractor(chosen)
            opened = None
            if names != ("is",):
                opened = open_reference(
                    reference,
                    used,
                    keep_features=bool(set(names) & FEATURE_METRICS),
                    description=description,
                    progress=progress,
                )
                if opened.count is not None:
                    check_enough(names, opened.count, self.options, "reference images")
            self._parts.append((names, used, opened))

    def check_enough(self, count: int) -> None:
        """Whether so many samples are enough.

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
        """Judges a set of samples.

        Args:
            samples: gives the batches (b, H, W, C), anew at each call: the same ones for
                each network.
            value_range, progress: see `evaluate_images`.

        Returns:
            A dict that JSON can hold: `metrics`, by name (`precision`, `recall`, `density`
            and `coverage` for pr and dc) a dict of `value`, `std` where it is defined,
            `samples`, `reference`, `reference_samples`, `network`, `weights`,
            `preprocessing`, and `neighbour_samples` where not all samples may count (the
            Inception Score has no reference); `protocol`, `version`, `notes`.

        Raises:
            InputError: what `evaluate_images` refuses.
        """
        records: dict[str, dict] = {}
        notes: dict[str, None] = {}
        for names, extractor, reference in self._parts:
            result = evaluate_images(
                samples(),
                reference,
                ("fid",) if names == ("digits",) else names,
                extractor,
                self.protocol,
                options=self.options,
                value_range=value_range,
                progress=progress,
            )
            notes |= dict.fromkeys(result["notes"])
            for name, record in _records(result).items():
                records["digits" if names == ("digits",) else name] = record
        return {
            "metrics": records,
            "protocol": self.protocol,
            "version": __version__,
            "notes": list(notes),
        }


def _records(result: dict) -> dict[str, dict]:
    """Each value of `evaluate_images` with all that was used for it."""
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
