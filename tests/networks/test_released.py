import numpy as np
import pytest

import uotm_keras as uk


@pytest.fixture
def potential():
    return uk.networks.SmallPotential((16, 16, 3), 2)


@pytest.fixture
def state(potential):
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=array.shape).astype("float32")
        for name, array in uk.convert.released_potential_state(potential).items()
    }


@pytest.mark.parametrize("prefix", ["", "module."])
def test_round_trip(potential, state, prefix):
    uk.convert.load_released_potential(potential, {prefix + n: a for n, a in state.items()})
    ours = uk.convert.released_potential_state(potential)
    assert set(ours) == set(state)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, state[name])


def test_from_an_npz(potential, state, tmp_path):
    np.savez(tmp_path / "state.npz", **state)
    uk.convert.load_released_potential(potential, tmp_path / "state.npz")
    ours = uk.convert.released_potential_state(potential)
    np.testing.assert_array_equal(ours["end_linear.weight"], state["end_linear.weight"])


def test_all_problems_in_one_error_and_nothing_loaded(potential, state):
    before = potential.get_weights()
    del state["end_linear.bias"]
    state["extra"] = np.zeros(3)
    state["start_conv.weight"] = np.zeros((4, 1, 1, 1))
    with pytest.raises(uk.InputError) as error:
        uk.convert.load_released_potential(potential, state)
    message = str(error.value)
    assert "1 missing (end_linear.bias)" in message
    assert "1 unused (extra)" in message
    assert "start_conv.weight (4, 1, 1, 1) instead of (4, 3, 1, 1)" in message
    for old, new in zip(before, potential.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_nested_dict_is_named(potential, state):
    with pytest.raises(uk.InputError, match="another dict under 'netD'"):
        uk.convert.load_released_potential(potential, {"netD": state})


def test_an_unreadable_file(potential, tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(uk.InputError, match="broken.npz"):
        uk.convert.load_released_potential(potential, tmp_path / "broken.npz")
