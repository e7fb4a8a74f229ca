import numpy as np
import pytest

import uotm_keras as uk
from uotm_keras.metrics.digit_quality import digit_quality


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    source = uk.data.get("digits")
    return source.take(np.arange(len(source)))


def test_real_digits_are_digits_but_copies(real):
    quality = digit_quality(real)
    assert quality.classifier_accuracy >= 0.98
    assert quality.confident > 0.95  # most of them trained the classifier
    assert 0.09 < quality.smallest_class <= quality.largest_class < 0.11
    assert quality.novelty == pytest.approx(0.0, abs=0.01)


def test_blurred_copies_are_near_and_noise_is_no_digit(real):
    rng = np.random.default_rng(0)
    noisy = digit_quality(np.clip(real + 0.05 * rng.normal(size=real.shape), -1, 1))
    assert noisy.confident > 0.9 and noisy.novelty < 0.5
    noise = digit_quality(rng.uniform(-1, 1, size=(300, 8, 8, 1)))
    assert noise.confident < 0.3 and noise.novelty > 1.5


def test_one_class_alone_is_seen(real):
    from sklearn.datasets import load_digits

    zeros = digit_quality(real[load_digits().target == 0])
    assert zeros.smallest_class == 0 and zeros.largest_class > 0.95


def test_bad_input(real):
    with pytest.raises(uk.InputError, match="do not have the size"):
        digit_quality(real, "mnist5k")
    with pytest.raises(uk.InputError, match="did you mean 'digits'"):
        digit_quality(real, "digit")
