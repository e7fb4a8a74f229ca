"""Processes of the benchmarks: each backend needs its own, because Keras selects it at import."""

import os
import subprocess
import sys

BACKENDS = ("tensorflow", "jax", "torch")
_TASK = "UOTM_BENCHMARK_TASK"


def task() -> str | None:
    """Return the task of this process, or None if it is not a worker."""
    return os.environ.get(_TASK)


def environment(backend: str, work: str | None = None) -> dict[str, str]:
    """Return the environment of a process that runs one backend, as a worker if `work` is given."""
    changes = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **changes, **({_TASK: work} if work else {})}


def run(arguments: list[str], backend: str, work: str | None = None) -> list[str] | None:
    """Run Python with these arguments; return the lines that it prints, or None if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment(backend, work),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.stdout.splitlines() if done.returncode == 0 else None
