"""Rank training examples by the weight that a model gives them, or by their outlier score."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from uotm_keras.data.dataset import Dataset, required_labels
from uotm_keras.metrics.isolation import outlier_scores, standardized
from uotm_keras.models.uotm import UOTM
from uotm_keras.utils.seeds import sample_noise

_SOURCE_POINTS = 256
_MASS_RATIO = 1.5  # more than the sampling of the masses explains
_LEAST_MASS = 0.2


class Ranking(NamedTuple):
    """Examples of a dataset, the least plausible first.

    Attributes:
        indices: Int64 (n,): the indices of the examples in the dataset.
        weights: Float32 (n,): the weight dπ₁/dν of each, ascending.
    """

    indices: np.ndarray
    weights: np.ndarray


def costs_for_weights(model: UOTM, source: Dataset | None) -> np.ndarray | None:
    """Return the costs that `UOTM.target_weights` needs, or None if it needs none.

    Args:
        model: A `UOTM`.
        source: The dataset that it transports; None for Gaussian noise.
    """
    if not model.objective.weights_need_costs:
        return None
    if source is None:
        return model.transport_costs()
    some = np.random.default_rng(0).permutation(len(source))[:_SOURCE_POINTS]
    return model.transport_costs(source.take(some))


def source_mass(model: UOTM, source: Dataset | None) -> float:
    """Return the mass of the relaxed source marginal, from 256 points of the source.

    Args:
        model: A `UOTM`.
        source: The dataset that it transports; None for Gaussian noise.
    """
    if source is None:
        keys = [(0, i) for i in range(_SOURCE_POINTS)]
        points, latent = sample_noise(keys, model.source_shape, (model.latent_dim or 0,))
        condition = None if model.conditions is None else model.conditions.draw(keys)
        return float(model.source_weights(points, latent, condition=condition).mean())
    some = np.random.default_rng(0).permutation(len(source))[:_SOURCE_POINTS]
    return float(model.source_weights(source.take(some)).mean())


def describe_masses(of_source: float, of_data: float) -> str:
    """Return a warning in a sentence if the masses say that weights are not to be trusted.

    At the optimum the two relaxed marginals have the same mass.

    Args:
        of_source: The mass of the relaxed source marginal.
        of_data: The mass of the relaxed data marginal, which is the mean weight.
    """
    both = f"the mass of the source is {of_source:.3g} and that of the data {of_data:.3g}"
    if not max(of_source, of_data) <= _MASS_RATIO * min(of_source, of_data):
        return f"the weights are not to be trusted yet: {both}, which are equal at the optimum."
    if of_data < _LEAST_MASS:
        return f"most of the data are left out: {both}. A smaller --tau keeps more."
    return ""


def rank(
    model: UOTM,
    dataset: Dataset,
    batch_size: int,
    *,
    costs: np.ndarray | None = None,
    at_most: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Ranking:
    """Weigh the examples of a dataset and sort them by weight.

    The examples are shuffled with a fixed seed first: potentials with minibatch statistics
    judge an example within its batch, which must not consist of similar neighbors. The model
    is not changed.

    Args:
        model: A `UOTM` whose variables are up to date (`backend.sync`).
        dataset: The dataset it was trained on.
        batch_size: Examples per call of the potential.
        costs: What `costs_for_weights` returns. Defaults to None.
        at_most: The maximum number of examples to weigh, always the same ones. Defaults to
            None, which weighs all.
        advance: A function that is called with the number of examples after each batch.
            Defaults to None.

    Returns:
        The `Ranking`.
    """
    order = np.random.default_rng(0).permutation(len(dataset))[:at_most]
    weights = np.empty(len(order), "float32")
    options: dict[str, np.ndarray] = {} if costs is None else {"costs": costs}
    labels = None if model.conditions is None else required_labels(dataset)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        if labels is not None:
            options["condition"] = labels[batch]
        found = model.target_weights(dataset.take(batch), len(batch), **options)
        weights[start : start + batch_size] = found
        if advance is not None:
            advance(len(batch))
    # Equal weights are ordered by index, so that the order does not depend on the batches.
    ascending = np.lexsort((order, weights))
    return Ranking(order[ascending], weights[ascending])


def rank_by_score(
    dataset: Dataset,
    ranking: Ranking | None = None,
    advance: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sort examples by their outlier score, the most unusual first.

    It is `metrics.outlier_scores`; to which −log of the weight, standardized likewise, is added
    where it is above its median.

    Args:
        dataset: The examples.
        ranking: The weights of all examples, see `rank`. Defaults to None, which takes the
            score without them.
        advance: A function that is called with the number of examples that are done. Defaults
            to None.

    Returns:
        The indices of the examples, int64 (n,), and the score of each, descending.
    """
    scores = outlier_scores(dataset, advance=advance)
    if ranking is not None:
        left_out = np.empty(len(scores))
        left_out[ranking.indices] = -np.log(np.maximum(ranking.weights.astype("float64"), 1e-30))
        scores = scores + np.maximum(standardized(left_out), 0)
    order = np.argsort(-scores, kind="stable")
    return order, scores[order]


def describe_found(indices: np.ndarray, unusual: np.ndarray, outliers: np.ndarray) -> str:
    """Describe in a sentence how well a ranking identifies known outliers.

    Args:
        indices: The indices of the ranked examples, the least plausible first.
        unusual: A number for each that is higher for outliers.
        outliers: The indices of the known outliers, see `Dataset.outliers`.

    Returns:
        The sentence; an empty string if all or none of the ranked examples are known outliers.
    """
    known = np.isin(indices, outliers)
    count = int(known.sum())
    if count in (0, len(known)):
        return ""
    from sklearn.metrics import roc_auc_score

    precision = known[:count].mean()
    return (
        f"Of the {count} least plausible examples, {precision:.1%} are among the {count} known "
        f"outliers; AUROC {roc_auc_score(known, unusual):.4f}."
    )
