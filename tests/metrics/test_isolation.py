"""Outlier scores: junk of several kinds in images, clusters in points, and the statistics."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

import uotm_keras as uk
from uotm_keras import InputError
from uotm_keras.data import ArrayDataset, PointDataset
from uotm_keras.metrics import image_statistics, outlier_scores

KINDS = {
    "noise": lambda rng, images: rng.uniform(-1, 1, images.shape),
    "one value": lambda rng, images: rng.uniform(-1, 1, (len(images), 1, 1, 1)) + 0 * images,
    "inverted": lambda rng, images: -images,
    "stripes": lambda rng, images: np.where(np.arange(16)[:, None] % 4 < 2, 0.9, -0.9) + 0 * images,
}


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return uk.data.get("mnist5k", image_size=16).take(np.arange(0, 5000, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_junk_is_found(digits, kind):
    junk = KINDS[kind](np.random.default_rng(0), digits[:10]).astype("float32")
    scores = outlier_scores(np.concatenate([digits, junk]))
    assert scores.shape == (510,) and scores.dtype == np.float64
    assert roc_auc_score(np.arange(510) >= 500, scores) > 0.97


def test_texture_is_seen():
    """Junk near the mean image, with a fine pattern that the smooth images do not have."""
    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.uniform(-0.8, 0.8, (200, 4, 4, 1)), 4, axis=1), 4, axis=2)
    junk = np.where(np.indices((16, 16)).sum(axis=0) % 2, 0.15, -0.15) + np.zeros((5, 1, 1))
    images = np.concatenate([smooth, junk[..., None]]).astype("float32")
    assert (
        roc_auc_score(np.arange(205) >= 200, outlier_scores(images)) > 0.8
    )  # 0.0 without the texture


def test_of_points_it_is_the_forest_and_the_distance():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.standard_normal((200, 3)), rng.standard_normal((4, 3)) + 8])
    points = points.astype("float32")
    forest = IsolationForest(n_estimators=300, random_state=2).fit(points)
    nearest = np.sort(cdist(points, points), axis=1)[:, 1:4].mean(axis=1)

    def standard(x):
        return (x - np.median(x)) / np.subtract(*np.percentile(x, [75, 25]))

    expected = standard(-forest.score_samples(points)) + np.maximum(standard(nearest), 0)
    found = outlier_scores(points, seed=2, neighbors=3)
    # The forest of the library saw the same points in the order of their indices.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert set(np.argsort(-found)[:4]) == {200, 201, 202, 203}


def test_more_examples_than_references(monkeypatch):
    monkeypatch.setattr("uotm_keras.metrics.isolation._REFERENCES", 50)
    monkeypatch.setattr("uotm_keras.metrics.isolation._CHUNK", 32)
    rng, done = np.random.default_rng(0), []
    points = rng.standard_normal((300, 2)).astype("float32")
    points[7] = 9.0
    scores = outlier_scores(PointDataset(points, "points"), advance=done.append)
    assert scores.argmax() == 7 and sum(done) == 300
    np.testing.assert_array_equal(scores, outlier_scores(points))


def test_statistics_of_known_images():
    images = np.zeros((2, 8, 8, 3), "float32")
    images[1, :, ::2] = 0.5  # columns of 0.5 and 0: horizontal detail of ±0.25, mean 0.25
    flat, stripes = image_statistics(images)
    assert flat.shape == (2 * 3 * 4 * 3 + 2 * 2 * 3,)
    np.testing.assert_allclose(flat[:-12], np.log(1e-5), rtol=1e-6)
    np.testing.assert_allclose(flat[-12:], 0.0)
    gray, colors = np.log(0.25**2 + 1e-5), np.log(1e-5)
    np.testing.assert_allclose(stripes[:12].reshape(4, 3), [[gray, colors, colors]] * 4, rtol=1e-5)
    np.testing.assert_allclose(stripes[12:-12], colors, rtol=1e-5)
    np.testing.assert_allclose(stripes[-12:].reshape(4, 3), [[0.25, 0, 0]] * 4, atol=1e-6)


def test_large_images_are_reduced(digits):
    """Blocks of equal pixels leave every score as it was."""
    large = np.repeat(np.repeat(digits[:60], 8, axis=1), 8, axis=2)  # 128 px, reduced to 64
    middle = np.repeat(np.repeat(digits[:60], 4, axis=1), 4, axis=2)
    np.testing.assert_allclose(outlier_scores(large), outlier_scores(middle), rtol=1e-3, atol=1e-3)


def test_bad_input():
    with pytest.raises(InputError, match="9 examples: accepted are at least 10"):
        outlier_scores(np.zeros((9, 2), "float32"))
    with pytest.raises(InputError, match=r"shape \(20,\): accepted are images"):
        outlier_scores(np.zeros(20))
    constant = ArrayDataset(np.full((20, 8, 8, 3), 7, np.uint8), "constant")
    assert np.isfinite(outlier_scores(constant)).all()
