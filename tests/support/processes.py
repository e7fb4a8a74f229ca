"""Runs of `train_once.py` as processes of their own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

BACKEND = keras.backend.backend()
ROOT = Path(__file__).parents[2]
VARIANTS = {
    "points": {},
    "pairs": {"potential": "small", "pairing": "all_pairs"},
    "between": {"potential": "small", "penalty": "wgan_gp"},
    "classes": {"potential": "small", "penalty": "wgan_gp", "classes": 3},
}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(process: int = 0, ports: list[int] | None = None) -> dict[str, str]:
    """What tells a process that it is one of several, in the backend's own words."""
    known = {**os.environ, "KERAS_BACKEND": BACKEND, "PYTHONPATH": str(ROOT)}
    known |= {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    if ports is None:
        return known
    addresses = [f"127.0.0.1:{port}" for port in ports]
    if BACKEND == "tensorflow":
        task = {"type": "worker", "index": process}
        known["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    elif BACKEND == "jax":
        known |= {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(addresses),
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(len(ports)),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(process),
        }
    else:
        known |= {"RANK": str(process), "LOCAL_RANK": str(process)}
        known |= {"WORLD_SIZE": str(len(ports)), "MASTER_ADDR": "127.0.0.1"}
        known["MASTER_PORT"] = str(ports[0])
    return known


def train(folder: Path, runs: dict[str, dict], devices: int = 1, processes: int = 1) -> dict:
    """Trains each run on so many devices in each of so many processes.

    Returns:
        By the run's name, what each process wrote.
    """
    settings = [{"out": str(folder / name), **run} for name, run in runs.items()]
    ports = [free_port() for _ in range(processes)] if processes > 1 else None
    program = [sys.executable, Path(__file__).with_name("train_once.py"), str(devices)]
    started = [
        subprocess.Popen(
            [*program, json.dumps(settings)],
            env=environment(i, ports), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(processes)
    ]  # fmt: skip
    try:
        for process in started:
            output, _ = process.communicate(timeout=400)
            assert process.returncode == 0, output
    finally:
        for process in started:
            process.kill()
    return {
        name: [dict(np.load(f"{folder / name}_{i}.npz")) for i in range(processes)] for name in runs
    }


def assert_equal(one: dict, other: dict, tolerance: float = 1e-5) -> None:
    """Losses of each step, weights, averages, counters and samples agree."""
    assert one.keys() == other.keys() and len(one) > 40
    for name in one:
        # Masses under all pairs can be far from 1.
        rtol = 0.1 * tolerance if name == "losses" else 0
        np.testing.assert_allclose(other[name], one[name], rtol=rtol, atol=tolerance, err_msg=name)
