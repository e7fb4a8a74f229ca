"""`train.py` in two processes: what is written, who dies, who does not come."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from processes import BACKEND, ROOT, environment, free_port
from tiny_run import TinyRun

from uotm_keras.backend import distribution
from uotm_keras.training.checkpoints import Checkpoints

NEVER = 100_000  # steps


class Job:
    """Two processes of the training command."""

    def __init__(self, folder, changes: dict, only: tuple[int, ...] = (0, 1), differ: dict = {}):  # noqa: B006
        self.ports = [free_port(), free_port()]
        self.run = TinyRun(folder / "run")
        self.outputs = [folder / f"output_{i}.txt" for i in (0, 1)]
        self.processes = {}
        for i in only:
            given = changes | (differ if i == 1 else {})
            arguments = self.run.arguments(**{"worker_timeout": 60, "sample_every": 0, **given})
            with open(self.outputs[i], "w") as output:
                self.processes[i] = subprocess.Popen(
                    [sys.executable, "train.py", *arguments],
                    env=environment(i, self.ports), cwd=ROOT, stdout=output, stderr=output,
                )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def wait(self, process: int, seconds: float = 300) -> int:
        return self.processes[process].wait(seconds)

    def wait_for_checkpoint(self, step: int) -> None:
        deadline = time.monotonic() + 300
        checkpoints = Checkpoints(self.run.folder / "checkpoints")
        while not any(s >= step for s in checkpoints.steps()):
            assert time.monotonic() < deadline
            assert all(p.poll() is None for p in self.processes.values()), self.text(0)
            time.sleep(0.05)

    def text(self, process: int) -> str:
        return self.outputs[process].read_text()

    def errors(self, process: int) -> list[str]:
        return [line for line in self.text(process).splitlines() if line.startswith("error: ")]


def assert_close(one: TinyRun, other: TinyRun, step: int) -> None:
    """The same lines and weights within 1e-5."""
    assert [line["step"] for line in one.lines()] == [line["step"] for line in other.lines()]
    for a, b in zip(one.lines(), other.lines(), strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    a, b = one.weights(step), other.weights(step)
    assert a.keys() == b.keys() and len(a) > 40
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.fixture
def whole(tmp_path):
    """A run on one device, never stopped, to a step."""

    def train(step: int) -> TinyRun:
        run = TinyRun(tmp_path / "whole")
        assert run.train(max_steps=step, sample_every=0) == 0
        return run

    return train


def test_a_job_is_stopped_then_killed_and_resumes(tmp_path, whole):
    """Two processes until a signal, two until one is killed, then one device."""
    with Job(tmp_path, {"max_steps": NEVER}) as job:
        job.wait_for_checkpoint(10)
        job.processes[1].send_signal(signal.SIGTERM)
        assert [job.wait(0), job.wait(1)] == [130, 130], job.text(0) + job.text(1)
        assert not job.errors(0) and not job.errors(1)
        assert "split among 2 replicas in 2 processes" in job.text(0)
        assert "UOTM" not in job.text(1)
    stopped = Checkpoints(job.run.folder / "checkpoints").newest(print)
    assert f"interrupted at step {stopped}" in job.text(0)
    with Job(tmp_path, {"max_steps": NEVER}) as job:
        job.wait_for_checkpoint(stopped + 10)
        assert f"resuming from step {stopped}" in job.text(0)
        job.processes[1].kill()
        killed = time.monotonic()
        assert job.wait(0) == 4, job.text(0)
        seconds = time.monotonic() - killed
        assert seconds < 60
        print(f"{BACKEND}: exit code 4 came {seconds:.1f} s after the kill")
        (error,) = job.errors(0)
        assert error.startswith("error: another process of the group has ended")
        assert "resume from the last checkpoint" in error
    reached = Checkpoints(job.run.folder / "checkpoints").newest(print)
    assert reached > stopped
    # Lines may be ahead of the checkpoint, and are not written twice.
    end = max(reached + 5, job.run.lines()[-1]["step"] + 1)
    assert job.run.train(max_steps=end, sample_every=0) == 0
    assert_close(job.run, whole(end), end)


@pytest.mark.parametrize("process", [0, 1])
def test_the_other_does_not_come(tmp_path, process):
    with Job(tmp_path, {"worker_timeout": 2}, only=(process,)) as job:
        assert job.wait(process) == 2, job.text(process)
        (error,) = job.errors(process)
        assert f"process {process} could not form a process group with process" in error
        assert "--worker_timeout" in error
    assert not job.run.folder.exists()


def test_divergence_ends_all(tmp_path):
    changes = {"generator_lr": 1e38, "potential_lr": 1e38, "lr_schedule": "constant"}
    with Job(tmp_path, changes) as job:
        assert [job.wait(0), job.wait(1)] == [3, 3], job.text(0) + job.text(1)
        for process in (0, 1):
            (error,) = job.errors(process)
            assert "training stopped at step 7" in error


def test_processes_with_other_flags(tmp_path):
    with Job(tmp_path, {}, differ={"tau": 0.5}) as job:
        assert [job.wait(0), job.wait(1)] == [2, 2], job.text(0) + job.text(1)
        for process in (0, 1):
            (error,) = job.errors(process)
            assert "--tau=0.5 of process 1 is 0.001 in process 0" in error
    assert not job.run.folder.exists()


# --- on one machine -------------------------------------------------------------------------


def train_alone(arguments: list[str], **variables: str):
    return subprocess.run(
        [sys.executable, "train.py", *arguments],
        env={**environment(), **variables}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.skipif(BACKEND == "torch", reason="a process of torch has one device")
def test_checkpoints_move_between_numbers_of_devices(tmp_path, whole):
    run = TinyRun(tmp_path / "run")
    assert run.train(max_steps=20, sample_every=0) == 0
    for end, flags in (
        (40, {"virtual_devices": 4, "accumulate": 2}),
        (60, {"virtual_devices": 2, "steps_per_execution": 5, "log_every": 10}),
    ):
        arguments = run.arguments(max_steps=end, **{"sample_every": 0, **flags})
        done = train_alone(arguments)
        assert done.returncode == 0, done.stderr
        assert f"split among {flags['virtual_devices']} replicas" in done.stdout
    one = whole(60)
    a, b = run.weights(60), one.weights(60)
    assert a.keys() == b.keys()
    for name in a:
        # But for the sums since the last line, which another --log_every moves.
        if not name.endswith(("_total", "_count")):
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.skipif(BACKEND == "torch", reason="a process of torch has one device")
def test_a_batch_that_cannot_be_shared(tmp_path):
    run = TinyRun(tmp_path / "run")
    done = train_alone(run.arguments(virtual_devices=2, batch_size=33))
    assert done.returncode == 2
    assert "a batch of 33 is not divisible by 2 replicas" in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not run.folder.exists()


_MALFORMED = {
    "tensorflow": [
        ({"TF_CONFIG": "{"}, "TF_CONFIG='{' is malformed"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}'},
         "the address 'a': accepted is host:port"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'},
         "the cluster has 1 of that type"),
        ({"TF_CONFIG": '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}'},
         "accepted are 'chief' and 'worker'"),
    ],
    "jax": [
        ({"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}, "JOB_ADDRESSES is missing"),
        ({"KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1,b", "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
          "KERAS_DISTRIBUTION_PROCESS_ID": "0"}, "the address 'b': accepted is host:port"),
        ({"KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1", "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
          "KERAS_DISTRIBUTION_PROCESS_ID": "2"}, "PROCESS_ID=2 must be below"),
    ],
    "torch": [
        ({"WORLD_SIZE": "2"}, "RANK='' is not what torchrun sets"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
         "RANK=2 must be below WORLD_SIZE=2"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("variables, words", _MALFORMED[BACKEND])
def test_malformed_environment(tiny_run, capsys, monkeypatch, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tiny_run.train() == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("error: ") and error.count("\n") == 1
    assert not tiny_run.folder.exists()


_ALONE = {
    "tensorflow": [{"TF_CONFIG": "{}"}, {"TF_CONFIG": '{"cluster": {}}'}],
    "jax": [{"KERAS_DISTRIBUTION_NUM_PROCESSES": "1"}],
    "torch": [{"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}],
}


@pytest.mark.parametrize("variables", _ALONE[BACKEND])
def test_environment_of_one_process(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distribution.find_cluster() is None


@pytest.fixture
def tiny_run(tmp_path):
    return TinyRun(tmp_path / "run")


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"strategy": "mirrored"}, "--strategy=mirrored"),
        ({"strategy": "multiworker"}, "--strategy=multiworker needs several processes"),
        ({"steps_per_execution": 4}, "--steps_per_execution=4 must divide --log_every=7"),
        ({"accumulate": 5}, "accumulate=5 does not divide the 32 rows"),
        ({"strategy": "tpu"}, "one of auto, none, mirrored, multiworker"),
    ],
)
def test_flags_that_are_not_possible(tiny_run, capsys, flags, words):
    assert tiny_run.train(**flags) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("error: ") and error.count("\n") == 1
    assert not tiny_run.folder.exists()


def test_a_cluster_and_no_strategy(tiny_run, capsys, monkeypatch):
    for name, value in environment(0, [1234, 1235]).items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    assert tiny_run.train(strategy="none") == 2
    assert "the environment names 2 processes" in capsys.readouterr().err


def test_accumulated_run_has_the_lines_of_the_whole(tiny_run, tmp_path):
    """By the command: the flag changes no number beyond float32's rounding."""
    assert tiny_run.train(max_steps=20, accumulate=4) == 0
    other = TinyRun(tmp_path / "other")
    assert other.train(max_steps=20) == 0
    assert_close(tiny_run, other, 20)
    config = json.loads((tiny_run.folder / "config.json").read_text())
    assert config["flags"]["accumulate"] == 4
