"""The metrics log: append-only but for an incomplete last line, and no step twice."""

import json

import pytest

from uotm_keras.training.metrics_log import MetricsLog, read_log
from uotm_keras.utils.errors import InputError


def log_of(tmp_path, start: int = 0) -> MetricsLog:
    return MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "tensorboard", start)


def write(tmp_path, *steps: int, start: int = 0) -> None:
    log = log_of(tmp_path, start)
    for step in steps:
        log.write(step, {"cost": 0.1 * step, "seconds": float(step)})
    log.close()


def test_no_step_twice(tmp_path):
    write(tmp_path, 10, 20)
    first = (tmp_path / "metrics.jsonl").read_bytes()
    write(tmp_path, 10, 20, 30)
    both = (tmp_path / "metrics.jsonl").read_bytes()
    assert both.startswith(first)
    assert [json.loads(line)["step"] for line in both.splitlines()] == [10, 20, 30]


@pytest.mark.parametrize("torn", ["{", '{"step": 30', '{"step": 30, "cost": 1.0}'])
def test_an_incomplete_line_is_removed(tmp_path, torn):
    write(tmp_path, 10, 20)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + torn)
    write(tmp_path, 30, start=20)
    assert path.read_text().startswith(whole)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20, 30]


def test_seconds_continue_from_the_checkpoint(tmp_path):
    write(tmp_path, 10, 20, 30)
    for start, seconds in ((0, 0.0), (25, 20.0), (30, 30.0)):
        log = log_of(tmp_path, start)
        log.close()
        assert log.seconds == seconds


def test_a_damaged_log_is_named_and_not_changed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(InputError, match="line 2"):
        log_of(tmp_path)
    assert path.read_text() == '{"step": 1}\nnonsense\n{"step": 2}\n'


@pytest.mark.parametrize(
    "step", ["1.5", '"7"', "true", "null", "-1", "1e3", "9" * 30, "[" * 100_000]
)
def test_only_integer_steps_are_read(tmp_path, step):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": ' + step + "}\n")
    with pytest.raises(InputError, match="line 2 is not a JSON object of numbers"):
        read_log(path)


@pytest.mark.parametrize("value", ['"7"', "null", "[1]", "{}", "true"])
def test_only_numbers_are_read(tmp_path, value):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "seconds": ' + value + "}\n")
    with pytest.raises(InputError, match="line 1 is not a JSON object of numbers"):
        log_of(tmp_path, start=1)


def test_tensorboard_needs_no_tensorflow(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, '.');"
        "from pathlib import Path; import uotm_keras.training.metrics_log as m;"
        "before = 'tensorflow' in sys.modules;"
        f"m._event_writer(Path({str(tmp_path)!r})).close();"
        "print(before, 'tensorflow' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    before, after = out.split()
    assert before == after
