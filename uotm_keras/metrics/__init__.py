"""Scores of generated images: FID, KID, Inception Score, precision and recall, and others.

See docs/fid.md for the definitions and the differences from other programs.
"""

from uotm_keras.metrics.digit_features import (
    digit_extractor,
    digit_frechet_distance,
    real_against_real,
)
from uotm_keras.metrics.evaluation import METRICS, Options, evaluate_images
from uotm_keras.metrics.extractor import Extractor
from uotm_keras.metrics.extractors import as_extractor
from uotm_keras.metrics.frechet import FrechetInceptionDistance
from uotm_keras.metrics.inception import fid_inception_v3
from uotm_keras.metrics.inception_score import InceptionScore, inception_score
from uotm_keras.metrics.isolation import image_statistics, outlier_scores
from uotm_keras.metrics.kernel import KernelInceptionDistance, kernel_distance, polynomial_mmd
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.own_features import own_extractor
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
from uotm_keras.metrics.statistics import (
    FeatureStatistics,
    frechet_distance,
    frechet_distance_of_features,
)
from uotm_keras.utils.pixels import to_uint8

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
    "image_statistics",
    "inception_score",
    "jpeg_round_trip",
    "kernel_distance",
    "load_reference",
    "open_images",
    "open_reference",
    "outlier_scores",
    "own_extractor",
    "polynomial_mmd",
    "precision_recall",
    "real_against_real",
    "to_uint8",
]
