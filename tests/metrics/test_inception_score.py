"""The Inception Score against its definition."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from uotm_keras.metrics import inception_score
from uotm_keras.utils.errors import InputError


def by_hand(logits, splits):
    p = softmax(logits.astype("float64"), axis=1)
    bounds = [i * len(p) // splits for i in range(splits + 1)]
    scores = [
        np.exp(np.mean([entropy(row, part.mean(axis=0)) for row in part]))
        for part in (p[a:b] for a, b in zip(bounds, bounds[1:], strict=False))
    ]
    return np.mean(scores), np.std(scores)


def test_against_scipys_entropy():
    logits = np.random.default_rng(0).normal(size=(103, 12)) * 3
    score = inception_score(logits, splits=10, shuffle=False)
    np.testing.assert_allclose(score, by_hand(logits, 10), rtol=1e-12)
    order = np.arange(103)
    np.random.RandomState(2020).shuffle(order)
    score = inception_score(logits, splits=10)
    np.testing.assert_allclose(score, by_hand(logits[order], 10), rtol=1e-12)


def test_extremes():
    assert inception_score(np.zeros((20, 5)), splits=2).mean == pytest.approx(1)
    certain = np.tile(np.eye(5) * 1e4, (8, 1))  # the other probabilities underflow to 0
    assert inception_score(certain, splits=1).mean == pytest.approx(5)
    ordered = np.repeat(np.eye(4) * 1e4, 25, axis=0)
    assert inception_score(ordered, splits=4, shuffle=False).mean == pytest.approx(1)
    assert inception_score(ordered, splits=4).mean > 3.5


def test_bad_input():
    with pytest.raises(InputError, match="splits=10 for 9 samples"):
        inception_score(np.zeros((9, 3)))
    with pytest.raises(InputError, match="logits have NaN"):
        inception_score(np.full((20, 3), np.nan))
