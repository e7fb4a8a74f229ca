"""Training data in the order of the weights that a model gives them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from uotm_keras.data.dataset import Dataset
from uotm_keras.models.uotm import UOTM


class Ranking(NamedTuple):
    """Examples of a data source, the least plausible first.

    Attributes:
        indices: int64 (n,), of the examples in the source.
        weights: float32 (n,), dπ₁/dν of each, ascending.
    """

    indices: np.ndarray
    weights: np.ndarray


def rank(
    model: UOTM,
    source: Dataset,
    batch_size: int,
    *,
    at_most: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Ranking:
    """Weighs the examples of a source and sorts them.

    Which examples share a batch is drawn from a fixed seed: potentials with minibatch
    statistics see an example in its batch, which must not be of its own kind.

    Args:
        model: its variables must be up to date (`backend.sync`); nothing in it changes.
        source: what it was trained on.
        batch_size: examples a call of the potential.
        at_most: weighs so many, always the same ones; None weighs all.
        advance: called with the number of examples after each batch.
    """
    order = np.random.default_rng(0).permutation(len(source))[:at_most]
    weights = np.empty(len(order), "float32")
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        weights[start : start + batch_size] = model.target_weights(source.take(batch), len(batch))
        if advance is not None:
            advance(len(batch))
    # By the index where weights are equal, so that the order does not depend on the batches.
    ascending = np.lexsort((order, weights))
    return Ranking(order[ascending], weights[ascending])


def describe_found(ranking: Ranking, outliers: np.ndarray) -> str:
    """One sentence on how well the weights tell known outliers; empty if none was weighed.

    Args:
        outliers: indices of the known ones, see `Source.outliers`.
    """
    known = np.isin(ranking.indices, outliers)
    count = int(known.sum())
    if count in (0, len(known)):
        return ""
    from sklearn.metrics import roc_auc_score

    precision = known[:count].mean()
    return (
        f"Of the {count} lowest, {precision:.1%} are among the {count} that were mixed in; "
        f"AUROC {roc_auc_score(known, -ranking.weights):.4f}."
    )
