"""The section training of gpu.py: a run of train.py that can be carried away and resumed."""

import json
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu import GpuOptions

ROOT = Path(__file__).parents[1]


def training(options: GpuOptions, limit: float) -> dict[str, Any]:
    """Train by train.py until the time is over, store the run in parts, and return its losses."""
    end = time.monotonic() + limit - min(40.0, 0.3 * limit)
    output = Path(options.output)
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "training"
        if options.resume:
            unpack(Path(options.resume), Path(scratch))
        arguments = [
            f"--dataset={options.dataset}", f"--run_dir={run}", "--image_size=32",
            "--generator=ncsnpp", "--potential=small", "--batch_size=256",
            "--dtype_policy=mixed_bfloat16", "--max_steps=1000000", "--log_every=100",
            "--checkpoint_every=1000", "--sample_every=0", *options.training_flags.split(),
        ]  # fmt: skip
        if options.rehearse:
            arguments += [
                "--base_channels=8", "--channel_multipliers=1", "--num_res_blocks=1",
                "--potential_base_channels=8", "--image_size=16", "--batch_size=8", "--log_every=1",
                "--max_steps=4" if not options.resume else "--max_steps=6",
            ]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *arguments], stdout=sys.stderr
        )
        try:
            process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # It writes a checkpoint and ends.
            process.wait()
        if process.returncode not in (0, 130):
            raise SystemExit(f"train.py failed with exit code {process.returncode}")
        lines = (run / "metrics.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])
        parts = pack(run, output, int(options.part_mb * 2**20))
        names = ("step", "images_per_second", "potential_loss", "generator_loss", "cost")
        return {"parts": parts, **{k: last[k] for k in names if k in last}}


def pack(run: Path, folder: Path, size: int) -> int:
    """Store what a run needs to resume in files of at most `size` bytes; return their number."""
    for old in folder.glob("training.tar.*"):
        old.unlink()
    newest = sorted((run / "checkpoints").glob("step_*"))[-1].name.split(".")[0]
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for path in sorted(run.iterdir()):
                if path.is_file() and path.suffix in (".json", ".jsonl", ".csv"):
                    tar.add(path, f"training/{path.name}")
            for path in sorted((run / "checkpoints").glob(f"{newest}.*")):
                tar.add(path, f"training/checkpoints/{path.name}")
        file.seek(0)
        number = 0
        while part := file.read(size):
            (folder / f"training.tar.{number:02}").write_bytes(part)
            number += 1
    return number


def unpack(folder: Path, target: Path) -> None:
    """Restore a run that `pack` has stored."""
    parts = sorted(folder.glob("training.tar.*"))
    with tempfile.TemporaryFile() as file:
        for part in parts:
            file.write(part.read_bytes())
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            tar.extractall(target, filter="data")
