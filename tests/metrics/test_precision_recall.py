"""Precision, recall, density and coverage against scikit-learn's neighbors."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from uotm_keras.metrics import precision_recall
from uotm_keras.utils.errors import InputError


def with_scikit_learn(real, fake, k, density_k):
    def radii(x, k):
        return NearestNeighbors(n_neighbors=k).fit(x).kneighbors()[0][:, -1]

    distances = pairwise_distances(real, fake)
    inside = distances <= radii(real, density_k)[:, None]
    return (
        (distances <= radii(real, k)[:, None]).any(axis=0).mean(),
        (distances <= radii(fake, k)[None]).any(axis=1).mean(),
        inside.sum(axis=0).mean() / density_k,
        inside.any(axis=1).mean(),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("block_bytes", [1, 2**26])
def test_against_scikit_learn(dtype, block_bytes):
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 5)).astype(dtype)
    fake = (rng.normal(size=(170, 5)) * 0.8 + 0.7).astype(dtype)
    ours = precision_recall(real, fake, block_bytes=block_bytes)
    expected = with_scikit_learn(real.astype("float64"), fake.astype("float64"), 3, 5)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert 0.2 < ours.precision < 1 and 0.2 < ours.recall < 1 and 0.1 < ours.coverage < 1


@settings(max_examples=25, deadline=None)
@given(st.integers(7, 80), st.integers(7, 80), st.integers(1, 6), st.integers(0, 10**6))
def test_laws(n, m, k, seed):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + 1
    ours = precision_recall(real, fake, k, k)
    np.testing.assert_allclose(ours, with_scikit_learn(real, fake, k, k), rtol=1e-12)
    swapped = precision_recall(fake, real, k, k)
    assert (ours.precision, ours.recall) == (swapped.recall, swapped.precision)
    moved = precision_recall(real * 3 + 100, fake * 3 + 100, k, k)
    np.testing.assert_allclose(moved, ours)


def test_extremes():
    x = np.random.default_rng(0).normal(size=(50, 4))
    same = precision_recall(x, x)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1) and same.density > 1
    assert precision_recall(x, x + 100) == (0, 0, 0, 0)
    collapsed = precision_recall(x, np.repeat(x[:1], 10, axis=0))
    assert collapsed.precision == 1 and collapsed.recall < 0.1 and collapsed.coverage < 0.3


def test_no_matrix_of_all_distances():
    rng = np.random.default_rng(0)
    real, fake = (rng.normal(size=(2000, 8)).astype("float32") for _ in range(2))
    tracemalloc.start()
    precision_recall(real, fake, block_bytes=2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2000 * 2000 * 8 / 8


def test_bad_input():
    x = np.zeros((10, 3))
    with pytest.raises(InputError, match="too few for 5 nearest"):
        precision_recall(x[:5], x)
    with pytest.raises(InputError, match="3 dimensions and fake features 2"):
        precision_recall(x, x[:, :2])
    with pytest.raises(InputError, match="k=0"):
        precision_recall(x, x, k=0)
    with pytest.raises(InputError, match="fake features have NaN"):
        precision_recall(x, x * np.nan)
