"""Settings that are chosen from the data, the device and a time budget."""

import dataclasses
import json

import numpy as np
import pytest

import uotm_keras as uk
from uotm_keras.cli.train import COMMAND, _choose
from uotm_keras.cli.train import main as train
from uotm_keras.config import TrainConfig, from_flags, to_flags, updated
from uotm_keras.training import auto

pytestmark = pytest.mark.one_backend


@pytest.fixture
def fast(monkeypatch):
    """No time is measured: a step takes 50 ms."""
    monkeypatch.setattr(auto, "measure_step", lambda config, dataset: 0.05)


def images(n=60, size=8, channels=1, scale=1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (scale * rng.uniform(-1, 1, (n, size, size, channels))).astype("float32")


def test_the_distance_is_that_of_an_exact_plan():
    ot = pytest.importorskip("ot")
    points = np.random.default_rng(3).normal(2.0, 0.5, (200, 3)).astype("float32")
    found = auto.squared_distance(uk.data.PointDataset(points, "p"), (3,), "gaussian")
    noise = np.random.default_rng(0)
    chosen = np.sort(noise.choice(200, 200, replace=False))
    x = noise.standard_normal((200, 3))
    uniform = np.full(200, 1 / 200)
    exact = ot.emd2(uniform, uniform, ot.dist(x, points[chosen]))
    assert found == pytest.approx(exact, rel=1e-4)
    # W₂² of the Gaussians: |a − b|² + d·(1 − 0.5)².
    assert found == pytest.approx(3 * 4 + 3 * 0.25, rel=0.1)


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_tau_and_gamma_follow_the_scale_of_the_data(fast, scale):
    choices = uk.auto.configure(images(scale=scale), budget="2m")
    objective = choices.config.objective
    distance = auto.squared_distance(
        uk.data.ArrayDataset(uk.data.to_uint8(images(scale=scale)), "i"), (8, 8, 1), "fitted"
    )
    assert objective.tau * distance == pytest.approx(auto.TRANSPORT, rel=0.05)
    assert objective.r1_gamma == pytest.approx(auto.R1_SCALE * distance, rel=0.05)


def test_the_budget_gives_the_number_of_steps(fast):
    choices = uk.auto.configure(images(), budget="10m")
    config = choices.config
    assert 0.9 * 600 / 0.05 <= config.run.max_steps <= 600 / 0.05
    assert config.optimization.lr_periods == config.run.max_steps
    assert config.run.log_every * 0.05 <= 30
    assert "--tau=" in choices.describe() and "10m at 20 steps per second" in choices.describe()


@pytest.mark.parametrize(
    "budget, expected",
    [("1m", "little but colors"), ("4m", "shapes and colors"), ("20m", "objects that can be told")],
)
def test_what_to_expect(fast, budget, expected):
    choices = uk.auto.configure(images(), budget=budget)
    seen = choices.config.run.max_steps * choices.config.data.batch_size
    text = choices.outlook()
    assert expected in text
    assert float(text.partition(" ")[0].replace(",", "")) == pytest.approx(seen, rel=0.05)
    other = updated(choices.config, generator="resmlp")
    assert dataclasses.replace(choices, config=other).outlook() == ""


def test_given_flags_stay(fast):
    left = {name: None for name in ("tau", "batch_size")}
    given = updated(from_flags(TrainConfig, {"generator": "resmlp", "width": 8}), **left)
    choices = uk.auto.configure(images(), config=given)
    assert set(choices.reasons) == {"tau", "batch_size"}
    assert choices.config.generator.width == 8 and choices.config.run.max_steps == 10000


def test_a_given_penalty_is_the_only_one(fast):
    left = {name: None for name in ("tau", "r1_gamma", "max_steps")}
    given = updated(from_flags(TrainConfig, {"wgan_gp_weight": 10, "generator": "small"}), **left)
    choices = uk.auto.configure(images(), config=given)
    assert choices.config.objective.r1_gamma == 0
    # A network that was given decides itself which sizes it takes.
    assert uk.auto.configure(images(size=24), config=given).config.objective.tau > 0


def test_a_budget_that_is_too_small_says_so(monkeypatch):
    monkeypatch.setattr(auto, "measure_step", lambda config, dataset: 40.0)
    choices = uk.auto.configure(images(), budget="1m")
    assert choices.config.run.max_steps == 100
    assert "takes longer than 1m here" in choices.reasons["max_steps"]


def test_flags_that_exclude_each_other_are_refused_before_the_measurement(monkeypatch):
    monkeypatch.setattr(auto, "measure_step", lambda config, dataset: pytest.fail("measured"))
    given = updated(from_flags(TrainConfig, {"jko_step_size": 0.1}), max_steps=None)
    with pytest.raises(uk.InputError, match="--source_divergence=kl must be balanced"):
        uk.auto.configure(images(), config=given)


def test_a_model_of_the_choices_trains(fast):
    choices = uk.auto.configure(images(70), budget="1m")
    model = choices.build_model()
    size = choices.config.data.batch_size
    history = model.fit(images(70), batch_size=size, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all() and size == 64
    assert model.generate(2, seed=0).shape == (2, 8, 8, 1)


def test_the_speed_is_measured(monkeypatch):
    monkeypatch.setattr(auto, "_TIMED_SECONDS", 0.0)
    config = from_flags(
        TrainConfig,
        {"generator": "resmlp", "potential": "resmlp", "width": 4, "potential_width": 4,
         "batch_size": 8, "latent_dim": 2},
    )  # fmt: skip
    assert 0 < auto.measure_step(config, uk.data.ArrayDataset(uk.data.to_uint8(images()), "i")) < 10


@pytest.mark.parametrize(
    "natural, cpu, size",
    [(64, True, 32), (28, True, 32), (20, True, 16), (8, True, 8), (500, False, 64)],
)  # fmt: skip
def test_the_image_size(natural, cpu, size):
    assert auto.choose_image_size(natural, cpu)[0] == size


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"data": images(49)}, "has 49 examples: accepted are at least 50"),
        ({"data": np.repeat(images(1), 60, axis=0)}, "all the same"),
        ({"data": images(size=24)}, "accepted are square images of 8, 16"),
        ({"data": images(), "budget": "59s"}, "budget='59s' must be a time of at least 60 s"),
    ],
)
def test_bad_input(fast, arguments, words):
    with pytest.raises(uk.InputError, match=words):
        uk.auto.configure(**arguments)


class TestCommand:
    def folder(self, tmp_path, count=60, size=12):
        from PIL import Image

        folder = tmp_path / "my pictures"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for i in range(count):
            pixels = rng.integers(0, 256, (size, size + i % 3, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
        return folder

    def test_a_folder_needs_no_other_flag(self, fast, tmp_path, monkeypatch, capsys):
        folder = self.folder(tmp_path)
        monkeypatch.chdir(tmp_path)
        command = [f"--dataset=folder:{folder}", "--width=4", "--potential_width=4"]
        assert train([*command, "--max_steps=3"]) == 0
        run = tmp_path / "runs" / "my_pictures"
        flags = json.loads((run / "config.json").read_text())["flags"]
        assert flags["image_size"] == 16 and flags["generator"] == "light"
        assert flags["source"] == "fitted" and flags["batch_size"] == 32
        assert None not in {flags[name] for name in ("tau", "lr_periods", "log_every")}
        out = capsys.readouterr().out
        assert f"--tau={flags['tau']:g} " in out and "images have 12 px" in out

        # A resumed run keeps every choice, whatever would be chosen now.
        monkeypatch.setattr(auto, "TRANSPORT", 7.0)
        assert train([*command, "--max_steps=5"]) == 0
        again = json.loads((run / "config.json").read_text())["flags"]
        assert again == {**flags, "max_steps": 5}

    def test_the_end_is_foretold(self, fast, tmp_path, capsys):
        folder = self.folder(tmp_path)
        config = COMMAND.parse([f"--dataset=folder:{folder}", "--budget=2h"])
        config, target = _choose(config)
        assert len(target) == 60 and target.shape == (16, 16, 3)
        assert 120_000 < config.run.max_steps < 144_000
        assert "Training takes about 1 h 48 min, until " in capsys.readouterr().out

    @pytest.mark.parametrize(
        "count, flags, words",
        [
            (49, [], "has 49 examples: accepted are at least 50"),
            (60, ["--budget=10s"], "flag --budget=10s: must be a time of at least 60 s"),
            (60, ["--source_dataset=digits"], "with --source_dataset=digits give --generator"),
        ],
    )
    def test_bad_input(self, fast, tmp_path, monkeypatch, capsys, count, flags, words):
        folder = self.folder(tmp_path, count)
        monkeypatch.chdir(tmp_path)
        assert train([f"--dataset=folder:{folder}", *flags]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1 and not (tmp_path / "runs").exists()

    def test_tiny_images(self, fast, tmp_path, monkeypatch, capsys):
        folder = self.folder(tmp_path, size=5)
        monkeypatch.chdir(tmp_path)
        assert train([f"--dataset=folder:{folder}"]) == 2
        assert "the images have 5 pixels per side" in capsys.readouterr().err


def test_a_complete_config_has_no_choices():
    assert None not in {to_flags(TrainConfig())[n] for n in ("tau", "max_steps", "image_size")}
