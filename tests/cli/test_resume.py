"""Killed and resumed equals never stopped."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from tiny_run import assert_same

from uotm_keras.cli.train import main
from uotm_keras.training.checkpoints import Checkpoints
from uotm_keras.training.metrics_log import MetricsLog
from uotm_keras.training.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]


class Crash(BaseException):
    """Stands for the end of the process."""


def crash_after(monkeypatch, owner: type, name: str, calls: int) -> None:
    """Makes the method end the process after so many calls of it."""
    original = getattr(owner, name)
    count = 0

    def method(*args, **kwargs):
        nonlocal count
        result = original(*args, **kwargs)
        count += 1
        if count == calls:
            raise Crash
        return result

    monkeypatch.setattr(owner, name, method)


def ctrl_c_after(monkeypatch, step: int) -> None:
    """Presses Ctrl-C when the line of the step is written."""
    original = MetricsLog.write

    def write(self, at, values):
        original(self, at, values)
        if at == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MetricsLog, "write", write)


def test_crashes_between_any_two_writes(tiny, finished, monkeypatch, capsys):
    crashes = [
        (MetricsLog, "write", 1),  # before the first checkpoint
        (Checkpoints, "_record_path", 1),  # its weights written, their record not
        (MetricsLog, "write", 3),  # after line 21, before checkpoint 30
        (MetricsLog, "sync", 2),  # before the checkpoint of a step is begun
        (RunDirectory, "sample_grid", 1),  # a sample grid is about to be written
    ]
    for owner, name, calls in crashes:
        with monkeypatch.context() as patch:
            crash_after(patch, owner, name, calls)
            with pytest.raises(Crash):
                tiny.train()
    with open(tiny.folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 42, "cos')  # torn
    with monkeypatch.context() as patch:
        ctrl_c_after(patch, 42)
        handler = signal.getsignal(signal.SIGINT)  # ignored in a shell's background
        assert tiny.train() == 130
    assert "interrupted at step 43, which has a checkpoint" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is handler
    assert tiny.train() == 0
    assert "resuming from step 43" in capsys.readouterr().out
    assert_same(tiny, finished, 60)


@pytest.mark.every_backend
def test_kill_9(tiny, tmp_path):
    intervals = {"checkpoint_every": 50, "sample_every": 0}
    arguments = tiny.arguments(max_steps=3000, **intervals)
    metrics = tiny.folder / "metrics.jsonl"
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(
            [sys.executable, "train.py", *arguments], stdout=out, stderr=out, cwd=ROOT
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if metrics.exists() and metrics.read_text().count("\n") >= 10:
                break
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL, (tmp_path / "out").read_text()
    reached = Checkpoints(tiny.folder / "checkpoints").newest(print)
    logged = tiny.lines()[-1]["step"]
    assert logged >= 70 and reached > logged - 50
    # It resumes here and trains further; another run trains as far without a stop.
    end = max(reached + 13, logged + 1)
    assert tiny.train(max_steps=end, **intervals) == 0
    whole = type(tiny)(tmp_path / "whole")
    assert whole.train(max_steps=end, **intervals) == 0
    assert_same(tiny, whole, end)


def test_what_a_checkpoint_promises_is_there(tiny, monkeypatch):
    """Its sample grid and its page are written before it, whenever the process is killed."""
    from uotm_keras.reporting.run_files import page_step

    directory = RunDirectory(tiny.folder)
    original = Checkpoints.save

    def save(self, model, step, notes=None):
        assert directory.sample_grid(step).exists() or step % 5
        assert page_step(directory) == step
        original(self, model, step, notes)

    monkeypatch.setattr(Checkpoints, "save", save)
    assert tiny.train(max_steps=14, checkpoint_every=4, sample_every=5) == 0
    assert Checkpoints(tiny.folder / "checkpoints").steps() == [12, 14]


def start(arguments: list[str], out: Path) -> subprocess.Popen:
    def with_default_signals() -> None:
        # A shell's background processes ignore SIGINT.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    with open(out, "w") as file:
        return subprocess.Popen(
            arguments, stdout=file, stderr=file, cwd=ROOT, preexec_fn=with_default_signals,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def test_sighup_ends_like_sigterm(tiny, tmp_path):
    arguments = tiny.arguments(max_steps=100_000, sample_every=0, checkpoint_every=50_000)
    metrics, out = tiny.folder / "metrics.jsonl", tmp_path / "out"
    process = start([sys.executable, "train.py", *arguments], out)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if metrics.exists() and metrics.read_text().count("\n") >= 2:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 130, out.read_text()
    finally:
        process.kill()
    (reached,) = Checkpoints(tiny.folder / "checkpoints").steps()
    assert f"interrupted at step {reached}, which has a checkpoint" in out.read_text()


@pytest.mark.parametrize("program", [["train.py"], ["-m", "uotm_keras", "train"]], ids=str)
@pytest.mark.parametrize("module", ["keras", "uotm_keras.networks", "uotm_keras.config"])
def test_ctrl_c_during_imports(tmp_path, program, module):
    """No traceback, even where a package that is imported catches exceptions."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            try:\n"
        "                os.kill(os.getpid(), signal.SIGINT)\n"
        "            except KeyboardInterrupt:\n"
        "                raise ImportError('a package reports another error') from None\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    process = subprocess.run(
        [sys.executable, *program, f"--run_dir={tmp_path / 'run'}"],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert process.returncode == 130, process.stderr
    assert process.stderr == "interrupted: nothing was written.\n"


@pytest.mark.one_backend("jax")
def test_a_run_of_version_0_1_0_resumes(tmp_path, capsys):
    """To the numbers that version 0.1.0 itself reaches; its log had no masses."""
    with tarfile.open(ROOT / "tests/golden/run_0_1_0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "run_0_1_0"
    flags = {
        "run_dir": folder, "dataset": "toy:moons:100", "batch_size": 10, "generator": "resmlp",
        "width": 4, "blocks": 1, "latent_dim": 2, "potential": "resmlp", "potential_width": 4,
        "potential_blocks": 1, "log_every": 4, "checkpoint_every": 6, "sample_every": 0,
    }  # fmt: skip
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    # Finished, but without a sample grid and a page.
    assert main([*arguments, "--max_steps=6"]) == 0
    assert (folder / "samples/step_000006.png").exists() and (folder / "report.html").exists()
    assert main([*arguments, "--max_steps=12"]) == 0
    assert "resuming from step 6" in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 6, 8, 12]
    assert ["source_mass" in line for line in lines] == [False, False, True, True]
    expected = {
        8: {"potential_loss": 0.11584802716970444, "generator_loss": 0.45992422103881836},
        12: {"potential_loss": 0.13933858275413513, "cost": 0.002980876015499234},
    }
    for line in lines:
        for name, value in expected.get(line["step"], {}).items():
            assert line[name] == pytest.approx(value, rel=1e-5)
    page = (folder / "report.html").read_text()
    assert "Masses of the marginals" in page


def test_a_run_of_an_earlier_version_goes_on(tiny, capsys):
    """Flags that it did not have count as their defaults."""
    assert tiny.train(max_steps=5) == 0
    config = tiny.folder / "config.json"
    record = json.loads(config.read_text())
    del record["flags"]["jko_step_size"], record["flags"]["batch_size"]
    config.write_text(json.dumps(record))
    capsys.readouterr()
    assert tiny.train(max_steps=6) == 2  # 32 is not the default
    error = capsys.readouterr().err
    assert "--batch_size=32 (there 128)" in error and "jko" not in error
    record["flags"]["batch_size"] = 32
    config.write_text(json.dumps(record))
    assert tiny.train(max_steps=6) == 0


def test_a_folder_is_indexed_and_a_changed_one_refused(tiny, tmp_path):
    """A run that cannot start leaves no files."""
    from PIL import Image

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(6):
        Image.new("L", (8, 8), 40 * i).save(pictures / f"{i}.png")
    (pictures / "damaged.png").write_bytes(b"no picture")
    flags = {"dataset": f"folder:{pictures}", "channels": 1}
    assert tiny.train(**flags, batch_size=7) == 2
    assert not tiny.folder.exists()
    index = tiny.folder / "index.json"
    for end in (1, 2):
        assert tiny.train(**flags, batch_size=3, max_steps=end) == 0
        (files,) = json.loads(index.read_text())["folders"].values()
        assert len(files) == 7
        (_, row) = (tiny.folder / "skipped.csv").read_text().splitlines()
        assert row == f'{pictures}/damaged.png,"not a readable PNG, JPEG or WebP file"'
        page = (tiny.folder / "report.html").read_text()
        assert "1 skipped file<" in page and f"<code>{pictures}/damaged.png</code>: not a" in page
    Image.new("L", (8, 8), 99).save(pictures / "new.png")
    assert tiny.train(**flags, batch_size=3, max_steps=3) == 2
    index.unlink()
    (pictures / "damaged.png").unlink()
    assert tiny.train(**flags, batch_size=3, max_steps=3) == 0
    assert not (tiny.folder / "skipped.csv").exists()
