"""KID against scikit-learn's kernel and a double loop."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from uotm_keras.metrics import kernel_distance, polynomial_mmd
from uotm_keras.utils.errors import InputError


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 7)), rng.normal(size=(50, 7)) * 1.2 + 0.3


def test_mmd_by_a_double_loop(features):
    x, y = features
    x, y = x[:9], y[:6]

    def k(a, b):
        return (a @ b / 7 + 1) ** 3

    def mean(a, b, skip_equal):
        values = [
            k(u, v) for i, u in enumerate(a) for j, v in enumerate(b) if not (skip_equal and i == j)
        ]
        return np.mean(values)

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    np.testing.assert_allclose(polynomial_mmd(x, y), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"degree": 1}, {"degree": 2, "gamma": 0.3, "coef0": 0.5}, {"degree": 4}]
)
def test_mmd_with_scikit_learns_kernel(features, options):
    x, y = features
    arguments = {"degree": 3, "gamma": None, "coef0": 1, **options}
    xx, yy, xy = (polynomial_kernel(*p, **arguments) for p in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    expected = (
        (xx.sum() - np.trace(xx)) / (n * (n - 1))
        + (yy.sum() - np.trace(yy)) / (m * (m - 1))
        - 2 * xy.mean()
    )
    np.testing.assert_allclose(polynomial_mmd(x, y, **options), expected, rtol=1e-11)


def test_subsets(features):
    x, y = features
    whole = kernel_distance(x[:50], y, subsets=4, subset_size=50)
    np.testing.assert_allclose(whole.mean, polynomial_mmd(x[:50], y), rtol=1e-11)
    assert whole.std < 1e-12
    part = kernel_distance(x, y, subsets=30, subset_size=20)
    assert part == kernel_distance(x, y, subsets=30, subset_size=20)
    assert part != kernel_distance(x, y, subsets=30, subset_size=20, seed=1)
    assert abs(part.mean - polynomial_mmd(x, y)) < 4 * part.std and part.std > 0


def test_it_is_unbiased():
    """The same distribution on both sides averages to nothing, however few the samples."""
    rng = np.random.default_rng(1)
    values = [polynomial_mmd(rng.normal(size=(6, 3)), rng.normal(size=(6, 3))) for _ in range(4000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_bad_input(features):
    x, y = features
    with pytest.raises(InputError, match="subset_size=1000 is more than the 50 samples"):
        kernel_distance(x, y)
    with pytest.raises(InputError, match="7 dimensions and fake features 6"):
        kernel_distance(x, y[:, :6], subset_size=5)
    with pytest.raises(InputError, match="least accepted values are 1 and 2"):
        kernel_distance(x, y, subset_size=1)
    x[3, 3] = np.nan
    with pytest.raises(InputError, match="real features have NaN"):
        kernel_distance(x, y, subset_size=5)
