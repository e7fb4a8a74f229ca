"""What the training command writes, and what it refuses."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_run import TinyRun, assert_same

from uotm_keras.cli.train import main
from uotm_keras.training import loop

ROOT = Path(__file__).parents[2]


def copy(run: TinyRun, folder) -> TinyRun:
    shutil.copytree(run.folder, folder)
    # The copy stands for the run itself.
    config = folder / "config.json"
    config.write_text(config.read_text().replace(str(run.folder), str(folder)))
    return TinyRun(folder)


def one_sentence(capsys) -> str:
    """The only line on stderr."""
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n")
    return error


class TestRunDirectory:
    def test_files(self, finished):
        names = set(finished.files())
        assert {
            "config.json", "metrics.jsonl", "samples/real.png", "samples/step_000025.png",
            "samples/step_000050.png", "samples/step_000060.png",
            "checkpoints/step_000050.weights.h5", "checkpoints/step_000050.json",
            "checkpoints/step_000060.weights.h5", "checkpoints/step_000060.json",
        } <= names  # fmt: skip
        assert sum(name.startswith("checkpoints/") for name in names) == 4
        assert any("events.out.tfevents" in name for name in names)

    @pytest.mark.every_backend
    def test_config(self, finished):
        config = json.loads((finished.folder / "config.json").read_text())
        assert config["backend"] == keras.backend.backend()
        assert config["versions"]["keras"] == keras.__version__
        assert config["flags"]["batch_size"] == 32 and config["flags"]["tau"] == 1e-3
        assert {"device", "git_commit", "started"} <= config.keys()

    def test_metrics_are_of_every_interval_and_of_the_end(self, finished):
        lines = finished.lines()
        assert [line["step"] for line in lines] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
        assert lines[-1]["alpha"] == pytest.approx(5.0)
        # Rates are those of epoch 60 // 9 = 6 of 20: a closed form, see schedules.
        rate = 1e-5 + 0.5 * (1.6e-4 - 1e-5) * (1 + np.cos(np.pi * 6 / 20))
        assert lines[-1]["generator_lr"] == pytest.approx(rate, rel=1e-5)

    def test_tensorboard_has_the_same_numbers(self, finished):
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        (path,) = (finished.folder / "tensorboard").iterdir()
        found = {
            event.step: value.tensor.float_val[0]
            if value.HasField("tensor")
            else value.simple_value
            for event in EventFileLoader(str(path)).Load()
            for value in event.summary.value
            if value.tag == "cost"
        }
        assert found == pytest.approx({line["step"]: line["cost"] for line in finished.lines()})

    def test_images_are_shown_as_a_grid(self, tiny):
        assert tiny.train(dataset="digits", max_steps=2, grid_size=3) == 0
        for name in ("real.png", "step_000002.png"):
            with Image.open(tiny.folder / "samples" / name) as image:
                assert image.size == (150, 150)  # 3 × (6 · 8 and a gap of 2)

    def test_image_to_image(self, tiny):
        flags = {"dataset": "toy:spiral:200", "source_dataset": "toy:moons:300"}
        assert tiny.train(max_steps=3, residual="on", **flags) == 0
        assert (tiny.folder / "samples/source.png").exists()

    def test_transported_images_stand_beside_what_they_were(self, tiny):
        flags = {"dataset": "digits", "source_dataset": "digits:inverted", "grid_size": 5}
        assert tiny.train(max_steps=2, **flags) == 0
        source, pairs = (
            np.asarray(Image.open(tiny.folder / f"samples/{name}.png"))
            for name in ("source", "step_000002")
        )
        assert source.shape == (100, 250) and pairs.shape == (250, 200)  # 10 of 50 × 50 each
        tiles = pairs.reshape(5, 50, 4, 50).swapaxes(1, 2).reshape(20, 50, 50)
        before = source.reshape(2, 50, 5, 50).swapaxes(1, 2).reshape(10, 50, 50)
        np.testing.assert_array_equal(tiles[::2], before)
        assert not (tiles[1::2] == before).all()


class TestGoingOn:
    def test_a_finished_run_says_so(self, finished, capsys):
        before = finished.files()
        assert finished.train() == 0
        assert "is finished" in capsys.readouterr().out
        assert finished.files() == before

    def test_a_finished_run_is_completed(self, finished, tmp_path, capsys):
        """As versions up to 0.1.0 left it when they were killed after the last checkpoint."""
        run = copy(finished, tmp_path / "run")
        before = run.files()
        (run.folder / "samples/step_000060.png").unlink()
        page = run.folder / "report.html"
        page.write_text(page.read_text().replace('"step": 60', '"step": 50'))
        assert run.train() == 0
        assert "Completed the sample grid and the page of step 60" in capsys.readouterr().out
        after = run.files()
        assert after.keys() == before.keys()
        assert {name for name in after if after[name] != before[name]} <= {"report.html"}
        assert '"step": 60' in page.read_text()
        page.unlink()
        assert run.train() == 0
        assert '"step": 60' in page.read_text()

    def test_a_resumed_run_is_completed(self, finished, tmp_path):
        run = copy(finished, tmp_path / "run")
        for step in (50, 60):
            (run.folder / f"samples/step_{step:06d}.png").unlink()
        for name in ("step_000060.json", "step_000060.weights.h5"):
            (run.folder / "checkpoints" / name).unlink()
        assert run.train() == 0
        for step in (50, 60):
            name = f"samples/step_{step:06d}.png"
            assert run.files()[name] == finished.files()[name]

    def test_temporary_files_of_killed_processes_are_removed(self, finished, tmp_path):
        run = copy(finished, tmp_path / "run")
        mine = [".notes.txt", "samples/.mine.png", ".report.html.mine"]
        left = [
            ".config.json.0123456789ab.json", ".report.html.0123456789ab.html",
            "samples/.step_000050.png.0123456789ab.png",
            "checkpoints/.best_000050.weights.h5.0123456789ab.weights.h5",
            "checkpoints/.step_000050.json.0123456789ab.json",
        ]  # fmt: skip
        for name in [*mine, *left]:
            (run.folder / name).write_text("half")
        folder = run.folder / ".exported.0123456789ab/new"
        folder.mkdir(parents=True)
        assert run.train(max_steps=61) == 0
        names = run.files().keys()
        assert names >= set(mine) and not names & set(left) and not folder.parent.exists()

    @pytest.mark.every_backend
    def test_a_larger_max_steps_goes_on_as_if_never_stopped(self, finished, tiny, tmp_path):
        longer = copy(finished, tmp_path / "longer")
        assert longer.train(max_steps=90) == 0
        assert tiny.train(max_steps=90) == 0
        # The end of the shorter run has a line of its own.
        assert [x for x in longer.lines() if x["step"] != 60] == tiny.lines()
        (tiny.folder / "metrics.jsonl").write_text((longer.folder / "metrics.jsonl").read_text())
        assert_same(longer, tiny, 90)

    def test_a_damaged_newest_checkpoint_falls_back(self, finished, tmp_path, capsys):
        run = copy(finished, tmp_path / "run")
        path = run.folder / "checkpoints/step_000060.weights.h5"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert run.train() == 0
        out = capsys.readouterr().out
        assert "step_000060.weights.h5 is damaged" in out and "resuming from step 50" in out
        assert_same(run, finished, 60)

    def test_a_checkpoint_under_another_step_s_name(self, finished, tmp_path, capsys):
        run = copy(finished, tmp_path / "run")
        folder = run.folder / "checkpoints"
        for ending in ("json", "weights.h5"):
            (folder / f"step_000050.{ending}").replace(folder / f"step_000060.{ending}")
        before = run.files()
        assert run.train() == 2
        assert "no checkpoint" in one_sentence(capsys)
        assert run.files() == before

    @pytest.mark.parametrize(
        "name, text",
        [
            ("config.json", "[" * 100_000),
            ("config.json", "[]"),
            ("config.json", '{"flags": {}, "backend": "jax", "data_shape": ["2"]}'),
            ("config.json", '{"flags": {"max_steps": "x"}, "backend": "jax"}'),
            ("metrics.jsonl", '{"step": 1.5}\n'),
            ("metrics.jsonl", '{"step": 1, "seconds": "x"}\n'),
        ],
    )
    def test_a_changed_record_is_refused(self, finished, tmp_path, capsys, name, text):
        run = copy(finished, tmp_path / "run")
        (run.folder / name).write_text(text)
        assert run.train(max_steps=61) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert str(run.folder / name) in error

    def test_no_usable_checkpoint_is_an_error(self, finished, tmp_path, capsys):
        run = copy(finished, tmp_path / "run")
        for path in (run.folder / "checkpoints").glob("*.h5"):
            path.write_bytes(path.read_bytes()[:1000])
        before = run.files()
        assert run.train() == 2
        assert "no checkpoint" in one_sentence(capsys)
        assert run.files() == before

    def test_another_configuration_is_refused(self, finished, capsys):
        before = finished.files()
        assert finished.train(tau=0.5, width=9) == 2
        message = one_sentence(capsys)
        assert "--tau=0.5 (there 0.001)" in message and "--width=9 (there 8)" in message
        assert "--max_steps" not in message
        assert finished.files() == before

    def test_another_backend_is_refused(self, finished, tmp_path, capsys):
        run = copy(finished, tmp_path / "run")
        config = json.loads((run.folder / "config.json").read_text())
        config["backend"] = "other"
        (run.folder / "config.json").write_text(json.dumps(config))
        assert run.train() == 2
        assert f"KERAS_BACKEND={keras.backend.backend()} (there other)" in one_sentence(capsys)

    def test_resume_never_refuses(self, finished, capsys):
        before = finished.files()
        assert finished.train(resume="never") == 2
        assert "--resume=never" in one_sentence(capsys)
        assert finished.files() == before

    def test_two_processes_cannot_train_one_run(self, tiny, capsys):
        import fcntl

        tiny.folder.mkdir()
        with open(tiny.folder / ".lock", "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert tiny.train() == 2
        assert "in use" in one_sentence(capsys)


class TestOutput:
    def test_the_first_line_is_shown_by_time(self, tiny, capsys, monkeypatch):
        monkeypatch.setattr(loop, "_FIRST_LINE_SECONDS", 0.0)
        assert tiny.train(max_steps=6, log_every=5, checkpoint_every=6) == 0
        out = capsys.readouterr().out
        # It comes after the first step; the log has the lines of its interval alone.
        lines = [line for line in out.splitlines() if line.startswith("step ")]
        assert [line.split()[1] for line in lines] == ["1/6", "5/6", "6/6"]
        assert "source mass" in lines[0] and "skipped" not in lines[0]
        assert [line["step"] for line in tiny.lines()] == [5, 6]

    def test_masses_are_logged(self, finished):
        for line in finished.lines():
            assert 0 < line["source_mass"] and 0 < line["target_mass"]
            assert line["skipped_updates"] == 0
        page = (finished.folder / "report.html").read_text()
        assert "Masses of the marginals" in page and "Skipped updates" not in page

    @pytest.mark.every_backend
    def test_replicas(self, tmp_path):
        """Of two devices, each loss and count is read as one number; in a process of its own."""
        tiny = TinyRun(tmp_path / "run")
        backend = keras.backend.backend()
        if backend == "torch":
            pytest.skip("PyTorch has one device per process")
        done = subprocess.run(
            [sys.executable, "train.py", *tiny.arguments(max_steps=3, virtual_devices=2)],
            capture_output=True, text=True, cwd=ROOT,
            env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (line,) = tiny.lines()
        assert line["skipped_updates"] == 0 and line["source_mass"] > 0

    def test_skipped_updates_are_shown(self, tiny, capsys):
        """Where a gradient overflows but the loss does not."""
        from uotm_keras.training.display import Display

        values = {"steps_per_second": 1.0, "skipped_updates": 3.0, "target_mass": 1.0}
        Display(0, 9).update(5, values)
        assert "target mass 1  skipped 3 updates" in capsys.readouterr().out


class TestTrouble:
    def test_points_on_a_large_scale(self, tiny, tmp_path, capsys):
        path = tmp_path / "points.npz"
        points = 1e4 * np.random.default_rng(0).standard_normal((300, 2)).astype("float32")
        np.savez(path, points=points)
        assert tiny.train(dataset=f"npz:{path}") == 3
        message = one_sentence(capsys)
        assert "loss was inf in the first step already" in message and "try lower" not in message
        assert f"which are in [{points.min():.3g}, {points.max():.3g}]" in message

    @pytest.mark.every_backend
    def test_divergence_stops_the_run(self, tiny, capsys):
        assert tiny.train(generator_lr=1e38, potential_lr=1e38, lr_schedule="constant") == 3
        message = capsys.readouterr().err
        assert message.startswith("error: training stopped at step 7") and message.count("\n") == 1
        assert "no checkpoint before it" in message and "learning rates" in message
        assert not (tiny.folder / "checkpoints").exists()
        assert tiny.lines() == []

    def test_divergence_keeps_the_last_good_checkpoint(self, tiny, capsys, monkeypatch):
        from uotm_keras import data

        original = data.Batches.part

        def broken_from_15(self, k, rows=None):
            batch = original(self, k, rows)
            return batch * np.float32("nan") if k >= 15 else batch

        monkeypatch.setattr(data.Batches, "part", broken_from_15)
        assert tiny.train(log_every=100) == 3
        message = capsys.readouterr().err
        assert "step 20" in message and "step_000010.weights.h5" in message
        names = {path.name for path in (tiny.folder / "checkpoints").iterdir()}
        assert names == {"step_000010.weights.h5", "step_000010.json"}

    def test_full_disk(self, tiny, capsys):
        assert tiny.train(max_steps=10) == 0
        before = tiny.files()
        capsys.readouterr()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = len(before["checkpoints/step_000010.weights.h5"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
        try:
            code = tiny.train(max_steps=20, sample_every=0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert code == 2
        # The page, which is written first, is no reason to stop.
        page, error = capsys.readouterr().err.splitlines()
        assert page.startswith("warning: the run's page was not written: cannot write")
        assert error.startswith("error: cannot write") and "step_000020.weights.h5" in error
        after = tiny.files()
        for name in before:
            if name.startswith("checkpoints/"):
                assert after[name] == before[name]
        assert not [name for name in after if "checkpoints/step_000020" in name]
        assert tiny.train(max_steps=20) == 0

    def test_no_permission(self, tiny, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        assert tiny.train(run_dir=tmp_path / "file" / "run") == 2
        assert "cannot write" in one_sentence(capsys)
        assert tiny.train(run_dir=tmp_path / "file") == 2
        assert "is a file" in one_sentence(capsys)


BAD_FLAGS = [
    ({"batch_size": 0}, "--batch_size=0"),
    ({"batch_size": "many"}, "--batch_size=many"),
    ({"batch_size": 301}, "batch_size=301"),
    ({"max_steps": -1}, "--max_steps=-1"),
    ({"seed": 1.5}, "--seed=1.5"),
    ({"tau": "nan"}, "--tau=nan"),
    ({"beta_1": 1}, "--beta_1=1"),
    ({"ema_decay": 1}, "--ema_decay=1"),
    ({"generator_lr": 0}, "--generator_lr=0"),
    ({"source_divergence": "kll"}, "did you mean 'kl'?"),
    ({"generator": "ncsnp"}, "did you mean 'ncsnpp'?"),
    ({"generator": "ncsnpp"}, "--generator=ncsnpp"),
    ({"potential": "small"}, "--potential=small"),
    ({"channel_multipliers": "1,x"}, "--channel_multipliers=1,x"),
    ({"channel_multipliers": ""}, "--channel_multipliers="),
    ({"pairing": "all"}, "--pairing=all"),
    ({"resume": "yes"}, "--resume=yes"),
    ({"alpha_warmup": 50}, "--alpha_warmup=50"),
    ({"wgan_gp_weight": 10}, "--r1_gamma=0.2"),
    ({"optimality_weight": 10}, "--r1_gamma=0.2 and --optimality_weight=10"),
    ({"lr_minimum": 1}, "--lr_minimum=1"),
    ({"dataset": "digts"}, "'digits'"),
    ({"dataset": "toy:moon:300"}, "moons"),
    ({"dataset": "folder:/nowhere"}, "/nowhere"),
    ({"dataset": ""}, "--dataset="),
    ({"contaminate": "toy:spiral:2"}, "toy:spiral:2"),
    ({"dataset": "digits", "potential": "large"}, "--potential=large"),
    ({"dataset": "digits", "residual": "on"}, "--residual=on"),
    ({"flip": "on"}, "flip"),
    ({"potental": "small"}, "'potential'"),
    ({"flagfile": "configs/digit.flags"}, "did you mean 'digits'"),
]


@pytest.mark.parametrize("changes, part", BAD_FLAGS, ids=str)
def test_bad_flags(tiny, capsys, changes, part):
    assert tiny.train(**changes) == 2
    assert part in one_sentence(capsys)
    assert not tiny.folder.exists()


@pytest.mark.parametrize("arguments", [[], ["--run_dir=x"], ["x"], ["--batch_size"]])
def test_missing_or_stray_arguments(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    one_sentence(capsys)
    assert not list(tmp_path.iterdir())
