import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.optimize import minimize_scalar

import uotm_keras as uk

ALL = ["kl", "chi2", "softplus", "softplus_plain", "balanced"]
values = st.floats(-6, 6, width=32)
alphas = st.floats(0.1, 10)

# Ψ, written down independently of the conjugates.
GENERATORS = {
    "kl": lambda r: r * np.log(r) - r + 1 if r > 0 else 1.0,
    "chi2": lambda r: (r - 1) ** 2,
}


def conjugate(divergence, s) -> np.ndarray:
    return ops.convert_to_numpy(divergence.conjugate(ops.convert_to_tensor(s, "float32")))


def derivative(divergence, s) -> np.ndarray:
    s = ops.convert_to_tensor(s, "float32")
    return ops.convert_to_numpy(divergence.conjugate_derivative(s))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("s", [-3.0, -2.0, -1.0, 0.0, 0.5, 1.5])
def test_conjugate_is_the_supremum_that_defines_it(name, s):
    psi = GENERATORS[name]
    best = minimize_scalar(lambda r: psi(r) - s * r, bounds=(0, 30), method="bounded")
    supremum = max(-best.fun, -psi(0.0))
    np.testing.assert_allclose(conjugate(uk.divergences.get(name), [s]), [supremum], atol=1e-4)


def test_softplus_forms():
    s = np.linspace(-4, 4, 9).astype("float32")
    plain = np.log1p(np.exp(s))
    np.testing.assert_allclose(conjugate(uk.divergences.get("softplus_plain"), s), plain, 1e-5)
    normalised = uk.divergences.Softplus()
    np.testing.assert_allclose(conjugate(normalised, s), 2 * plain - 2 * np.log(2), atol=1e-5)
    np.testing.assert_allclose(derivative(normalised, [0.0]), [1.0], 1e-6)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40, deadline=None)
@given(a=values, b=values, weight=st.floats(0, 1), alpha=alphas)
def test_convex_and_non_decreasing(name, a, b, weight, alpha):
    divergence = uk.divergences.get(name).scaled(alpha)
    low, high = min(a, b), max(a, b)
    middle = weight * low + (1 - weight) * high
    at_low, at_middle, at_high = conjugate(divergence, [low, middle, high]).astype("float64")
    tolerance = 1e-5 * (1 + abs(at_low) + abs(at_high))
    assert at_low <= at_high + tolerance
    assert at_middle <= weight * at_low + (1 - weight) * at_high + tolerance


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40, deadline=None)
@given(s=values, alpha=alphas)
def test_derivative_is_the_slope(name, s, alpha):
    divergence = uk.divergences.get(name).scaled(alpha)
    h = 1e-2
    below, above = conjugate(divergence, [s - h, s + h]).astype("float64")
    slope = (above - below) / (2 * h)
    (exact,) = derivative(divergence, [s])
    assert exact >= 0
    curvature = 1 / alpha + abs(exact) / alpha**2  # bounds the finite difference's own error
    assert abs(slope - exact) < h * (curvature + 1) + 1e-3 * (1 + abs(exact))


@pytest.mark.parametrize("name", ["kl", "chi2", "softplus"])
def test_large_alpha_tends_to_balanced(name):
    s = np.linspace(-2, 2, 5).astype("float32")
    np.testing.assert_allclose(conjugate(uk.divergences.get(name).scaled(1e3), s), s, atol=5e-3)


@pytest.mark.parametrize("name", ALL)
def test_serialization(name):
    divergence = uk.divergences.get(name).scaled(2.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(divergence))
    s = np.linspace(-3, 3, 7)
    np.testing.assert_array_equal(conjugate(again, s), conjugate(divergence, s))


def test_unknown_name_suggests_near_ones():
    with pytest.raises(uk.InputError, match="'chi'.*did you mean 'chi2'"):
        uk.divergences.get("chi")
    with pytest.raises(uk.InputError, match="conjugate"):
        uk.divergences.get(3)
    with pytest.raises(uk.InputError, match="alpha=-1"):
        uk.divergences.get("kl").scaled(-1)
