"""Scores while training: what they are, what is kept, and that training does not notice."""

import json
import random

import keras
import numpy as np
import pytest

import uotm_keras as uk
from uotm_keras.metrics import Options, Scorer, to_uint8
from uotm_keras.training import ScoreGenerator
from uotm_keras.training.checkpoints import Checkpoints, load_weights
from uotm_keras.training.scoring import sample_batches
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import sample_noise

OPTIONS = Options(kid_subsets=2, kid_subset_size=10, is_splits=2)


@pytest.fixture
def real() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype("uint8")


def small_model() -> uk.UOTM:
    random.seed(0)
    model = uk.UOTM(
        uk.networks.ResMLPGenerator((8, 8, 3), 3, width=8, blocks=1, output_activation="tanh"),
        uk.networks.ResMLPPotential((8, 8, 3), width=8, blocks=1),
        seed=1,
    )
    model.compile()
    return model


def fit(model: uk.UOTM, real: np.ndarray, *callbacks, epochs: int = 2):
    images = real.astype("float32") / 127.5 - 1.0
    return model.fit(
        images, batch_size=10, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def test_a_callback_scores_at_its_steps_as_the_functions_do(real, encoder):
    scores = ScoreGenerator(
        real, every=3, num_samples=25, metrics=("fid", "kid", "is"), extractor=encoder,
        options=OPTIONS,
    )  # fmt: skip
    model = small_model()
    history = fit(model, real, scores)
    assert [step for step, _ in scores.history] == [3, 6]
    # The logs of an epoch have its newest scores.
    assert history.history["fid"] == [values["fid"] for _, values in scores.history]
    # The state of step 6, by the same six steps alone.
    images = real.astype("float32") / 127.5 - 1.0
    again = small_model()
    again.fit(
        np.concatenate([images, images[:20]]), batch_size=10, epochs=1, shuffle=False, verbose=0
    )
    samples = to_uint8(again.generate(25, seed=0), (-1, 1))
    expected = uk.metrics.evaluate_images(
        [samples], real, ("fid", "kid", "is"), encoder, options=OPTIONS
    )
    assert scores.history[1][1] == pytest.approx(expected["metrics"], rel=1e-4)
    assert list(scores.history[1][1]) == ["fid", "kid", "kid_std", "is", "is_std"]


def test_at_the_end_of_each_epoch(real, encoder):
    scores = ScoreGenerator(real, num_samples=10, extractor=encoder)
    fit(small_model(), real, scores)
    assert [step for step, _ in scores.history] == [4, 8]


def test_training_does_not_notice(real, encoder):
    plain, scored = small_model(), small_model()
    fit(plain, real)
    callback = ScoreGenerator(real, every=1, num_samples=10, extractor=encoder)
    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    callback.score(scored, 0)
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    fit(scored, real, callback)
    assert len(callback.history) == 9
    a, b = plain.get_weights(), scored.get_weights()
    assert len(a) > 20
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


class Given(Scorer):
    """Says the scores that it is given."""

    def __init__(self, metric: str, *scores: float):
        self.metrics, self.given = (metric,), list(scores)

    def check_enough(self, count):
        pass

    def score(self, samples, value_range=None, progress=None):
        about = dict.fromkeys(("reference", "network", "weights", "preprocessing"), "same")
        record = {"value": self.given.pop(0), "samples": 10, **about}
        metrics = {self.metrics[0]: record}
        return {"metrics": metrics, "protocol": "uint8", "version": "0", "notes": []}


def keep(folder, metric: str, *scores: float, **changes) -> ScoreGenerator:
    return ScoreGenerator(Given(metric, *scores), num_samples=10, keep_best=folder, **changes)


@pytest.mark.parametrize("metric, scores, best", [("fid", (5, 3, 3, 4), 2), ("is", (2, 4, 3), 2)])
def test_the_best_is_kept(tmp_path, metric, scores, best):
    model = small_model()
    callback = keep(tmp_path, metric, *scores)
    for step in range(1, len(scores) + 1):
        model.step.assign(step)
        callback.score(model, step)
    name = f"best_{best:06d}"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json", f"{name}.weights.h5"}
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert (record["step"], record["score"]) == (best, scores[best - 1])
    assert record["metric"] == metric and record["samples"] == 10
    other = small_model()
    load_weights(other, tmp_path / f"{name}.weights.h5")
    assert int(other.step) == best


def test_the_rotation_leaves_the_best_alone(tmp_path):
    model = small_model()
    keep(tmp_path, "fid", 1.0).score(model, 1)
    checkpoints = Checkpoints(tmp_path)
    for step in (2, 3, 4):
        checkpoints.save(model, step)
    assert checkpoints.steps() == [3, 4]
    assert (tmp_path / "best_000001.weights.h5").exists()


def test_a_resumed_run_knows_the_best(tmp_path):
    model = small_model()
    keep(tmp_path, "fid", 3.0).score(model, 7)
    # It goes on from a checkpoint before the best one, and comes to it again.
    resumed = keep(tmp_path, "fid", 5.0, 3.0, 2.0)
    assert resumed.best["score"] == 3.0
    for step, best in ((6, 7), (7, 7), (8, 8)):
        resumed.score(model, step)
        assert resumed.best["step"] == best
        assert (tmp_path / f"best_{best:06d}.json").exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_kill_between_the_new_best_and_the_old_one_s_end(tmp_path):
    model = small_model()
    files = Checkpoints(tmp_path, keep=None, name="best")
    callback = keep(tmp_path, "fid", 3.0)
    callback.score(model, 9)
    files.save(model, 8, {**files.record(9), "score": 2.0, "step": 8})
    assert keep(tmp_path, "fid").best["step"] == 8


def test_a_damaged_best_does_not_count(tmp_path):
    model = small_model()
    keep(tmp_path, "fid", 3.0).score(model, 7)
    weights = tmp_path / "best_000007.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1])
    again = keep(tmp_path, "fid", 4.0)
    assert again.best is None
    again.score(model, 8)
    assert again.best["step"] == 8


def test_scores_that_cannot_be_compared(tmp_path):
    keep(tmp_path, "fid", 3.0).score(small_model(), 7)
    with pytest.raises(
        InputError, match=r"seed 1 \(there 0\); use the settings of that checkpoint, or move best"
    ):
        keep(tmp_path, "fid", seed=1)
    with pytest.raises(InputError, match=r"metric kid \(there fid\)"):
        keep(tmp_path, "kid")


@pytest.mark.parametrize("change", [{"score": "3"}, {"score": None}, {"step": "7"}, {"step": 8}])
def test_a_best_record_that_was_changed_does_not_count(tmp_path, change):
    keep(tmp_path, "fid", 3.0).score(small_model(), 7)
    path = tmp_path / "best_000007.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert keep(tmp_path, "fid").best is None


class TestReference:
    """The reference is what `fit` accepts; each form gives the same statistics."""

    @pytest.fixture
    def expected(self, real, encoder) -> float:
        return self.fid(real, encoder)

    def fid(self, reference, encoder, **options) -> float:
        callback = ScoreGenerator(reference, num_samples=25, extractor=encoder, **options)
        return callback.score(small_model(), 0)["fid"]

    def floats(self, real) -> np.ndarray:
        return real.astype("float32") / 127.5 - 1.0

    def test_floats(self, real, encoder, expected):
        assert self.fid(self.floats(real), encoder) == expected
        assert self.fid(keras.ops.convert_to_tensor(self.floats(real)), encoder) == expected

    def test_value_range(self, real, encoder):
        unit = real.astype("float32") / 255.0
        options = {"value_range": (0.0, 1.0)}
        found = self.fid(unit, encoder, **options)
        assert found == self.fid(real, encoder, **options)
        assert found != pytest.approx(self.fid(unit, encoder))

    def test_datasets_and_batches(self, real, encoder, expected):
        from uotm_keras.data.dataset import ArrayDataset

        dataset = ArrayDataset(real, "real")
        batches = uk.data.Batches(dataset, batch_size=10)
        pairs = uk.data.PairBatches(ArrayDataset(real[:20], "source"), dataset, batch_size=10)
        images = self.floats(real)
        parts = [images[i : i + 10] for i in range(0, 40, 10)]
        for reference in (
            dataset, batches, pairs, parts, iter(parts),
            [(part, np.zeros(10)) for part in parts],  # with labels
            [(part[::-1], part) for part in parts],  # with sources
        ):  # fmt: skip
            assert self.fid(reference, encoder) == pytest.approx(expected, rel=1e-5)

    def test_refused(self, encoder):
        def refused(message, reference):
            with pytest.raises(InputError, match=message):
                ScoreGenerator(reference, num_samples=25, extractor=encoder)

        refused("contains no images", [np.zeros((5, 2))])
        refused("int is not accepted: give an array", 7)
        refused("endless", range(2**41))


def test_bad_input(real, encoder, tmp_path):
    def refused(message, **options):
        with pytest.raises(InputError, match=message):
            ScoreGenerator(real, **{"extractor": encoder, **options})

    refused("every=0", every=0)
    refused("unknown metric 'fidd': did you mean 'fid'", metrics=["fidd"])
    refused("no metrics are given", metrics=[])
    refused("'digits' is for images", metrics=["digits"])
    refused("'kid' needs at least 1000 reference images: there are 40", metrics=["kid"])
    refused("'fid' needs at least 2 samples: there are 1", num_samples=1)
    refused("the metrics pr cannot decide", metrics=["pr"], keep_best=tmp_path)
    assert not list(tmp_path.iterdir())


class TestSampleBatches:
    def test_noise(self):
        model = small_model()
        batches = list(sample_batches(model, 7, seed=3, batch_size=3))
        assert [len(batch) for batch in batches] == [3, 3, 1]
        np.testing.assert_allclose(np.concatenate(batches), model.generate(7, seed=3), atol=1e-6)

    def test_a_source_is_transported_as_often_as_needed(self):
        source = uk.data.get("toy:moons:5")
        model = uk.UOTM(
            uk.networks.ResMLPGenerator(2, 2, width=4, blocks=1),
            uk.networks.ResMLPPotential(2, width=4, blocks=1),
            source="data",
        )
        whole, parts = (
            np.concatenate(list(sample_batches(model, 12, 3, size, source))) for size in (12, 5)
        )
        np.testing.assert_allclose(whole, parts, atol=1e-6)
        order = np.random.default_rng(3).permutation(5)
        keys = [(3, i) for i in range(12)]
        (latent,) = sample_noise(keys, (2,))
        x = source.take(order[np.arange(12) % 5])
        np.testing.assert_allclose(whole, model.transport(x, latent), atol=1e-6)
