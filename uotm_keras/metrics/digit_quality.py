"""Are generated digits digits? A score against scikit-learn's classifiers, not FID.

A support-vector classifier is fitted to real digits. Of the samples it is asked how many
it is sure of, whether all ten classes occur, and, by distances, whether the samples are
copies of training images.
"""

import dataclasses
import functools
import warnings

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
        smallest_class, largest_class: shares of the rarest and of the commonest class.
        novelty: median distance of a sample to the nearest of *all* real images, over that
            of a held-out real image to the nearest of the others; 0 for copies, about 1
            for real digits.
        real_confident: the share `confident` of held-out real images.
        classifier_accuracy: of the classifier on held-out real images.
    """

    confident: float
    smallest_class: float
    largest_class: float
    novelty: float
    real_confident: float
    classifier_accuracy: float

    def describe(self) -> str:
        """The score in a few lines for people."""
        return "\n".join(
            [
                f"  recognised as a digit with probability above {CONFIDENT}: "
                f"{self.confident:.1%} of the samples (real held-out digits: "
                f"{self.real_confident:.1%})",
                f"  shares of the ten classes: {self.smallest_class:.1%} to "
                f"{self.largest_class:.1%} (10 % each would be even)",
                f"  distance to the nearest training image: {self.novelty:.2f} of a real "
                "held-out digit's own (copies would have 0)",
                f"  the judge: a support-vector classifier, {self.classifier_accuracy:.1%} "
                "accurate on held-out real digits",
            ]
        )


@dataclasses.dataclass(frozen=True)
class _Judge:
    classifier: object
    real: np.ndarray  # all real images, float64 (N, pixels) in [0, 1]
    held_out_distance: float
    real_confident: float
    accuracy: float


def digit_quality(samples: np.ndarray, dataset: str = "digits") -> DigitQuality:
    """Scores generated digits against the real ones.

    Args:
        samples: float (N, H, W, 1) in [−1, 1], of the data set's size.
        dataset: "digits" (8×8) or "mnist5k" (32×32).

    Raises:
        InputError: another data set, or samples of another shape.
    """
    judge = _judge(dataset)
    flat = to_uint8(samples, (-1.0, 1.0)).reshape(len(samples), -1) / 255.0
    if flat.shape[1] != judge.real.shape[1]:
        raise InputError(f"samples of shape {samples.shape} are not of the size of {dataset!r}.")
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
        # To be removed in scikit-learn 1.11: the recommended calibration is far surer of
        # itself, and scores would no longer compare.
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
