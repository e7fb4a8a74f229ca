"""Measure everything about a GPU that docs/performance.md reports, by one command.

    python benchmarks/gpu.py --output=results --minutes=8
    python benchmarks/gpu.py --output=results --rehearse     # tiny sizes, on a CPU

The sections are

- correctness: three iterations of the authors' networks, the FID network, a resumed run, and mixed
  precision, each against a tolerance;
- step: a training iteration and sampling at the paper's sizes, beside the same step in plain
  PyTorch, as a share of the card's own rate of matrix products;
- profile: the ten most expensive kernels of an iteration;
- input: the time that an iteration waits for its batch;
- training: NCSN++ on Fashion-MNIST by train.py. Give --dataset=idx:PATH.

Each section runs in processes of its own, one for each backend, which are ended when their share
of --minutes is over. A result is written as soon as it is there, to results.json and results.md in
--output, so that a run that is cut off leaves what it had. training leaves its run in files
training.tar.00, .01, ..., from which --resume=DIR continues it.
"""

import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workers import environment

from uotm_keras.config import (
    Boolean,
    Command,
    Enum,
    Enums,
    Float,
    Text,
    flag,
    run_command,
    to_flags,
)
from uotm_keras.utils.files import write_text

SECTIONS = ("correctness", "step", "profile", "input", "training")
SECONDS = {"correctness": 60, "step": 75, "profile": 30, "input": 20, "training": 480}
"""Seconds of one worker of each section, for --minutes=8."""
FIRST_RESULT = "result "
"""How the lines of a worker begin that hold a result."""


@dataclasses.dataclass(frozen=True)
class GpuOptions:
    """The flags of this benchmark."""

    output: str = flag("", Text("the path of a folder"), "Folder for the results.", required=True)
    minutes: float = flag(8.0, Float(0, exclusive=True), "Time limit of the whole benchmark.")
    rehearse: bool = flag(
        False, Boolean(), "Use tiny sizes, to check the benchmark itself on a CPU."
    )
    sections: tuple[str, ...] = flag(SECTIONS, Enums(*SECTIONS), "Sections to run, in order.")
    backends: tuple[str, ...] = flag(
        ("torch", "jax"), Enums("torch", "jax", "tensorflow"), "Backends to measure."
    )
    dataset: str = flag(
        "idx:/usr/share/datasets/fashion-mnist",
        Text("a dataset as for train.py"),
        "Dataset of the section training.",
    )
    training_backend: str = flag(
        "jax", Enum("jax", "torch", "tensorflow"), "Backend of the section training."
    )
    training_flags: str = flag(
        "--base_channels=32 --potential_base_channels=16",
        Text("flags of train.py"),
        "Further flags of the section training. The default networks have checkpoints of 54 MB.",
    )
    resume: str | None = flag(
        None, Text("the path of a folder"), "Folder with a run to continue.", none="none"
    )
    part_mb: float = flag(15.0, Float(0, exclusive=True), "Largest size of a part of that run, MB.")


COMMAND = Command(__doc__ or "", GpuOptions)


@dataclasses.dataclass
class Results:
    """The results so far, in memory and on disk."""

    folder: Path
    content: dict[str, Any]

    def add(self, section: str, record: dict[str, Any]) -> None:
        """Add one result and write all."""
        self.content["results"].setdefault(section, []).append(record)
        self.write()

    def write(self) -> None:
        write_text(self.folder / "results.json", json.dumps(self.content, indent=2) + "\n")
        write_text(self.folder / "results.md", "\n".join(self.markdown()) + "\n")

    def markdown(self) -> Iterator[str]:
        """Yield the lines of results.md: one table for each section and set of columns."""
        yield "# GPU benchmark"
        yield ", ".join(f"{k} {v}" for k, v in self.content["machine"].items())
        for section, records in self.content["results"].items():
            yield f"\n## {section}"
            columns: list[str] | None = None
            for record in records:
                if list(record) != columns:
                    columns = list(record)
                    yield f"\n| {' | '.join(columns)} |"
                    yield "|---" * len(columns) + "|"
                yield f"| {' | '.join(map(_shown, record.values()))} |"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")


def work(options: GpuOptions) -> int:
    """Run the sections and return the exit code: 1 if a worker failed."""
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    content = {"arguments": to_flags(options), "machine": machine, "results": {}}
    results = Results(folder, content)
    results.write()
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        for section in options.sections:
            for backend in _workers(section, options):
                limit = SECONDS[section] * options.minutes / 8
                limit = min(limit, end - time.monotonic())
                begin = time.monotonic()
                outcome = _run(section, backend, options, limit, scratch, results)
                record = {
                    "section": section,
                    "worker": backend,
                    "seconds": time.monotonic() - begin,
                    "outcome": outcome,
                }
                results.add("workers", record)
                print(f"{section} on {backend}: {outcome} ({record['seconds']:.0f} s)", flush=True)
                failed |= outcome.startswith("failed")
    print(f"{folder / 'results.md'}")
    return int(failed)


def _workers(section: str, options: GpuOptions) -> Sequence[str]:
    if section == "training":
        return (options.training_backend,)
    if section == "step":
        return (*options.backends, "plain")
    return options.backends


def _run(
    section: str, backend: str, options: GpuOptions, limit: float, scratch: str, results: Results
) -> str:
    """Run one worker and return its outcome; the results that it prints are added."""
    if limit < 1:
        return "left out: no time was left"
    variables = {
        **environment("torch" if backend == "plain" else backend, f"{section},{backend}"),
        # A program is compiled once, although several workers run it.
        "JAX_COMPILATION_CACHE_DIR": str(Path(scratch) / "jax_cache"),
        # JAX takes three quarters of the memory unless it is told otherwise. correctness starts
        # train.py beside its own process.
        **(
            {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
            if section == "correctness"
            else {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}
        ),
        "UOTM_BENCHMARK_SECONDS": str(limit),
        "UOTM_BENCHMARK_OPTIONS": json.dumps(to_flags(options)),
        "PYTHONUNBUFFERED": "1",
    }
    with open(Path(scratch) / "errors", "w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("gpu_sections.py"))],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=variables,
            start_new_session=True,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            _signal(process, signal.SIGKILL)

        # A training run ends itself in time, to write its checkpoint.
        timer = threading.Timer(limit, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(FIRST_RESULT):
                    results.add(section, json.loads(line.removeprefix(FIRST_RESULT)))
            process.wait()
        finally:
            timer.cancel()
            _signal(process, signal.SIGKILL)
        process.wait()
        if late.is_set():
            return "ended at its time limit"
        if process.returncode == 0:
            return "done"
        errors.seek(0)
        lines = [line for line in errors.read().splitlines() if line.strip()]
        return "failed: " + (" / ".join(lines[-2:])[-400:] or f"exit code {process.returncode}")


def _signal(process: subprocess.Popen, number: int) -> None:
    """Signal a worker and the processes that it has started."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    return run_command(COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
