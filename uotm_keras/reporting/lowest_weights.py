"""The training examples with the lowest weights, as the run page shows them."""

from typing import NamedTuple

import numpy as np

from uotm_keras.data.dataset import Dataset
from uotm_keras.models.uotm import UOTM
from uotm_keras.reporting.thumbnails import Picture, thumbnail
from uotm_keras.training.ranking import describe_found, rank

EXAMPLES = 2048
"""The default for the number of training examples to weigh for a page."""
SHOWN = 24
"""The number of examples that a page shows."""


class Example(NamedTuple):
    """One training example with a low weight.

    Attributes:
        weight: Its weight dπ₁/dν.
        name: Its file, or NAME[INDEX].
        picture: The image, or None for points.
        values: The coordinates of a point; empty for images.
        known: Whether it is known to be an outlier.
    """

    weight: float
    name: str
    picture: Picture | None
    values: tuple[float, ...]
    known: bool


class LowestWeights(NamedTuple):
    """Weights of training examples, and the examples with the lowest ones.

    Attributes:
        step: The training step of the model.
        total: The number of examples in the dataset.
        weights: Float32 (n,): the weights of the n weighed examples, ascending.
        known: Bool (n,): whether each is known to be an outlier.
        lowest: The examples with the lowest weights.
        points: Float32 (n, d): the examples if they are points, else None.
        found: A sentence on how well known outliers were found, or an empty string.
    """

    step: int
    total: int
    weights: np.ndarray
    known: np.ndarray
    lowest: list[Example]
    points: np.ndarray | None
    found: str


def find_lowest_weights(
    model: UOTM,
    dataset: Dataset,
    step: int,
    batch_size: int,
    examples: int = EXAMPLES,
    costs: np.ndarray | None = None,
) -> LowestWeights:
    """Weigh training examples and keep those with the lowest weights.

    The model is not changed.

    Args:
        model: A `UOTM` whose variables are up to date (`backend.sync`).
        dataset: The dataset it was trained on.
        step: The training step of the model.
        batch_size: Examples per call; best the batch size of training.
        examples: The maximum number of examples to weigh, always the same ones.
            Defaults to 2048.
        costs: What `costs_for_weights` returns. Defaults to None.
    """
    ranking = rank(model, dataset, batch_size, costs=costs, at_most=examples)
    indices, weights = ranking
    known = np.isin(indices, dataset.outliers)
    lowest = []
    for index, weight, is_known, data in zip(
        indices, weights, known, dataset.take(indices[:SHOWN]), strict=False
    ):
        picture = thumbnail(data) if dataset.is_images else None
        values = () if dataset.is_images else tuple(map(float, data))
        lowest.append(
            Example(float(weight), dataset.path_of(index), picture, values, bool(is_known))
        )
    return LowestWeights(
        step, len(dataset), weights, known, lowest,
        None if dataset.is_images else dataset.take(indices),
        describe_found(indices, -weights, dataset.outliers),
    )  # fmt: skip
