"""Kill a small training run at random times, resume it each time, and compare the result.

    python benchmarks/kills.py --kills=30 --backends=jax

Each process is ended by SIGKILL: one in five during its imports, the others at a random time after
training began. After each kill, the script checks that the sample grids and the page of the latest
checkpoint are there. In the end, the weights, the lines of the log (without times and memory), the
sample grids, and the page must equal those of a run that was never interrupted, and no temporary
files may be left.
"""

import dataclasses
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from workers import BACKENDS, environment

from uotm_keras import InputError
from uotm_keras.config import Command, Enums, Float, Integer, flag, run_command

_ROOT = Path(__file__).resolve().parents[1]
_CLOCK = ("steps_per_second", "images_per_second", "memory_mb", "seconds")
_LOG, _CHECKPOINT, _SAMPLE = 7, 10, 20
_FLAGS = {
    "dataset": "toy:moons:300", "batch_size": 32, "generator": "resmlp", "width": 8, "blocks": 1,
    "latent_dim": 3, "potential": "resmlp", "potential_width": 8, "potential_blocks": 1,
    "log_every": _LOG, "checkpoint_every": _CHECKPOINT, "sample_every": _SAMPLE,
}  # fmt: skip
_STEPS_PER_KILL = 30
_IMPORTS, _LATER = 0.2, 0.8  # fractions of the kills


@dataclasses.dataclass(frozen=True)
class KillsOptions:
    """The flags of this benchmark."""

    backends: tuple[str, ...] = flag(BACKENDS, Enums(*BACKENDS), "Backends to test.")
    kills: int = flag(30, Integer(1), "Number of kills per backend.")
    seconds: float = flag(
        3.0, Float(0.0), "Longest time in seconds from the first line of progress to a kill."
    )
    seed: int = flag(0, Integer(0), "Seed for the times of the kills.")


COMMAND = Command(__doc__ or "", KillsOptions)


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run in a folder of its own."""

    folder: Path
    backend: str
    steps: int

    def start(self) -> subprocess.Popen:
        """Start the training command in the background."""
        flags = {"run_dir": self.folder, "max_steps": self.steps, **_FLAGS}
        return subprocess.Popen(
            [sys.executable, "train.py", *(f"--{name}={value}" for name, value in flags.items())],
            cwd=_ROOT, env={**environment(self.backend), "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
        )  # fmt: skip

    def finish(self) -> None:
        """Train to the end.

        Raises:
            InputError: the command fails.
        """
        process = self.start()
        output, _ = process.communicate()
        if process.returncode:
            raise InputError(f"training on {self.backend} failed: {output.strip()[-500:]}")

    def checkpoint(self) -> int:
        """The step of the latest checkpoint, 0 without any."""
        records = (self.folder / "checkpoints").glob("step_*.json")
        return max((int(path.stem.removeprefix("step_")) for path in records), default=0)

    def missing(self) -> list[str]:
        """What the latest checkpoint promises and is not there."""
        step = self.checkpoint()
        due = range(_SAMPLE, step + 1, _SAMPLE)
        found = [f"grid {s}" for s in due if not self._grid(s).exists()]
        if step and self.page()["step"] < step:
            found.append(f"page {step}")
        return found

    def _grid(self, step: int) -> Path:
        return self.folder / "samples" / f"step_{step:06d}.png"

    def page(self) -> dict:
        """The data of the run's page, without what depends on the clock; step 0 without one."""
        path = self.folder / "report.html"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        match = re.search(r'id="run-data">([^<]*)<', text)
        if match is None:
            return {"step": 0}
        data = json.loads(match[1])
        curves = {name: curve for name, curve in data["curves"].items() if name not in _CLOCK}
        return {**data, "curves": curves, "grids": text.count("data:image/")}

    def lines(self) -> list[dict]:
        """The lines of the log, without what depends on the clock."""
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        return [{k: v for k, v in line.items() if k not in _CLOCK} for line in lines]

    def grids(self) -> dict[str, bytes]:
        """The sample grids by name."""
        return {path.name: path.read_bytes() for path in (self.folder / "samples").iterdir()}

    def weights(self) -> dict[str, np.ndarray]:
        """The last checkpoint's arrays by name."""
        import h5py

        arrays: dict[str, np.ndarray] = {}

        def add(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[name] = item[()]

        with h5py.File(self.folder / f"checkpoints/step_{self.steps:06d}.weights.h5") as file:
            file.visititems(add)
        return arrays

    def leftovers(self) -> list[Path]:
        """Temporary files."""
        return [p for p in self.folder.rglob(".*") if p.name != ".lock"]


def kill(run: Run, rng: random.Random, startup: float, first: float, longest: float) -> bool:
    """Start the run and kill it at a random time; return whether it was still running."""
    process = run.start()
    if rng.random() < _IMPORTS:
        time.sleep(rng.uniform(0.0, startup))
    else:
        assert process.stdout is not None
        for line in process.stdout:
            if f"of {run.steps}." in line:
                break
        if rng.random() < _LATER:  # the others are killed while the first step compiles
            for line in process.stdout:
                if line.startswith("step "):
                    break
            time.sleep(rng.uniform(0.0, longest))
        else:
            time.sleep(rng.uniform(0.0, first))
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def train_uninterrupted(run: Run) -> tuple[float, float]:
    """Train to the end; return the seconds until training began, and to the first line then."""
    begin = time.perf_counter()
    process = run.start()
    assert process.stdout is not None
    began = first = 0.0
    output = []
    for line in process.stdout:
        output.append(line)
        now = time.perf_counter() - begin
        if f"of {run.steps}." in line:
            began = now
        elif line.startswith("step ") and not first:
            first = now - began
    if process.wait():
        raise InputError(f"training on {run.backend} failed: {''.join(output)[-500:]}")
    return began, first


def equal(whole: Run, killed: Run) -> dict[str, bool]:
    """Compare the two finished runs."""
    a, b = whole.weights(), killed.weights()
    return {
        "weights": a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a),
        "log": whole.lines() == killed.lines(),
        "grids": whole.grids() == killed.grids(),
        "page": whole.page() == killed.page(),
        "no leftovers": not killed.leftovers(),
    }


def work(options: KillsOptions) -> int:
    """Test all backends and print the table."""
    columns = ("weights", "log", "grids", "page", "no leftovers")
    print(f"| backend | kills | without a new checkpoint | missing after a kill | "
          f"{' | '.join(columns)} |")  # fmt: skip
    print("|---" * (4 + len(columns)) + "|")
    failed = False
    for backend in options.backends:
        rng = random.Random(options.seed)
        with tempfile.TemporaryDirectory() as folder:
            steps = _STEPS_PER_KILL * options.kills
            whole = Run(Path(folder) / "whole" / "run", backend, steps)
            killed = Run(Path(folder) / "killed" / "run", backend, steps)
            startup, first = train_uninterrupted(whole)
            kills = early = missing = 0
            for _ in range(options.kills):
                before = killed.checkpoint()
                if not kill(killed, rng, startup, first, options.seconds):
                    break
                kills += 1
                early += killed.checkpoint() == before
                missing += len(killed.missing())
            killed.finish()
            found = equal(whole, killed)
            failed |= missing > 0 or not all(found.values())
            results = " | ".join("equal" if found[name] else "DIFFERENT" for name in columns[:-1])
            clean = "yes" if found["no leftovers"] else "NO"
            print(f"| {backend} | {kills} | {early} | {missing} | {results} | {clean} |",
                  flush=True)  # fmt: skip
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    return run_command(COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
