"""The quality of generated digits, judged by a scikit-learn classifier; not FID.

A support-vector classifier is trained on real digits. The score says how many samples it
recognizes with confidence, whether all ten classes occur, and, by distances, whether the samples
are copies of training images.
"""

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np

from uotm_keras.metrics.digit_features import load_digit_images
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pixels import to_uint8

CONFIDENT = 0.8
"""The class probability above which a sample counts as a digit."""


@dataclasses.dataclass(frozen=True)
class DigitQuality:
    """The score of a set of samples.

    Attributes:
        confident: share of samples with a class probability above 0.8.
        smallest_class, largest_class: shares of the least and of the most frequent class.
        novelty: median distance of a sample to the nearest of *all* real images, divided by
            that of a held-out real image to the nearest of the others; 0 for copies, about 1
            for real digits.
        real_confident: the share `confident` of held-out real images.
        classifier_accuracy: accuracy of the classifier on held-out real images.
    """

    confident: float
    smallest_class: float
    largest_class: float
    novelty: float
    real_confident: float
    classifier_accuracy: float

    def describe(self) -> str:
        """Return the score as a few lines of text."""
        return "\n".join(
            [
                f"  recognized as a digit with probability above {CONFIDENT}: "
                f"{self.confident:.1%} of the samples (real held-out digits: "
                f"{self.real_confident:.1%})",
                f"  shares of the ten classes: {self.smallest_class:.1%} to "
                f"{self.largest_class:.1%} (a uniform share is 10 %)",
                f"  distance to the nearest training image: {self.novelty:.2f} times that of a "
                "real held-out digit (0 for copies)",
                f"  judged by a support-vector classifier, {self.classifier_accuracy:.1%} "
                "accurate on held-out real digits",
            ]
        )


@dataclasses.dataclass(frozen=True)
class _Judge:
    classifier: Any
    real: np.ndarray  # all real images, float64 (N, pixels) in [0, 1]
    held_out_distance: float
    real_confident: float
    accuracy: float


def digit_quality(samples: np.ndarray, dataset: str = "digits") -> DigitQuality:
    """Score generated digits against the real ones.

    Args:
        samples: floats (N, H, W, 1) in [−1, 1], with the size of the dataset's images.
        dataset: `"digits"` (8×8, default) or `"mnist5k"` (32×32).

    Raises:
        InputError: the dataset is another one, or the samples have another shape.
    """
    judge = _judge(dataset)
    flat = to_uint8(samples).reshape(len(samples), -1) / 255.0
    if flat.shape[1] != judge.real.shape[1]:
        raise InputError(f"samples of shape {samples.shape} do not have the size of {dataset!r}.")
    probabilities = judge.classifier.predict_proba(flat)
    shares = np.bincount(probabilities.argmax(axis=1), minlength=10) / len(flat)
    return DigitQuality(
        confident=float((probabilities.max(axis=1) > CONFIDENT).mean()),
        smallest_class=float(shares.min()),
        largest_class=float(shares.max()),
        novelty=_median_distance(flat, judge.real) / judge.held_out_distance,
        real_confident=judge.real_confident,
        classifier_accuracy=judge.accuracy,
    )


@functools.cache
def _judge(dataset: str) -> _Judge:
    from sklearn.model_selection import train_test_split
    from sklearn.svm import SVC

    images, labels = load_digit_images(dataset)
    real = images.reshape(len(images), -1) / 255.0
    train, held_out, train_labels, held_out_labels = train_test_split(
        real, labels, test_size=0.2, random_state=0, stratify=labels
    )
    with warnings.catch_warnings():
        # `probability` will be removed in scikit-learn 1.11; the recommended calibration is far
        # more confident, so that scores would no longer be comparable.
        warnings.simplefilter("ignore", FutureWarning)
        classifier = SVC(C=10.0, probability=True, random_state=0).fit(train, train_labels)
    return _Judge(
        classifier=classifier,
        real=real,
        held_out_distance=_median_distance(held_out, train),
        real_confident=float((classifier.predict_proba(held_out).max(axis=1) > CONFIDENT).mean()),
        accuracy=float(classifier.score(held_out, held_out_labels)),
    )


def _median_distance(samples: np.ndarray, references: np.ndarray) -> float:
    """Median over the samples of the Euclidean distance to the nearest reference."""
    from sklearn.metrics import pairwise_distances_argmin_min

    return float(np.median(pairwise_distances_argmin_min(samples, references)[1]))
