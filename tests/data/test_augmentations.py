import importlib.util
import sys
import types

import numpy as np
import pytest

from uotm_keras.data import Batches, KerasCVAugmentation, get
from uotm_keras.utils.errors import InputError


def darken(images, rng):
    """Each image by a random amount."""
    return images - rng.random((len(images), 1, 1, 1), np.float32)


def test_functions_are_applied_in_turn_and_reproducibly():
    def halve(images, rng):
        return images / np.float32(2)

    dataset = get("digits")
    plain = Batches(dataset, 8, seed=1)[4]
    batches = Batches(dataset, 8, seed=1, augmentations=(darken, halve))
    np.testing.assert_array_equal(batches[4], batches[4])
    amounts = plain - 2 * batches[4]
    np.testing.assert_allclose(amounts, amounts[:, :1, :1, :1] * np.ones((1, 8, 8, 1)), atol=1e-6)
    assert np.ptp(amounts[:, 0, 0, 0]) > 0.1
    other = plain - 2 * Batches(dataset, 8, seed=2, augmentations=(darken, halve))[4]
    assert not np.allclose(amounts, other)
    streamed = next(iter(batches.stream(start=4, workers=2)))
    np.testing.assert_array_equal(streamed, batches[4])


def test_what_a_function_returns_is_checked():
    batches = Batches(get("digits"), 8, augmentations=[lambda images, rng: images[:4]])
    with pytest.raises(InputError, match=r"returned float32 \(4, 8, 8, 1\)"):
        batches[0]
    batches = Batches(get("digits"), 8, augmentations=[lambda images, rng: images.astype("f8")])
    with pytest.raises(InputError, match="float64"):
        batches[0]


def test_points_are_not_augmented():
    with pytest.raises(InputError, match="points"):
        Batches(get("toy:moons:50"), 8, augmentations=[darken])


class RandomFake:
    """Stands for a KerasCV layer: adds noise of its own seed to levels 0 … 255."""

    def __init__(self, factor, value_range, seed=None):
        if factor > 1:
            raise ValueError("factor is above 1")
        assert value_range == (0, 255)
        self.factor = factor
        self.rng = np.random.default_rng(seed)

    def __call__(self, images, training):
        assert training and images.min() >= 0 and images.max() <= 255.01 and images.max() > 2
        return images + self.factor * self.rng.uniform(-255, 255, images.shape)


@pytest.fixture
def fake_keras_cv(monkeypatch):
    module = types.ModuleType("keras_cv")
    module.layers = types.SimpleNamespace(RandomFake=RandomFake, RandomHue=RandomFake)
    monkeypatch.setitem(sys.modules, "keras_cv", module)


def test_layers_by_name(fake_keras_cv):
    dataset = get("digits")
    batches = Batches(dataset, 8, seed=1, augmentations=[("RandomFake", {"factor": 0.25})])
    batch, plain = batches[3], Batches(dataset, 8, seed=1)[3]
    assert batch.dtype == np.float32 and np.abs(batch).max() <= 1
    inside = np.abs(batch) < 1
    assert 0.2 < np.abs(batch - plain)[inside].max() <= 0.5 + 1e-5
    np.testing.assert_array_equal(batches[3], batch)
    assert not np.array_equal(batches[4] - Batches(dataset, 8, seed=1)[4], batch - plain)
    Batches(dataset, 8, augmentations="RandomHue")[0]  # the default strength of a known layer


def test_layers_that_cannot_be(fake_keras_cv):
    with pytest.raises(InputError, match="did you mean 'RandomFake'"):
        KerasCVAugmentation("RandomFak")
    with pytest.raises(InputError, match="factor is above 1"):
        KerasCVAugmentation("RandomFake", factor=2)
    with pytest.raises(InputError, match="rejected"):
        KerasCVAugmentation("RandomFake")


def test_without_keras_cv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    with pytest.raises(InputError, match=r"uotm_keras\[keras-cv\]"):
        Batches(get("digits"), 8, augmentations=["RandomCutout"])


@pytest.mark.skipif(
    importlib.util.find_spec("keras_cv") is None, reason="needs the extra [keras-cv]"
)
@pytest.mark.parametrize("name", ["RandomCutout", "RandomTranslation", "RandomHue", "RandomShear"])
def test_real_layers(name):
    dataset = get("digits", image_size=16, channels=3)
    batches = Batches(dataset, 8, seed=1, augmentations=[name])
    batch, plain = batches[3], Batches(dataset, 8, seed=1)[3]
    assert batch.shape == plain.shape and np.abs(batch).max() <= 1
    assert name == "RandomHue" or not np.allclose(batch, plain, atol=0.01)
    np.testing.assert_array_equal(batches[3], batch)
    streamed = iter(batches.stream(start=3, workers=2))
    np.testing.assert_array_equal(next(streamed), batch)
    np.testing.assert_array_equal(next(streamed), batches[4])
    assert not np.allclose(batches[4] - plain, batch - plain, atol=0.01)
