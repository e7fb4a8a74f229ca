"""Ten iterations on several devices, and in micro-batches, against one device."""

import numpy as np
import pytest
from processes import BACKEND, VARIANTS, assert_equal, train

# The potential that has minibatch statistics, its table of all pairs, all by replica.
BY_REPLICA = {**VARIANTS["pairs"], "batch_statistics": "replica"}


FLOAT16 = {"policy": "mixed_float16", "loss_scale": 2.0**15}
FLOAT16_BAND = 1e-3
"""Sums over a device's part of the batch are rounded to half precision; seen was 1e-4."""
# Infinite gradients at first, of one device earlier than of another: all must skip.
OVERFLOW = {"policy": "mixed_float16", "loss_scale": 2.0**34, "steps": 30}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """Runs on one device."""
    folder = tmp_path_factory.mktemp("alone")
    runs = {**VARIANTS, "two_blocks": {**BY_REPLICA, "blocks": 2}}
    for name in ("pairs", "between"):
        runs[f"{name}_accumulated"] = {**VARIANTS[name], "accumulate": 4}
    runs["two_blocks_accumulated"] = {**runs["two_blocks"], "accumulate": 2}
    runs["points"] = {**runs["points"], "save": str(folder / "points.weights.h5")}
    runs["float16"] = FLOAT16
    return {"folder": folder, **{name: one for name, (one,) in train(folder, runs).items()}}


@pytest.mark.parametrize("name", ["pairs", "between", "two_blocks"])
def test_accumulated_is_the_large_batch(alone, name):
    assert_equal(alone[name], alone[f"{name}_accumulated"])


def test_what_is_compared_depends_on_it(alone):
    """The tolerance would show another grouping of the samples: it moves weights by 1e-4."""
    one, other = alone["pairs"], alone["two_blocks"]
    names = [name for name in one if name.startswith("weight")]
    difference = max(np.abs(one[name] - other[name]).max() for name in names)
    assert difference > 1e-4, difference


@pytest.mark.skipif(BACKEND == "torch", reason="a process of torch has one device")
def test_two_devices(alone, tmp_path):
    runs = {
        "points": {**VARIANTS["points"], "steps_per_execution": 3},
        "pairs": {**VARIANTS["pairs"], "accumulate": 2, "jit": True},
        "between": {**VARIANTS["between"], "static": False},
        "classes": {**VARIANTS["classes"], "accumulate": 2},
        "two_blocks": {**BY_REPLICA, "accumulate": 2},
        "float16": FLOAT16,
        "overflow": OVERFLOW,
    }
    ran = train(tmp_path, runs, devices=2)
    assert_overcome(*ran.pop("overflow"))
    for name, (two,) in ran.items():
        one = alone[name]
        if name == "points":  # whose losses are those of steps 3, 6, 9 and 10
            one = {**one, "losses": one["losses"][[2, 5, 8, 9]]}
        assert_equal(one, two, FLOAT16_BAND if name == "float16" else 1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="a process of torch has one device")
def test_four_devices(alone, tmp_path):
    runs = {"points": {**VARIANTS["points"], "jit": True}, "pairs": VARIANTS["pairs"]}
    for name, (four,) in train(tmp_path, runs, devices=4).items():
        assert_equal(alone[name], four)


def test_two_processes(alone, tmp_path):
    runs = {name: VARIANTS[name] for name in ("points", "pairs")}
    runs["pairs"] = {**runs["pairs"], "accumulate": 2}
    runs |= {"two_blocks": BY_REPLICA, "overflow": OVERFLOW}
    if BACKEND == "torch":  # on the others, `test_two_devices` has these
        runs |= {name: VARIANTS[name] for name in ("between", "classes")} | {"float16": FLOAT16}
    ran = train(tmp_path, runs, processes=2)
    one, other = ran.pop("overflow")
    one.pop("samples")
    assert_overcome(one)
    assert_equal(one, other)
    for name, both in ran.items():
        samples = alone[name].pop("samples")
        band = FLOAT16_BAND if name == "float16" else 1e-5
        np.testing.assert_allclose(both[0].pop("samples"), samples, atol=band)
        for one in both:
            assert_equal(alone[name], one, band)
        alone[name]["samples"] = samples


def assert_overcome(run: dict) -> None:
    """Loss scales have fallen until both players' updates counted again."""
    scales, updates = run["scales"].T
    assert (scales < OVERFLOW["loss_scale"]).all() and (updates > 5).all()
    assert all(np.isfinite(array).all() for array in run.values())
