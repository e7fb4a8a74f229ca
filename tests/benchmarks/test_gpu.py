"""The GPU benchmark, rehearsed: it must run before a GPU is at hand."""

import importlib
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_backend("torch")
FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch):
    """Import a module of the benchmarks, and forget them all afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent), prepend=":")
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) in map(str, FOLDER.glob("*.py")):
            del sys.modules[name]


def test_a_section_is_measured_and_written(modules, tmp_path):
    arguments = ["--rehearse", "--minutes=80", "--sections=input", "--backends=torch"]
    assert modules("gpu").main([*arguments, f"--output={tmp_path}"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    (record,) = results["input"]
    assert record["ms/step on one batch"] > 0 and record["ms/step on the pipeline"] > 0
    assert results["workers"][0]["outcome"] == "done"
    assert "| torch | 8 |" in (tmp_path / "results.md").read_text()


WORKER = """
import os, sys, time
section, name = os.environ["UOTM_BENCHMARK_TASK"].split(",")
print('result {"name": "%s"}' % name, flush=True)
if section == "profile":
    time.sleep(60)
if section == "input":
    sys.exit("out of memory")
"""


def test_outcomes_of_workers(modules, tmp_path, monkeypatch):
    """One is done, one late, and one fails; the results of all are kept."""
    gpu = modules("gpu")
    (tmp_path / "gpu_sections.py").write_text(WORKER)
    monkeypatch.setattr(gpu, "__file__", str(tmp_path / "gpu.py"))
    monkeypatch.setattr(gpu, "SECONDS", {"step": 60, "profile": 8, "input": 60})
    arguments = ["--sections=step,profile,input", "--backends=torch", f"--output={tmp_path}"]
    assert gpu.main(arguments) == 1
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert [r["name"] for r in results["step"]] == ["torch", "plain"]
    assert results["profile"] == results["input"] == [{"name": "torch"}]
    outcomes = [worker["outcome"] for worker in results["workers"]]
    assert outcomes == ["done", "done", "ended at its time limit", "failed: out of memory"]


def test_no_time_left(modules, tmp_path):
    arguments = ["--minutes=0.001", "--sections=step", f"--output={tmp_path}"]
    assert modules("gpu").main(arguments) == 0
    workers = json.loads((tmp_path / "results.json").read_text())["results"]["workers"]
    assert {w["outcome"] for w in workers} == {"left out: no time was left"}


def test_a_run_survives_being_stored_in_parts(modules, tmp_path):
    training = modules("gpu_training")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    content = bytes(range(256)) * 100
    for name in ("step_000010.weights.h5", "step_000020.weights.h5", "step_000020.json"):
        (run / "checkpoints" / name).write_bytes(content)
    (run / "config.json").write_text("{}")
    assert training.pack(run, tmp_path, 20_000) == 4  # 51 200 bytes and the headers
    assert all(part.stat().st_size <= 20_000 for part in tmp_path.glob("training.tar.*"))
    training.unpack(tmp_path, tmp_path / "back")
    back = tmp_path / "back" / "training"
    files = {str(p.relative_to(back)) for p in back.rglob("*") if p.is_file()}
    newest = {"checkpoints/step_000020.weights.h5", "checkpoints/step_000020.json"}
    assert files == {"config.json", *newest}
    assert (back / "checkpoints/step_000020.weights.h5").read_bytes() == content
