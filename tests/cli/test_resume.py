"""Killed and resumed equals never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_run import assert_same

from uotm_keras.training.checkpoints import Checkpoints
from uotm_keras.training.metrics_log import MetricsLog

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
    Image.new("L", (8, 8), 99).save(pictures / "new.png")
    assert tiny.train(**flags, batch_size=3, max_steps=3) == 2
    index.unlink()
    assert tiny.train(**flags, batch_size=3, max_steps=3) == 0
