"""The offline score: a classifier trained on the embedded digits."""

import numpy as np
import pytest

from uotm_keras import metrics
from uotm_keras.metrics import digit_features
from uotm_keras.metrics.digit_features import digit_classifier, load_digit_images
from uotm_keras.utils.errors import InputError


def test_held_out_accuracy():
    assert digit_classifier("digits").accuracy >= 0.98


def test_deterministic_and_kept(monkeypatch, empty_cache):
    first = digit_classifier("digits")
    kept = list((empty_cache / "digit_features").iterdir())
    assert len(kept) == 1
    kept[0].write_bytes(b"damaged")
    again = digit_classifier("digits")
    for ours, theirs in zip(
        first.weights + first.biases, again.weights + again.biases, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    monkeypatch.setattr(digit_features, "_train", None)  # now it must be read
    assert digit_classifier("digits").accuracy == first.accuracy


def test_scores_order_images_by_quality():
    real, _ = load_digit_images("digits")
    noise = np.random.default_rng(0).integers(0, 256, real.shape).astype("uint8")
    between_halves = metrics.real_against_real("digits")
    assert 0 < between_halves < 5
    assert metrics.digit_frechet_distance(real) < 1e-9
    blurred = (real // 4 * 3 + np.roll(real, 1, axis=2) // 4).astype("uint8")
    assert between_halves < metrics.digit_frechet_distance(blurred)
    assert metrics.digit_frechet_distance(blurred) < metrics.digit_frechet_distance(noise)


def test_features_classify():
    images, classes = load_digit_images("digits")
    outputs = metrics.digit_extractor("digits")(images)
    assert outputs["features"].shape == (1797, 64) and outputs["logits"].shape == (1797, 10)
    assert (outputs["logits"].argmax(axis=1) == classes).mean() > 0.98
    large = np.repeat(np.repeat(np.repeat(images, 4, 1), 4, 2), 3, 3)  # 32 × 32, color
    logits = metrics.digit_extractor("digits")(large)["logits"]
    assert (logits.argmax(axis=1) == classes).mean() > 0.97


def test_by_the_same_machinery():
    images, _ = load_digit_images("digits")
    options = metrics.Options(kid_subsets=2, kid_subset_size=100)
    result = metrics.evaluate_images(
        [images[:900]], images[900:], metrics.METRICS, "digits", options=options
    )
    assert result["network"] == "digits classifier"
    assert result["metrics"]["is"] > 8 and result["metrics"]["precision"] > 0.7
    assert 0 < result["metrics"]["fid"] < 5


def test_the_mnist_digits():
    images, classes = load_digit_images("mnist5k")
    assert images.shape == (5000, 32, 32, 1) and np.bincount(classes).tolist() == [500] * 10
    inner = digit_features._pixels(images[:3, 2:-2, 2:-2], "mnist5k")
    np.testing.assert_array_equal(inner, digit_features._pixels(images[:3], "mnist5k"))


def test_bad_input():
    with pytest.raises(InputError, match="did you mean 'digits'"):
        digit_classifier("digit")
    with pytest.raises(InputError, match="accept uint8 images"):
        metrics.digit_extractor("digits")(np.zeros((2, 8, 8, 1)))


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UOTM_KERAS_HOME", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="the result is not cached"):
        classifier = digit_classifier("digits")
    assert classifier.accuracy > 0.9
