"""The training data with the lowest weights, as the run page shows them."""

from typing import NamedTuple

import numpy as np

from uotm_keras.data.dataset import Dataset
from uotm_keras.models.uotm import UOTM
from uotm_keras.reporting.thumbnails import Picture, thumbnail
from uotm_keras.training.ranking import describe_found, rank

EXAMPLES = 2048
"""Training examples that are weighed for a page, at most."""
SHOWN = 24


class Example(NamedTuple):
    """One training example of low weight.

    Attributes:
        weight: dπ₁/dν of it.
        name: its file, or NAME[INDEX].
        picture: of an image; None for points.
        values: coordinates of a point; none for images.
        known: whether it is known to be an outlier.
    """

    weight: float
    name: str
    picture: Picture | None
    values: tuple[float, ...]
    known: bool


class Outliers(NamedTuple):
    """What a model takes for outliers.

    Attributes:
        step: of the model.
        total: examples of the data set.
        weights: float32 (n,), of the n examples that were weighed, ascending.
        known: bool (n,), whether each is known to be an outlier.
        lowest: the examples of the lowest weights.
        points: float32 (n, d), the examples themselves if they are points, else None.
        found: a sentence on how well known outliers were found, or nothing.
    """

    step: int
    total: int
    weights: np.ndarray
    known: np.ndarray
    lowest: list[Example]
    points: np.ndarray | None
    found: str


def find_outliers(
    model: UOTM, source: Dataset, step: int, batch_size: int, examples: int = EXAMPLES
) -> Outliers:
    """Weighs training data and keeps the lowest; the model is not changed.

    Args:
        model: its variables must be up to date (`backend.sync`).
        source: what it was trained on.
        step: of the model.
        batch_size: examples a call, best as many as in training.
        examples: weighs so many at most, always the same ones.
    """
    ranking = rank(model, source, batch_size, at_most=examples)
    indices, weights = ranking
    known = np.isin(indices, source.outliers)
    lowest = []
    for index, weight, is_known, data in zip(
        indices, weights, known, source.take(indices[:SHOWN]), strict=False
    ):
        picture = thumbnail(data) if source.is_images else None
        values = () if source.is_images else tuple(map(float, data))
        lowest.append(
            Example(float(weight), source.path_of(index), picture, values, bool(is_known))
        )
    return Outliers(
        step, len(source), weights, known, lowest,
        None if source.is_images else source.take(indices),
        describe_found(ranking, source.outliers),
    )  # fmt: skip
