import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk


def value(tensor) -> float:
    return float(ops.convert_to_numpy(tensor))


def test_r1_of_a_known_gradient():
    gradient = ops.convert_to_tensor([[3.0, 4.0], [0.0, 2.0]])
    assert value(uk.penalties.R1(0.5).value(gradient)) == pytest.approx(0.25 * (25 + 4) / 2)


def test_wasserstein_gp_of_a_known_gradient():
    gradient = ops.convert_to_tensor([[3.0, 4.0], [0.0, 1.0]])
    assert value(uk.penalties.WassersteinGP(10.0).value(gradient)) == pytest.approx(5 * 16 / 2)


def test_gradient_optimality_of_a_known_gradient():
    gradient = ops.convert_to_tensor([[3.0, 4.0], [0.0, 1.0]])
    assert value(uk.penalties.GradientOptimality(2.0).value(gradient)) == pytest.approx(26.0)


def test_interpolates_lie_between():
    real, fake = ops.zeros((2, 3)), ops.ones((2, 3))
    mixing = ops.convert_to_tensor([[0.25], [0.75]])
    points = ops.convert_to_numpy(uk.penalties.WassersteinGP().points(real, fake, mixing))
    np.testing.assert_allclose(points, [[0.25] * 3, [0.75] * 3])


def test_source_gradient_of_a_known_gradient():
    gradient = ops.convert_to_tensor([[3.0, 4.0], [0.0, 1.0]])
    assert value(uk.penalties.SourceGradient(2.0).value(gradient)) == pytest.approx(26.0)


PENALTIES = (
    uk.penalties.R1, uk.penalties.WassersteinGP, uk.penalties.GradientOptimality,
    uk.penalties.SourceGradient,
)  # fmt: skip


@pytest.mark.parametrize("make", PENALTIES)
def test_bad_weights(make):
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(uk.InputError, match="positive"):
            make(weight)


@pytest.mark.parametrize("make", PENALTIES)
def test_a_penalty_is_rebuilt_from_its_config(make):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(make(3.0)))
    assert type(again) is make and again.get_config() == make(3.0).get_config()


SCHEDULES = uk.schedules.LinearAlpha, uk.schedules.CosineAlpha, uk.schedules.StepAlpha


@pytest.mark.parametrize("make", SCHEDULES)
def test_alpha_ends(make):
    schedule = make(0.2, 5.0, until=100, warmup=20)
    assert value(schedule(0)) == value(schedule(20)) == pytest.approx(0.2)
    assert value(schedule(100)) == value(schedule(1000)) == pytest.approx(5.0)


def test_alpha_in_the_middle():
    half = 60
    assert value(uk.schedules.LinearAlpha(0.2, 5, 100, 20)(half)) == pytest.approx(2.6)
    quarter = 40
    expected = 0.2 + 0.5 * 4.8 * (1 - np.cos(np.pi / 4))
    assert value(uk.schedules.CosineAlpha(0.2, 5, 100, 20)(quarter)) == pytest.approx(expected)
    assert value(uk.schedules.StepAlpha(0.2, 5, 100, 20)(99)) == pytest.approx(0.2)


def test_bad_alpha():
    with pytest.raises(uk.InputError, match="positive"):
        uk.schedules.LinearAlpha(0.0, 5, 100)
    with pytest.raises(uk.InputError, match="warmup=100"):
        uk.schedules.LinearAlpha(0.2, 5, 100, 100)


def test_cosine_annealing_is_torchs_stepped_once_an_epoch():
    schedule = uk.schedules.CosineAnnealing(1.6e-4, 1e-5, total=1800, hold=195)
    for step in (0, 194, 195, 100_000, 195 * 1800):
        epoch = step // 195
        expected = 1e-5 + 0.5 * (1.6e-4 - 1e-5) * (1 + np.cos(np.pi * epoch / 1800))
        assert value(schedule(step)) == pytest.approx(expected, rel=1e-4)


def test_schedules_survive_serialization():
    for schedule in (
        uk.schedules.CosineAlpha(0.2, 5, 100),
        uk.schedules.CosineAnnealing(1e-3, 1e-5, 10, 3),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
        assert value(again(37)) == value(schedule(37))


def test_r1_at_a_fraction_of_the_batch():
    """The first rows of each block; the value of v at the data does not depend on it."""
    from uotm_keras.objectives.divergences import get
    from uotm_keras.objectives.semi_dual import PotentialBatch, SemiDual, first_rows

    rows = ops.convert_to_tensor(np.arange(8.0)[:, None])
    assert ops.convert_to_numpy(first_rows(rows, 0.5))[:, 0].tolist() == [0, 1, 2, 3]
    assert ops.convert_to_numpy(first_rows(rows, 0.25, 2))[:, 0].tolist() == [0, 4]
    assert ops.convert_to_numpy(first_rows(rows, 0.01))[:, 0].tolist() == [0]

    y = np.random.default_rng(0).standard_normal((8, 3)).astype("float32")
    logs = {}
    for fraction in (1.0, 0.5):
        penalty = uk.penalties.R1(0.4, fraction)
        dual = SemiDual(uk.costs.Quadratic(0.1), get("kl"), get("kl"), penalty)
        batch = PotentialBatch(ops.convert_to_tensor(y), ops.convert_to_tensor(y))
        _, logs[fraction] = dual.potential_loss(
            lambda s: 0.5 * ops.sum(s * s, axis=1), lambda x, z: x, batch
        )
    assert value(logs[1.0]["real"]) == value(logs[0.5]["real"])
    # ∇v(y) = y.
    for fraction, kept in ((1.0, y), (0.5, y[:4])):
        right = 0.2 * (kept**2).sum(axis=1).mean()
        assert value(logs[fraction]["penalty"]) == pytest.approx(right, rel=1e-5)
    for fraction in (0.0, 1.5, -1.0):
        with pytest.raises(uk.InputError, match="fraction="):
            uk.penalties.R1(0.1, fraction)
