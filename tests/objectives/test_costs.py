import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.objectives.costs import enlarge_bicubic


def test_quadratic_is_tau_times_the_squared_distance():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 4, 4, 3)).astype("float32")
    expected = 0.7 * ((x - y) ** 2).reshape(5, -1).sum(1)
    ours = uk.costs.Quadratic(0.7)(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    np.testing.assert_allclose(ops.convert_to_numpy(ours), expected, rtol=1e-5)


def test_a_smaller_source_is_enlarged_first():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    y = ops.convert_to_numpy(enlarge_bicubic(ops.convert_to_tensor(x), (32, 32)))
    assert y.shape == (2, 32, 32, 3)
    cost = uk.costs.Quadratic(1.0)(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    np.testing.assert_allclose(ops.convert_to_numpy(cost), 0.0, atol=1e-6)


def test_bicubic_reproduces_linear_ramps_away_from_the_edges():
    ramp = np.arange(8, dtype="float32")
    image = np.broadcast_to(ramp[None, None, :, None], (1, 8, 8, 1))
    large = ops.convert_to_numpy(enlarge_bicubic(ops.convert_to_tensor(image), (16, 16)))
    centres = (np.arange(16) + 0.5) / 2 - 0.5
    # Keys' kernel with a = −0.75 is exact for constants, and for ramps within 2 %.
    np.testing.assert_allclose(large[0, 8, 4:12, 0], centres[4:12], atol=0.05)
    ones = ops.convert_to_numpy(enlarge_bicubic(ops.ones((1, 8, 8, 1)), (16, 16)))
    np.testing.assert_allclose(ones, 1.0, atol=1e-6)


@pytest.mark.parametrize("tau", [-1.0, float("nan"), float("inf")])
def test_bad_tau(tau):
    with pytest.raises(uk.InputError, match="tau="):
        uk.costs.Quadratic(tau)


def test_shapes_that_cannot_be_compared():
    with pytest.raises(uk.InputError, match="cannot be compared"):
        uk.costs.Quadratic(1.0)(ops.zeros((2, 3)), ops.zeros((2, 4)))
