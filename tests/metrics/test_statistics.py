"""Streaming moments and the Fréchet distance."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from uotm_keras.metrics import FeatureStatistics, frechet_distance, frechet_distance_of_features
from uotm_keras.utils.errors import InputError


def moments(features):
    return features.mean(axis=0), np.cov(features, rowvar=False)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 400),
    st.lists(st.integers(0, 400), max_size=5),
    st.integers(1, 6),
    st.floats(-1e6, 1e6),
)
def test_any_batching_gives_the_moments(count, cuts, dim, shift):
    features = np.random.default_rng(count).normal(size=(count, dim)) + shift
    statistics = FeatureStatistics(dim)
    for part in np.split(features, sorted(min(cut, count) for cut in cuts)):
        statistics.update(part)
    assert statistics.count == count
    np.testing.assert_allclose(statistics.mean, features.mean(axis=0), rtol=1e-12, atol=1e-12)
    expected = np.atleast_2d(np.cov(features, rowvar=False))
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-9, atol=1e-9)


def test_float32_features_with_a_large_mean():
    """Sums of squares in float32 would have no correct digit here."""
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(5000, 3)) * 0.01 + 100).astype("float32")
    statistics = FeatureStatistics(3)
    for part in np.split(features, 50):
        statistics.update(part)
    expected = np.cov(features.astype("float64"), rowvar=False)
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-10, atol=1e-14)


def test_merging_saving_and_going_on(tmp_path):
    features = np.random.default_rng(0).normal(size=(500, 5)) + 3
    first, second = FeatureStatistics(5), FeatureStatistics(5)
    first.update(features[:200])
    second.update(features[200:450])
    first.merge(second)
    first.merge(FeatureStatistics(5))
    first.save(tmp_path / "statistics.npz")
    loaded = FeatureStatistics.load(tmp_path / "statistics.npz")
    loaded.update(features[450:])
    mean, covariance = moments(features)
    np.testing.assert_allclose(loaded.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(loaded.covariance, covariance, rtol=1e-12, atol=1e-14)
    assert second.count == 250  # merging does not use it up
    first.reset()
    assert first.count == 0


def test_memory_does_not_grow_with_samples():
    dim = 128
    tracemalloc.start()
    statistics = FeatureStatistics(dim)
    for seed in range(40):
        statistics.update(np.random.default_rng(seed).normal(size=(1000, dim)))
    _ = statistics.covariance
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000 * dim * 8 / 10


def test_golden_distance(fid_golden):
    value = frechet_distance_of_features(fid_golden["frechet/x"], fid_golden["frechet/y"])
    assert abs(value / fid_golden["frechet/value"] - 1) < 1e-9  # the mark is 1e-6


def test_golden_distance_of_few_samples(fid_golden):
    x, y = fid_golden["frechet/x_few"], fid_golden["frechet/y_few"]
    with pytest.warns(UserWarning, match="40 samples for 64 dimensions"):
        value = frechet_distance_of_features(x, y)
    assert abs(value / fid_golden["frechet/value_few"] - 1) < 1e-3


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
def test_against_scipy(decay):
    rng = np.random.default_rng(1)
    scale = np.arange(1, 31.0) ** -decay
    x, y = rng.normal(size=(200, 30)) * scale, rng.normal(size=(300, 30)) * scale * 1.5 + 0.1
    (mu1, sigma1), (mu2, sigma2) = moments(x), moments(y)
    root = scipy.linalg.sqrtm(sigma1 @ sigma2).real
    expected = np.sum((mu1 - mu2) ** 2) + np.trace(sigma1 + sigma2 - 2 * root)
    np.testing.assert_allclose(frechet_distance(mu1, sigma1, mu2, sigma2), expected, rtol=1e-8)


@pytest.mark.parametrize("n, m", [(60, 60), (10, 25), (25, 10), (2, 60)])
@pytest.mark.parametrize("decay", [0.5, 3.0])
def test_against_singular_values_of_the_samples(n, m, decay):
    """tr (Σ₁Σ₂)^½ is the nuclear norm of X Yᵀ: no square root of small eigenvalues at all."""
    rng = np.random.default_rng(n * m)
    scale = np.arange(1, 41.0) ** -decay
    x, y = rng.normal(size=(n, 40)) * scale, rng.normal(size=(m, 40)) * scale
    centred = [(a - a.mean(axis=0)) / np.sqrt(len(a) - 1) for a in (x, y)]
    trace = scipy.linalg.svdvals(centred[0] @ centred[1].T).sum()
    squares = sum((a**2).sum() for a in centred)
    expected = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2) + squares - 2 * trace
    value = frechet_distance(*moments(x), *moments(y))
    np.testing.assert_allclose(value, expected, rtol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_laws(dim, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(dim + 5, dim)) for _ in range(2))
    one, two = ((x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))) for x in (a, b))
    value = frechet_distance(*one, *two)
    scale = 1e-10 * (1 + np.trace(one[1]) + np.trace(two[1]))
    assert value >= 0
    assert abs(value - frechet_distance(*two, *one)) < scale
    assert frechet_distance(*one, *one) < scale
    shifted = frechet_distance(one[0] + 2.0, one[1], *one)
    assert abs(shifted - 4 * dim) < 1e-8
    rotation, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    turned = ((rotation @ mean, rotation @ cov @ rotation.T) for mean, cov in (one, two))
    assert abs(value - frechet_distance(*(part for pair in turned for part in pair))) < scale


def test_commuting_covariances_in_closed_form():
    p, q = np.array([1.0, 4.0, 9.0, 0.0]), np.array([4.0, 4.0, 0.0, 1.0])
    value = frechet_distance(np.zeros(4), np.diag(p), np.ones(4), np.diag(q))
    np.testing.assert_allclose(value, 4 + ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(), rtol=1e-14)
    zero = np.zeros((2, 2))
    assert frechet_distance([0, 0], zero, [3, 4], np.eye(2)) == 27.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([0, 0], np.eye(2), [0, 0, 0], np.eye(3)), "2 dimensions and the second 3"),
        (([0, 0], np.eye(3), [0, 0], np.eye(2)), r"accepted are \(d,\) and \(d, d\)"),
        (([0, np.nan], np.eye(2), [0, 0], np.eye(2)), "NaN"),
        (([0, 0], [[1, 2], [2, 1]], [0, 0], np.eye(2)), "not positive semi-definite"),
        (([0, 0], [[1, 1], [0, 1]], [0, 0], np.eye(2)), "not symmetric"),
        (([0, 0], np.eye(2), [0, 0], -np.eye(2)), "not positive semi-definite"),
    ],
)
def test_bad_moments(arguments, message):
    with pytest.raises(InputError, match=message):
        frechet_distance(*arguments)


def test_bad_features(tmp_path):
    statistics = FeatureStatistics(3)
    with pytest.raises(InputError, match="4 dimensions, and 3 are expected"):
        statistics.update(np.zeros((2, 4)))
    with pytest.raises(InputError, match="NaN or infinite values in 1 of 2 rows"):
        statistics.update([[0.0, 0.0, np.nan], [0.0, 0.0, 0.0]])
    with pytest.raises(InputError, match="shape"):
        statistics.update(np.zeros((2, 3, 1)))
    statistics.update(np.zeros((1, 3)))
    with pytest.raises(InputError, match="at least 2 samples, and there are 1"):
        _ = statistics.covariance
    with pytest.raises(InputError, match="cannot be merged"):
        statistics.merge(FeatureStatistics(2))
    np.savez(tmp_path / "a.npz", mu=np.zeros(2))
    with pytest.raises(InputError, match="lacks count, sigma"):
        FeatureStatistics.load(tmp_path / "a.npz")
    with pytest.raises(InputError, match="there is no file"):
        FeatureStatistics.load(tmp_path / "b.npz")
