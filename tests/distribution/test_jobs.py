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


def test_killed_worker_ends_the_job_and_it_goes_on(tmp_path, whole):
    with Job(tmp_path, {"max_steps": NEVER}) as job:
        job.wait_for_checkpoint(20)
        job.processes[1].kill()
        killed = time.monotonic()
        assert job.wait(0) == 4
        assert time.monotonic() - killed < 60
        (error,) = job.errors(0)
        # torchrun knows the first process's address alone.
        where = "of 2" if BACKEND == "torch" else f"(127.0.0.1:{job.ports[1]})"
        assert error.startswith(f"error: process 1 {where} has died")
        assert "last checkpoint" in error
    reached = Checkpoints(job.run.folder / "checkpoints").newest(print)
    assert reached >= 20
    # Its lines may be ahead of its checkpoint, and are not written twice.
    end = max(reached + 10, job.run.lines()[-1]["step"] + 1)
    with Job(tmp_path, {"max_steps": end}) as job:
        assert [job.wait(0), job.wait(1)] == [0, 0], job.text(0) + job.text(1)
        assert f"resuming from step {reached} of {end}" in job.text(0)
        assert "shared by 2 replicas in 2 processes" in job.text(0)
        assert "UOTM" not in job.text(1)
    assert_close(job.run, whole(end), end)


def test_one_is_asked_to_stop_and_all_do(tmp_path, whole):
    with Job(tmp_path, {"max_steps": NEVER}) as job:
        job.wait_for_checkpoint(10)
        job.processes[1].send_signal(signal.SIGTERM)
        assert [job.wait(0), job.wait(1)] == [130, 130], job.text(0) + job.text(1)
        assert not job.errors(0) and not job.errors(1)
    step = Checkpoints(job.run.folder / "checkpoints").newest(print)
    assert f"interrupted at step {step}" in job.text(0)
    # It goes on elsewhere: on one device.
    end = step + 5
    assert job.run.train(max_steps=end, sample_every=0) == 0
    assert_close(job.run, whole(end), end)


@pytest.mark.parametrize("process", [0, 1])
def test_the_other_does_not_come(tmp_path, process):
    with Job(tmp_path, {"worker_timeout": 2}, only=(process,)) as job:
        assert job.wait(process) == 2
        (error,) = job.errors(process)
        missing = f"process {1 - process}"
        if BACKEND != "torch" or process == 1:
            missing += f" (127.0.0.1:{job.ports[1 - process]})"
        assert missing in error and "within 2 seconds" in error and "--worker_timeout" in error
    assert not job.run.folder.exists()


def test_divergence_ends_all(tmp_path):
    changes = {"generator_lr": 1e38, "potential_lr": 1e38, "lr_schedule": "constant"}
    with Job(tmp_path, changes) as job:
        assert [job.wait(0), job.wait(1)] == [3, 4], job.text(0) + job.text(1)
        assert "training stopped at step 7" in job.errors(0)[0]


def test_processes_with_other_flags(tmp_path):
    with Job(tmp_path, {}, differ={"tau": 0.5}) as job:
        assert [job.wait(0), job.wait(1)] == [2, 2]
        for process in (0, 1):
            (error,) = job.errors(process)
            assert "--tau=0.5 of process 1 is 0.001 in process 0" in error
    assert not job.run.folder.exists()


def test_what_does_not_fit_the_first_ends_all(tmp_path):
    run = TinyRun(tmp_path / "run")
    run.folder.mkdir()
    (run.folder / "metrics.jsonl").write_text("")
    with Job(tmp_path, {}) as job:
        assert [job.wait(0), job.wait(1)] == [2, 4]
        assert "without its config.json" in job.errors(0)[0]
        (error,) = job.errors(1)
        assert "process 0" in error and "has stopped, and says why itself" in error


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
        assert f"shared by {flags['virtual_devices']} replicas" in done.stdout
    one = whole(60)
    a, b = run.weights(60), one.weights(60)
    assert a.keys() == b.keys()
    for name in a:
        # But for the sums since the last line, which another --log_every moves.
        if not name.endswith(("_total", "_count")):
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.skipif(BACKEND == "torch", reason="a process of torch has one device")
@pytest.mark.parametrize(
    "flags, words",
    [
        ({"batch_size": 33}, "a batch of 33 is not divisible by 2 replicas"),
        ({"accumulate": 3}, "accumulate=3 does not divide the 16 rows"),
    ],
)
def test_batches_that_cannot_be_shared(tmp_path, flags, words):
    run = TinyRun(tmp_path / "run")
    done = train_alone(run.arguments(virtual_devices=2, **flags))
    assert done.returncode == 2 and words in done.stderr
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
