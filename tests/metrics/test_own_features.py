"""The score without a download for any images: an encoder trained on the data itself."""

import keras
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from uotm_keras import metrics
from uotm_keras.metrics import frechet_distance_of_features, own_extractor, own_features
from uotm_keras.metrics.digit_features import load_digit_images
from uotm_keras.utils.errors import InputError

STEPS = 150
"""So few, of small batches, are enough for the order of the scores."""


def photographs() -> np.ndarray:
    """Patches of scikit-learn's two photographs, the first half from the first."""
    from sklearn.datasets import load_sample_images

    rng, patches = np.random.default_rng(0), []
    for photograph in load_sample_images().images:
        for _ in range(600):
            y, x = (rng.integers(0, n - 64) for n in photograph.shape[:2])
            patches.append(photograph[y : y + 64 : 2, x : x + 64 : 2])
    return np.stack(patches)


def digits() -> np.ndarray:
    return load_digit_images("mnist5k")[0][::4]


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(images.astype("float32"), (0, sigma, sigma, 0)).astype("uint8")


def noised(images: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).astype("uint8")


@pytest.mark.parametrize("images", [photographs(), digits()], ids=["color", "gray"])
def test_scores_order_images_by_quality(images, monkeypatch):
    monkeypatch.setattr(own_features, "BATCH_SIZE", 32)
    encoder = own_extractor(images, steps=STEPS)
    # Both halves have images of all kinds, which are consecutive.
    reference, clean = images[::2], images[1::2]
    real = encoder(reference)["features"]

    def distance(samples):
        return frechet_distance_of_features(real, encoder(samples)["features"])

    best = distance(clean)
    assert best < distance(blurred(clean, 0.8)) < distance(blurred(clean, 1.5))
    assert best < distance(noised(clean, 12)) < distance(noised(clean, 40))
    one_of_two, few = np.resize(clean[: len(clean) // 2], clean.shape), clean[::60].repeat(60, 0)
    assert best < distance(one_of_two)
    assert best < distance(few)


def test_deterministic_and_cached(empty_cache, monkeypatch):
    images = digits()[:300]
    first = own_extractor(images, steps=3)
    (kept,) = (empty_cache / "own_features").iterdir()
    kept.write_bytes(b"damaged")
    again = own_extractor(images, steps=3)
    assert first.network == again.network
    np.testing.assert_array_equal(first(images)["features"], again(images)["features"])
    assert own_extractor(images, steps=3, seed=1).network != first.network
    assert own_extractor(images[1:], steps=3).network != first.network
    monkeypatch.setattr(own_features, "_train", None)  # Now it must be read.
    assert own_extractor(images, steps=3).network == first.network


@pytest.mark.every_backend
def test_features_of_the_real_images(empty_cache):
    images, done = digits()[:300], []
    keras.utils.clear_session()
    # A user's own random numbers and names of layers stay the same.
    keras.utils.set_random_seed(5)
    expected = float(keras.random.normal(())), keras.layers.Dense(1).name
    keras.utils.clear_session()
    keras.utils.set_random_seed(5)
    encoder = own_extractor(images, steps=4, progress=done.append)
    assert done == [1] * 4
    assert (float(keras.random.normal(())), keras.layers.Dense(1).name) == expected
    features = encoder(images)["features"]
    assert features.shape == (300, 64) and features.dtype == np.float32
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    assert features.var(axis=0).mean() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(encoder(images[:1])["features"], features[:1], atol=1e-4)
    # Of another size, and with three channels.
    large = images.repeat(2, 1).repeat(2, 2).repeat(3, 3)
    assert np.corrcoef(encoder(large)["features"].ravel(), features.ravel())[0, 1] > 0.9


def test_real_against_real():
    features = np.random.default_rng(0).normal(size=(41, 3)) * [1, 2, 3]
    value, count = own_features.real_against_real(features, 1000, splits=1, seed=4)
    assert count == 20
    order = np.random.default_rng(4).permutation(41)
    a, b = features[order[:20]], features[order[20:40]]
    ca, cb = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert value == pytest.approx(expected, rel=1e-9)
    assert own_features.real_against_real(features, 7)[1] == 7


def test_by_the_same_machinery(empty_cache):
    images = digits()[:400]
    encoder = own_extractor(images, steps=3)
    scorer = metrics.Scorer(images, ["own"], own=encoder)
    samples = noised(images[:100], 30)
    result = scorer.score(lambda: [samples[:60], samples[60:]])
    real, fake = (encoder(x)["features"] for x in (images, samples))
    record = result["metrics"]["own"]
    assert record["value"] == pytest.approx(frechet_distance_of_features(real, fake), rel=1e-6)
    floor, count = own_features.real_against_real(real, 100)
    assert record["real_against_real"] == pytest.approx(floor, rel=1e-6)
    assert record["real_samples"] == count == 100
    assert own_features.NOTE in result["notes"]
    options = metrics.Options(kid_subsets=2, kid_subset_size=50)
    others = metrics.evaluate_images(
        [samples], images, ("fid", "pr", "dc"), encoder, options=options
    )
    assert others["metrics"]["fid"] == record["value"]
    assert others["metrics"]["precision"] <= 1


def test_bad_input(images, tmp_path):
    with pytest.raises(InputError, match=r"needs at least 50 reference images: .* has 49"):
        own_extractor(images[:49])
    with pytest.raises(InputError, match="instead of statistics"):
        own_extractor(metrics.FeatureStatistics(3))
    encoder = own_extractor(images, steps=1)
    with pytest.raises(InputError, match="accepts uint8 images"):
        encoder(np.zeros((2, 8, 8, 3)))


def test_a_cache_that_cannot_be_written_is_a_warning(images, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UOTM_KERAS_HOME", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="the result is not cached"):
        encoder = own_extractor(images, steps=1)
    assert encoder(images)["features"].shape == (70, 64)
