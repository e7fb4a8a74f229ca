"""Scores of generated images: FID exactly, and its relatives.

See docs/fid.md for what is computed and how it differs from other programs.
"""

from uotm_keras.metrics.evaluation import METRICS, Options, evaluate_images
from uotm_keras.metrics.extractors import Extractor, as_extractor, to_uint8
from uotm_keras.metrics.frechet import FrechetInceptionDistance, frechet_distance_of_features
from uotm_keras.metrics.inception import fid_inception_v3
from uotm_keras.metrics.inception_score import InceptionScore, inception_score
from uotm_keras.metrics.kernel import KernelInceptionDistance, kernel_distance, polynomial_mmd
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.precision_recall import PrecisionRecall, precision_recall
from uotm_keras.metrics.references import (
    Reference,
    compute_reference,
    load_reference,
    open_reference,
)
from uotm_keras.metrics.samples import (
    ImageArray,
    ImageFolder,
    authors_sample_count,
    jpeg_round_trip,
    open_images,
)
from uotm_keras.metrics.scorer import Scorer
from uotm_keras.metrics.statistics import FeatureStatistics, frechet_distance

__all__ = [
    "METRICS",
    "Extractor",
    "FeatureStatistics",
    "FrechetInceptionDistance",
    "ImageArray",
    "ImageFolder",
    "InceptionScore",
    "KernelInceptionDistance",
    "Network",
    "Options",
    "PrecisionRecall",
    "Reference",
    "Scorer",
    "as_extractor",
    "authors_sample_count",
    "compute_reference",
    "digit_extractor",
    "digit_frechet_distance",
    "evaluate_images",
    "fid_inception_v3",
    "frechet_distance",
    "frechet_distance_of_features",
    "inception_score",
    "jpeg_round_trip",
    "kernel_distance",
    "load_reference",
    "open_images",
    "open_reference",
    "polynomial_mmd",
    "precision_recall",
    "real_against_real",
    "to_uint8",
]

_DIGITS = ("digit_extractor", "digit_frechet_distance", "real_against_real")


def __getattr__(name: str):
    if name in _DIGITS:
        from uotm_keras.metrics import digit_features

        return getattr(digit_features, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
