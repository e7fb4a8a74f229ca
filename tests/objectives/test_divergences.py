import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.optimize import minimize_scalar

import uotm_keras as uk

SMOOTH = ["kl", "chi2", "softplus", "softplus_plain", "balanced"]
ALL = [*SMOOTH, "jsd"]
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


@pytest.mark.parametrize("name", SMOOTH)
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


def test_jensen_shannon_is_the_gan():
    """Values, slope, and that with v = softplus(w) − log 2 the losses are softplus(±w)."""
    divergence = uk.divergences.get("jsd")
    s = np.array([-5, -1, 0, 0.3, 0.6], "float32")
    np.testing.assert_allclose(conjugate(divergence, s), -np.log(2 - np.exp(s)), atol=1e-5)
    np.testing.assert_allclose(derivative(divergence, s), np.exp(s) / (2 - np.exp(s)), 1e-4)
    for r in (0.2, 1.0, 3.0):  # Ψ is the conjugate of Ψ*
        supremum = -minimize_scalar(
            lambda s, r=r: -np.log(2 - np.exp(s)) - s * r, bounds=(-20, 0.69), method="bounded"
        ).fun
        psi = r * np.log(r) - (1 + r) * np.log((1 + r) / 2)
        np.testing.assert_allclose(supremum, psi, atol=1e-4)
    w = ops.convert_to_tensor(np.linspace(-6, 8, 15), "float32")
    v = uk.divergences.potential_values(divergence, w)
    real = ops.convert_to_numpy(divergence.conjugate(-v))
    w = np.linspace(-6, 8, 15)
    np.testing.assert_allclose(real, np.logaddexp(0, -w) - np.log(2), atol=2e-4)
    np.testing.assert_allclose(
        ops.convert_to_numpy(v), np.logaddexp(0, w) - np.log(2), atol=1e-5
    )  # fmt: skip
    assert np.isfinite(conjugate(divergence, [2.0, 50.0])).all()
    scaled = uk.divergences.potential_values(divergence.scaled(2.0), ops.convert_to_tensor(2 * w))
    np.testing.assert_allclose(ops.convert_to_numpy(scaled), 2 * ops.convert_to_numpy(v), 1e-5)
    kl = uk.divergences.get("kl").scaled(2.0)
    np.testing.assert_array_equal(uk.divergences.potential_values(kl, w), w)


def test_the_released_jsd_variant_drives_the_generator_by_logits():
    """Its weights at w = log(p/q) are q/p; only the generator's loss differs from jsd's."""
    w = ops.convert_to_tensor([-2.0, 0.5, 3.0])
    for name, seen in (("jsd", np.logaddexp(0, w) - np.log(2)), ("jsd_logits", w)):
        divergence = uk.divergences.get(name)
        values = uk.divergences.generator_values(divergence, w)
        np.testing.assert_allclose(ops.convert_to_numpy(values), seen, rtol=1e-5, atol=1e-6)
        v = uk.divergences.potential_values(divergence, w)
        weights = ops.convert_to_numpy(divergence.conjugate_derivative(-v))
        np.testing.assert_allclose(weights, np.exp(-ops.convert_to_numpy(w)), rtol=1e-4)
        assert uk.divergences.JensenShannon.from_config(divergence.get_config()).logits == (
            name == "jsd_logits"
        )


@pytest.mark.parametrize("name", ["kl", "chi2", "softplus", "jsd"])
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
