"""Inception Score (Salimans et al. 2016, arXiv 1606.03498)."""

from typing import Any, NamedTuple

import numpy as np

from uotm_keras.metrics.features import FeatureMetric
from uotm_keras.metrics.statistics import check_features
from uotm_keras.utils.errors import InputError


class Score(NamedTuple):
    """Mean and standard deviation over the splits."""

    mean: float
    std: float


def inception_score(
    logits: np.ndarray, splits: int = 10, shuffle: bool = True, seed: int = 2020
) -> Score:
    """Return exp E KL(p(y|x) ‖ p(y)), with p(y) averaged within each split.

    Args:
        logits: (n, classes); for comparable scores, those of the FID Inception network
            without its bias.
        splits: number of parts of equal size (±1). Defaults to 10.
        shuffle: True (default) as in torch-fidelity; False keeps the order, as the original
            program did, which makes a difference if samples are sorted by class.
        seed: seed of the shuffling. Defaults to 2020.

    Returns:
        (mean, std) over the splits; std is the population's. Computed in float64.

    Raises:
        InputError: there are fewer samples than splits, or NaN values.
    """
    logits = check_features(logits, "logits")
    if splits < 1 or len(logits) < max(splits, 2):
        raise InputError(
            f"splits={splits} for {len(logits)} samples: the Inception Score needs at least 2 "
            "samples and one in each split."
        )
    order = np.arange(len(logits))
    if shuffle:
        np.random.RandomState(seed).shuffle(order)  # noqa: NPY002 (torch-fidelity's generator)
    scores = []
    for i in range(splits):
        part = order[i * len(order) // splits : (i + 1) * len(order) // splits]
        x = logits[part].astype("float64")
        x -= x.max(axis=1, keepdims=True)
        x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
        p = np.exp(x)
        marginal = p.mean(axis=0)
        # A class whose probability underflows everywhere adds 0·log 0 = 0.
        log_marginal = np.log(marginal, where=marginal > 0, out=np.zeros_like(marginal))
        scores.append(np.exp((p * (x - log_marginal)).sum(axis=1).mean()))
    return Score(float(np.mean(scores)), float(np.std(scores)))


class InceptionScore(FeatureMetric):
    """Inception Score of the fake images, as a Keras metric; real images are ignored.

    Args:
        extractor: see `FeatureMetric`; it must return logits.
        splits, shuffle, seed: see `inception_score`.
        value_range, name: see `FeatureMetric`.
    """

    uses_real = False
    uses_logits = True

    def __init__(
        self,
        extractor: object = "fid",
        splits: int = 10,
        shuffle: bool = True,
        seed: int = 2020,
        value_range: tuple[float, float] | None = None,
        name: str = "inception_score",
    ):
        super().__init__(extractor, value_range, name)
        self.options: dict[str, Any] = {"splits": splits, "shuffle": shuffle, "seed": seed}

    def compute(self) -> Score:
        """Return (mean, std) over the splits."""
        return inception_score(self.fake_features(), **self.options)

    def value(self) -> float:
        return self.compute().mean
