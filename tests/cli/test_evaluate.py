"""evaluate.py: the numbers are those of the library's functions, mistakes get one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_train_command import one_sentence
from tiny_run import TinyRun

from uotm_keras import metrics
from uotm_keras.__main__ import main as commands
from uotm_keras.cli.evaluate import main
from uotm_keras.cli.evaluate_config import COMMAND
from uotm_keras.metrics.digit_features import load_digit_images
from uotm_keras.training.runs import load_run
from uotm_keras.version import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    """A run on digits with three checkpoints and a best one. Tests must not change it."""
    run = TinyRun(tmp_path_factory.mktemp("evaluated") / "run")
    flags = {"dataset": "digits", "max_steps": 6, "checkpoint_every": 4, "sample_every": 0,
             "eval_every": 3, "eval_samples": 20, "keep_best": "on", "ema_decay": 0.5}  # fmt: skip
    assert run.train(**flags) == 0
    return run


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """All real digits, in an .npz."""
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=load_digit_images("digits")[0])
    return path


@pytest.fixture(scope="session")
def inception_file(inception_state, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "seeded.npz"
    np.savez(path, **inception_state)
    return path


def folder_of(path: Path, images: np.ndarray, suffix: str = "png") -> Path:
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i:04d}.{suffix}")
    return path


@pytest.fixture
def pictures(tmp_path) -> Path:
    """12 RGB images of 20 × 20 in a folder."""
    images = np.random.default_rng(0).integers(0, 256, (12, 20, 20, 3)).astype("uint8")
    return folder_of(tmp_path / "pictures", images)


def evaluate(capsys, **flags) -> dict:
    """The JSON object on the last line."""
    capsys.readouterr()
    assert main([f"--{name}={value}" for name, value in flags.items()]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out.splitlines()[-1])


class TestRuns:
    def test_numbers_are_the_library_s(self, run, capsys):
        result = evaluate(capsys, run_dir=run.folder, num_samples=100, seed=4)
        samples = load_run(run.folder).model.generate(100, seed=4)
        expected = metrics.digit_frechet_distance(metrics.to_uint8(samples, (-1, 1)), "digits")
        record = result["metrics"].pop("digits")
        assert record["value"] == pytest.approx(expected, rel=1e-6)
        network = metrics.digit_extractor("digits").network
        assert record["weights"] == network.weights and record["network"] == network.name
        assert record["samples"] == 100 and record["reference_samples"] == 1797
        assert record["reference"] == "digits (1797 images)"
        assert result["metrics"] == {}
        assert (result["step"], result["seed"], result["protocol"]) == (6, 4, "uint8")
        assert result["version"] == __version__
        assert "not comparable with published FIDs" in result["notes"]

    def test_it_says_why_the_score_is_not_fid(self, run, capsys):
        assert main([f"--run_dir={run.folder}", "--num_samples=70"]) == 0
        out = capsys.readouterr().out
        assert "The score is the digit Fréchet distance, not FID" in out
        assert "no Inception weights are given" in out

    def test_the_score_of_training_again(self, run, capsys):
        logged = {x["step"]: x["digits"] for x in run.lines() if "digits" in x}
        assert list(logged) == [3, 6]
        result = evaluate(capsys, run_dir=run.folder, num_samples=20)
        assert result["metrics"]["digits"]["value"] == pytest.approx(logged[6], rel=1e-5)
        best = evaluate(capsys, run_dir=run.folder, num_samples=20, checkpoint="best")
        assert best["metrics"]["digits"]["value"] == pytest.approx(min(logged.values()), rel=1e-5)
        assert best["checkpoint"].startswith("best_")

    def test_a_named_checkpoint(self, run, tmp_path, capsys):
        path = run.folder / "checkpoints/step_000004.weights.h5"
        a, b = (
            evaluate(capsys, run_dir=run.folder, num_samples=70, checkpoint=c) for c in (4, path)
        )
        assert a == b and a["step"] == 4
        newest = evaluate(capsys, run_dir=run.folder, num_samples=70)
        assert newest["metrics"] != a["metrics"]

    def test_jpeg(self, run, capsys):
        result = evaluate(
            capsys, run_dir=run.folder, num_samples=100, protocol="jpeg", batch_size=30
        )
        samples = metrics.to_uint8(load_run(run.folder).model.generate(90, seed=0), (-1, 1))
        expected = metrics.digit_frechet_distance(metrics.jpeg_round_trip(samples), "digits")
        assert result["metrics"]["digits"]["samples"] == 90 and result["protocol"] == "jpeg"
        assert result["metrics"]["digits"]["value"] == pytest.approx(expected, rel=1e-6)

    def test_all_metrics_of_a_digit_run(self, run, inception_file, capsys):
        result = evaluate(
            capsys, run_dir=run.folder, num_samples=12, metrics="digits,fid,is",
            inception_weights=inception_file, reference=f"npz:{_few_digits(run)}",
        )  # fmt: skip
        records = result["metrics"]
        assert list(records) == ["fid", "is", "digits"]
        assert records["fid"]["network"] != records["digits"]["network"]
        assert records["is"]["reference"] is None and records["is"]["std"] >= 0
        model = load_run(run.folder).model
        expected = metrics.evaluate_images(
            [metrics.to_uint8(model.generate(12, seed=0), (-1, 1))],
            load_digit_images("digits")[0][:8],
            ("fid", "is"),
            metrics.fid_inception_v3(inception_file),
        )
        assert records["fid"]["value"] == pytest.approx(expected["metrics"]["fid"], rel=1e-3)
        assert records["is"]["value"] == pytest.approx(expected["metrics"]["is"], rel=1e-4)
        assert records["fid"]["weights"] == expected["weights"]


def _few_digits(run: TinyRun) -> Path:
    path = run.folder.parent / "few.npz"
    np.savez(path, images=load_digit_images("digits")[0][:8])
    return path


class TestSamples:
    def test_identical_sets(self, digits, capsys):
        flags = {"samples": digits, "reference": digits, "dataset": "digits"}
        result = evaluate(capsys, **flags, metrics="digits")
        record = result["metrics"]["digits"]
        assert abs(record["value"]) < 1e-6
        assert record["samples"] == record["reference_samples"] == 1797
        assert result["step"] is None and result["samples_from"] == str(digits)
        # Fewer of them are another set, and that is said.
        part = evaluate(capsys, **flags, metrics="digits", num_samples=200)
        assert part["metrics"]["digits"]["value"] > 0.1
        assert part["metrics"]["digits"]["samples"] == 200
        assert part["notes"][0] == "the first 200 of 1797 images are scored."

    def test_a_folder_under_the_fid_network(self, pictures, inception_file, tmp_path, capsys):
        flags = {"samples": pictures, "inception_weights": inception_file, "metrics": "fid,is"}
        output = tmp_path / "new" / "scores.json"
        same = evaluate(capsys, **flags, reference=pictures, output=output)
        assert abs(same["metrics"]["fid"]["value"]) < 1e-3
        assert json.loads(output.read_text()) == same
        # The same again by an .npz of statistics, under the other preprocessing.
        extractor = metrics.as_extractor(metrics.fid_inception_v3(inception_file, "tf1"))
        other = np.random.default_rng(1).integers(0, 200, (9, 20, 20, 3)).astype("uint8")
        reference = metrics.compute_reference([other], extractor)
        reference.features = None
        reference.save(tmp_path / "other.npz")
        flags = {**flags, "metrics": "auto", "preprocessing": "tf1"}
        result = evaluate(capsys, **flags, reference=tmp_path / "other.npz")
        expected = metrics.evaluate_images(
            metrics.open_images(pictures).batches(), other, ("fid", "is"), extractor
        )
        records = result["metrics"]
        assert list(records) == ["fid", "is"]
        assert records["fid"]["value"] == pytest.approx(expected["metrics"]["fid"], rel=1e-3)
        assert records["fid"]["preprocessing"] == "tf1"
        # Which was made otherwise than the default's.
        code = main([f"--samples={pictures}", f"--reference={tmp_path / 'other.npz'}",
                     f"--inception_weights={inception_file}", "--metrics=fid"])  # fmt: skip
        assert code == 2
        assert "differ in preprocessing tf1 and pytorch_fid" in one_sentence(capsys)

    def test_jpeg_files_are_not_encoded_again(self, digits, tmp_path, capsys):
        images = load_digit_images("digits")[0][:80, ..., 0]
        folder = folder_of(tmp_path / "jpegs", images, "jpg")
        flags = {"reference": digits, "dataset": "digits", "metrics": "digits"}
        result = evaluate(capsys, **flags, samples=folder, protocol="jpeg")
        expected = metrics.jpeg_round_trip(images[..., None])
        value = metrics.digit_frechet_distance(expected, "digits")
        assert result["metrics"]["digits"]["value"] == pytest.approx(value, rel=1e-6)
        assert "scored as they are" in result["notes"][0]


class TestOwn:
    """The score without a download for images that are not digits."""

    @pytest.fixture(autouse=True)
    def few_steps(self, monkeypatch):
        monkeypatch.setattr("uotm_keras.cli.scores.STEPS", 2)

    def test_it_is_chosen_without_inception_weights(self, tmp_path, capsys):
        images = np.random.default_rng(0).integers(0, 256, (120, 9, 9, 3)).astype("uint8")
        flags = {"samples": folder_of(tmp_path / "samples", images[:50]),
                 "reference": folder_of(tmp_path / "real", images[50:])}  # fmt: skip
        result = evaluate(capsys, **flags)
        (record,) = result["metrics"].values()
        encoder = metrics.own_extractor(images[50:], steps=2)
        expected = metrics.evaluate_images([images[:50]], images[50:], extractor=encoder)
        assert record["value"] == pytest.approx(expected["metrics"]["fid"], rel=1e-4)
        assert record["real_samples"] == 35 and record["real_against_real"] > 0
        assert main([f"--{name}={value}" for name, value in flags.items()]) == 0
        out = capsys.readouterr().out
        assert "own-feature Fréchet distance, not FID: no Inception weights are given" in out
        assert "real against real" in out and "compared only on the same data" in out

    def test_too_few_images(self, pictures, capsys):
        assert main([f"--samples={pictures}", f"--reference={pictures}", "--metrics=own"]) == 2
        assert "needs at least 50 reference images" in one_sentence(capsys)

    def test_statistics_have_no_images(self, pictures, tmp_path, capsys):
        reference = metrics.compute_reference([np.zeros((9, 4), "uint8")], "features")
        reference.features = None
        reference.save(tmp_path / "real.npz")
        flags = [f"--samples={pictures}", f"--reference={tmp_path / 'real.npz'}"]
        assert main([*flags, "--metrics=own"]) == 2
        assert "instead of statistics" in one_sentence(capsys)


class TestFlagfiles:
    @pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs").iterdir()))
    def test_every_config_is_accepted(self, name):
        config = COMMAND.parse([f"--config={name}"])
        assert config.run_dir == f"runs/{name}" and config.dataset
        assert COMMAND.parse([f"--config={name}", "--samples=x"]).run_dir is None

    def test_cifar10_with_a_run(self, run, capsys):
        # The batch size of the file counts; its data set would, were none given after it.
        config = ROOT / "configs/cifar10.flags"
        result = evaluate(
            capsys, flagfile=config, run_dir=run.folder, dataset="digits",
            num_samples=600, protocol="jpeg",
        )  # fmt: skip
        assert result["metrics"]["digits"]["samples"] == 512

    def test_celeba_hq_with_samples(self, inception_file, tmp_path, capsys):
        # The image size of the file counts for the reference.
        rng = np.random.default_rng(0)
        large, small = (rng.integers(0, 256, (3, n, n, 3)).astype("uint8") for n in (260, 256))
        result = evaluate(
            capsys, flagfile=ROOT / "configs/celeba_hq_256.flags", metrics="fid",
            samples=folder_of(tmp_path / "samples", small), inception_weights=inception_file,
            dataset=f"folder:{folder_of(tmp_path / 'real', large)}",
        )  # fmt: skip
        record = result["metrics"]["fid"]
        assert record["reference_samples"] == 3 and record["value"] > 0


@pytest.mark.parametrize("start", [["evaluate.py"], ["-m", "uotm_keras", "evaluate"]])
def test_as_a_command_with_nothing_on_stderr(start, digits):
    flags = [f"--samples={digits}", "--reference=digits", "--num_samples=300"]
    done = subprocess.run(
        [sys.executable, *start, *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == ""
    record = json.loads(done.stdout.splitlines()[-1])["metrics"]["digits"]
    assert record["samples"] == 300
    assert "digit Fréchet distance, not FID" in done.stdout


def test_help_has_every_flag_of_its_own(capsys):
    assert commands(["evaluate", "--help"]) == 0
    text = capsys.readouterr().out
    for name in ("run_dir", "samples", "reference", "metrics", "protocol", "output", "checkpoint"):
        assert f"\n  --{name}  (" in text
    assert "--generator_lr" not in text


BAD = [
    ([], "--run_dir or --samples is missing"),
    (["--run_dir=RUN", "--samples=DIGITS"], "exclude each other"),
    (["--samples=DIGITS", "--checkpoint=4"], "--checkpoint=4"),
    (["--run_dir=/nowhere"], "--run_dir=/nowhere holds no run"),
    (["--run_dir=RUN", "--checkpoint=5"], "has no checkpoint of that step, but of "),
    (["--run_dir=RUN", "--checkpoint=/nowhere.h5"], "--checkpoint=/nowhere.h5 is not a file"),
    (["--run_dir=RUN", "--metrics=fid,kdi"], "did you mean 'kid'"),
    (["--run_dir=RUN", "--metrics="], "--metrics="),
    (["--run_dir=RUN", "--num_samples=1"], "--num_samples=1"),
    (["--run_dir=RUN", "--num_samples=many"], "--num_samples=many"),
    (["--run_dir=RUN", "--metrics=kid", "--num_samples=999"], "at least 1000 samples"),
    (["--run_dir=RUN", "--metrics=pr", "--num_samples=3"], "at least 4 samples"),
    (["--run_dir=RUN", "--protocol=jpg"], "did you mean 'jpeg'"),
    (["--run_dir=RUN", "--protocol=jpeg", "--num_samples=60"], "num_samples=60"),
    (["--run_dir=RUN", "--run_dri=x"], "did you mean"),
    (["--run_dir=RUN", "--learning_rate=3"], "unknown flag --learning_rate"),
    (["--run_dir=RUN", "--generator_lr=-1"], "--generator_lr=-1"),
    (["--run_dir=RUN", "--reference=/nowhere"], "--reference=/nowhere does not exist"),
    (["--run_dir=RUN", "--reference=mnist5"], "did you mean 'mnist5k'"),
    (["--run_dir=RUN", "--reference=mnist5k"], "8×8 pixels and the images of the reference"),
    (["--run_dir=RUN", "--reference=toy:moons"], "points"),
    (["--run_dir=RUN", "--reference=digits:invert"], "did you mean 'inverted'"),
    (["--run_dir=RUN", "--reference=mnist5k:bold"], "8×8 pixels and the images of the reference"),
    (["--run_dir=RUN", "--output=/dev/null/x.json"], "--output=/dev/null/x.json"),
    (["--run_dir=RUN", "--output=RUN"], "cannot be written"),
    (["--run_dir=RUN", "--metrics=fid"], "save it as"),
    (["--run_dir=RUN", "--metrics=fid"], "or use the metric own, which needs no file"),
    (["--run_dir=RUN", "--inception_weights=/nowhere.pth", "--num_samples=1000"], "/nowhere.pth"),
    (["--run_dir=POINTS"], "trained on points"),
    (["--samples=DIGITS"], "--reference is missing"),
    (["--samples=/nowhere", "--reference=digits"], "--samples=/nowhere does not exist"),
    (["--samples=EMPTY", "--reference=digits"], "is empty"),
    (["--samples=DIGITS", "--reference=digits", "--num_samples=1798"], "1797 images"),
    (["--samples=DIGITS", "--reference=DIGITS", "--metrics=digits"], "say which by --dataset"),
]


@pytest.mark.parametrize("arguments, part", BAD, ids=str)
def test_bad_input(run, finished, digits, tmp_path, capsys, monkeypatch, arguments, part):
    def offline(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    (tmp_path / "empty").mkdir()
    places = {"RUN": run.folder, "POINTS": finished.folder, "DIGITS": digits,
              "EMPTY": tmp_path / "empty"}  # fmt: skip
    for name, place in places.items():
        arguments = [a.replace(f"={name}", f"={place}") for a in arguments]
    before = run.files()
    capsys.readouterr()
    assert main(arguments) == 2
    message = one_sentence(capsys)
    assert part in message
    assert run.files() == before and not list((tmp_path / "empty").iterdir())
