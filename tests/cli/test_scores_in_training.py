"""train.py with --eval_every: the log, the best checkpoint, and going on after a kill."""

import json

import numpy as np
import pytest
from test_resume import Crash, crash_after
from test_train_command import one_sentence
from tiny_run import TinyRun, assert_same

from uotm_keras.metrics import (
    digit_frechet_distance,
    evaluate_images,
    own_extractor,
    to_uint8,
)
from uotm_keras.training.checkpoints import Checkpoints
from uotm_keras.training.metrics_log import MetricsLog
from uotm_keras.training.runs import load_run
from uotm_keras.training.scoring import BEST

DIGITS = {"dataset": "digits", "max_steps": 20, "log_every": 5, "checkpoint_every": 8,
          "sample_every": 0, "ema_decay": 0.5, "generator_lr": 1e-2,
          "potential_lr": 1e-2}  # fmt: skip
SCORED = {**DIGITS, "eval_every": 6, "eval_samples": 30, "keep_best": "on"}


@pytest.fixture(scope="session")
def scored(tmp_path_factory) -> TinyRun:
    """A scored run that was never stopped. Tests must not change it."""
    run = TinyRun(tmp_path_factory.mktemp("scored") / "run")
    assert run.train(**SCORED) == 0
    return run


def scores(run: TinyRun) -> dict[int, float]:
    return {line["step"]: line["digits"] for line in run.lines() if "digits" in line}


def best(run: TinyRun) -> dict:
    (path,) = (run.folder / "checkpoints").glob("best_*.json")
    return json.loads(path.read_text())


def test_scores_are_logged(scored):
    found = scores(scored)
    assert list(found) == [6, 12, 18, 20]
    assert [line["step"] for line in scored.lines()] == [5, 6, 10, 12, 15, 18, 20]
    assert all(line["score_samples"] == 30 for line in scored.lines() if "digits" in line)
    for step in (20, best(scored)["step"]):
        model = load_run(scored.folder, checkpoint=str(step)).model
        images = to_uint8(model.generate(30, seed=0), (-1, 1))
        assert found[step] == pytest.approx(digit_frechet_distance(images, "digits"), rel=1e-5)


def test_tensorboard_has_the_scores(scored):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = (scored.folder / "tensorboard").iterdir()
    found = {
        event.step: value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag == "digits"
    }
    assert found == pytest.approx(scores(scored))


def test_the_best_is_that_of_the_log(scored):
    found, record = scores(scored), best(scored)
    assert record["score"] == min(found.values()) == found[record["step"]]
    assert load_run(scored.folder, checkpoint="best").step == record["step"]


def test_training_is_the_same_without_scores(scored, tiny):
    assert tiny.train(**DIGITS) == 0
    a, b = tiny.weights(20), scored.weights(20)
    assert a.keys() == b.keys() and len(a) > 40
    assert all((a[name] == b[name]).all() for name in a)
    logged = [x for x in scored.lines() if x["step"] % 5 == 0]
    for line in logged:
        line.pop("digits", None), line.pop("score_samples", None)
    assert logged == tiny.lines()


@pytest.mark.every_backend
def test_killed_and_resumed_has_the_same_scores(scored, tiny, monkeypatch):
    crashes = [
        (Checkpoints, "_record_path", 1),  # the weights of the first best are written
        (MetricsLog, "write", 2),  # a score is logged, before the first checkpoint
        (Checkpoints, "save", 4),  # a best one later than the last checkpoint
    ]
    for owner, name, calls in crashes:
        with monkeypatch.context() as patch:
            crash_after(patch, owner, name, calls)
            with pytest.raises(Crash):
                tiny.train(**SCORED)
    assert tiny.train(**SCORED) == 0
    assert_same(tiny, scored, 20)
    mine, other = best(tiny), best(scored)
    for record in (mine, other):
        record.pop("sha256")  # of a file with times in it
    assert mine == other
    names = [
        {path.name for path in (run.folder / "checkpoints").iterdir()} for run in (tiny, scored)
    ]
    assert names[0] == names[1] and sum(name.startswith(BEST) for name in names[0]) == 2


def test_other_data_than_digits_are_scored_without_a_download(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("uotm_keras.cli.scores.STEPS", 2)
    images = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 3)).astype("uint8")
    np.savez(tmp_path / "images.npz", images=images)
    flags = {**SCORED, "dataset": f"npz:{tmp_path / 'images.npz'}", "max_steps": 2}
    assert tiny.train(**flags) == 0
    assert "Training an encoder on the data" in capsys.readouterr().out
    (line,) = [line for line in tiny.lines() if "own" in line]
    model = load_run(tiny.folder).model
    encoder = own_extractor(images, steps=2)
    samples = to_uint8(model.generate(30, seed=0), (-1, 1))
    expected = evaluate_images([samples], images, extractor=encoder)["metrics"]["fid"]
    assert line["own"] == pytest.approx(expected, rel=1e-4) and line["own_real"] > 0
    assert best(tiny)["metric"] == "own"
    page = (tiny.folder / "report.html").read_text()
    assert "Own-feature Fréchet distance, not FID" in page and "real against real" in page
    assert "compared only on the same data" in page


def test_other_scores_than_the_best_one_s_are_refused(scored, capsys):
    before = scored.files()
    assert scored.train(**{**SCORED, "max_steps": 30, "eval_samples": 31}) == 2
    assert "samples 31 (there 30)" in one_sentence(capsys)
    assert scored.files() == before


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"eval_every": 0}, "--keep_best needs scores"),
        ({"eval_samples": 1}, "--eval_samples=1"),
        ({"eval_metrics": "digitss"}, "did you mean 'digits'?"),
        ({"dataset": "toy:moons:300"}, "--eval_every=6 needs images"),
        ({"eval_metrics": "fid", "inception_weights": "/nowhere.pth"}, "/nowhere.pth"),
        ({"eval_metrics": "kid", "inception_weights": "/nowhere.pth"}, "/nowhere.pth"),
    ],
    ids=str,
)
def test_bad_flags(tiny, capsys, changes, part):
    assert tiny.train(**{**SCORED, **changes}) == 2
    assert part in one_sentence(capsys)
    assert not tiny.folder.exists()
