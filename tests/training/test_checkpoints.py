"""Checkpoints: kept, verified, put aside."""

import keras
import numpy as np
import pytest

import uotm_keras as uk
from uotm_keras.training.checkpoints import Checkpoints, NotFinite
from uotm_keras.utils.errors import InputError


@pytest.fixture
def model() -> uk.UOTM:
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(2, 2, width=4, blocks=1),
        uk.networks.ResMLPPotential(2, width=4, blocks=1),
    )
    model.compile()
    return model


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def names(checkpoints: Checkpoints) -> set[str]:
    return {path.name for path in checkpoints.folder.iterdir()}


def test_the_last_two_are_kept(model, checkpoints):
    assert checkpoints.newest(print) is None
    for step in (5, 900, 1_000_000):
        model.step.assign(step)
        checkpoints.save(model, step)
    assert checkpoints.steps() == [900, 1_000_000]
    assert names(checkpoints) == {
        "step_000900.json", "step_000900.weights.h5",
        "step_1000000.json", "step_1000000.weights.h5",
    }  # fmt: skip
    checkpoints.load(model, 900)
    assert int(model.step) == 900


def test_everything_comes_back(model, checkpoints):
    model.fit(np.zeros((8, 2), "float32"), batch_size=4, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables]
    checkpoints.save(model, 2)
    for variable in variables:
        variable.assign(keras.ops.zeros_like(variable.value))
    checkpoints.load(model, 2)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), value)
    assert any(value.any() for value in before)


def test_damaged_ones_are_passed_over_and_put_aside(model, checkpoints):
    for step in (1, 2):
        model.step.assign(step)
        checkpoints.save(model, step)
    path = checkpoints.weights_path(2)
    path.write_bytes(path.read_bytes()[:-1])
    told = []
    assert checkpoints.newest(told.append) == 1
    assert len(told) == 1 and "step_000002.weights.h5 is damaged" in told[0]
    checkpoints.load(model, 1)
    assert int(model.step) == 1
    checkpoints.put_aside_newer(1)
    assert "step_000002.weights.h5.damaged" in names(checkpoints)
    # It does not count among the last two.
    checkpoints.save(model, 3)
    assert checkpoints.steps() == [1, 3]


@pytest.mark.parametrize(
    "record, message",
    [
        ("[" * 100_000, "has a damaged record"),
        ('{"step": ', "has a damaged record"),
        ("[]", "has a damaged record"),
        ('{"step": "2"}', "has a damaged record"),
        ('{"step": 2.0}', "has a damaged record"),
        ('{"step": true}', "has a damaged record"),
        ('{"step": 1}', "has the record of step 1"),
        ('{"step": 2, "sha256": 5}', "checksum is wrong"),
    ],
    ids=range(8),
)
def test_a_changed_record_is_refused(model, checkpoints, record, message):
    for step in (1, 2):
        model.step.assign(step)
        checkpoints.save(model, step)
    (checkpoints.folder / "step_000002.json").write_text(record)
    reported = []
    assert checkpoints.newest(reported.append) == 1
    assert len(reported) == 1 and message in reported[0]
    assert checkpoints.record(2) is None
    with pytest.raises(InputError, match=message):
        checkpoints.require(2)


def test_a_checkpoint_under_another_step_s_name_is_noticed(model, checkpoints):
    model.step.assign(1)
    checkpoints.save(model, 1)
    for ending in ("json", "weights.h5"):
        path = checkpoints.folder / f"step_000001.{ending}"
        path.rename(checkpoints.folder / f"step_000005.{ending}")
    with pytest.raises(InputError, match="has the record of step 1"):
        checkpoints.require(5)
    # With a record to match, the weights themselves tell.
    path = checkpoints.folder / "step_000005.json"
    path.write_text(path.read_text().replace('"step": 1', '"step": 5'))
    assert checkpoints.newest(print) == 5
    with pytest.raises(InputError, match="holds the weights of step 1"):
        checkpoints.load(model, 5)


def test_weights_without_their_record_do_not_count(model, checkpoints):
    for step in (1, 2):
        model.step.assign(step)
        checkpoints.save(model, step)
    (checkpoints.folder / "step_000002.json").unlink()
    assert checkpoints.newest(print) == 1


def test_what_killed_processes_left_is_removed(model, checkpoints):
    checkpoints.folder.mkdir()
    for name in (".step_000001.weights.h5.x.weights.h5", ".step_000001.json.x.json"):
        (checkpoints.folder / name).write_text("half")
    checkpoints.weights_path(1).write_text("its record was not written")
    assert checkpoints.newest(print) is None
    checkpoints.save(model, 2)
    assert names(checkpoints) == {"step_000002.json", "step_000002.weights.h5"}


def test_weights_that_are_not_finite_are_not_written(model, checkpoints):
    checkpoints.save(model, 1)
    before = names(checkpoints)
    variable = model.potential.trainable_variables[0]
    variable.assign(np.full(variable.shape, np.inf, "float32"))
    with pytest.raises(NotFinite, match="not finite"):
        checkpoints.save(model, 2)
    assert names(checkpoints) == before


def test_loading_one_leaves_newer_ones_alone(model, checkpoints):
    for step in (1, 2):
        model.step.assign(step)
        checkpoints.save(model, step)
    before = names(checkpoints)
    checkpoints.load(model, 1)
    assert int(model.step) == 1 and names(checkpoints) == before
