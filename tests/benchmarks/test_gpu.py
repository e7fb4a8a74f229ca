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


def test_a_worker_that_is_late_is_ended_and_one_that_fails_is_named(modules, tmp_path):
    gpu = modules("gpu")
    assert gpu.main(["--rehearse", "--minutes=0.06", f"--output={tmp_path}"]) == 0
    workers = json.loads((tmp_path / "results.json").read_text())["results"]["workers"]
    assert {w["outcome"] for w in workers} <= {
        "ended at its time limit",
        "left out: no time was left",
    }
    arguments = [
        "--sections=training",
        "--rehearse",
        "--minutes=80",
        "--dataset=idx:/nothing/there",
    ]
    assert gpu.main([*arguments, "--training_backend=torch", f"--output={tmp_path}"]) == 1
    (worker,) = json.loads((tmp_path / "results.json").read_text())["results"]["workers"]
    assert worker["outcome"].startswith("failed: ")
    assert worker["outcome"].endswith("train.py failed with exit code 2")


def test_a_run_survives_being_stored_in_parts(modules, tmp_path):
    training = modules("gpu_training")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    content = bytes(range(256)) * 100
    for name in ("step_000010.weights.h5", "step_000020.weights.h5", "step_000020.json"):
        (run / "checkpoints" / name).write_bytes(content)
    (run / "config.json").write_text("{}")
    assert training.pack(run, tmp_path, 20_000) == 2
    assert all(part.stat().st_size <= 20_000 for part in tmp_path.glob("training.tar.*"))
    training.unpack(tmp_path, tmp_path / "back")
    back = tmp_path / "back" / "training"
    files = {str(p.relative_to(back)) for p in back.rglob("*") if p.is_file()}
    newest = {"checkpoints/step_000020.weights.h5", "checkpoints/step_000020.json"}
    assert files == {"config.json", *newest}
    assert (back / "checkpoints/step_000020.weights.h5").read_bytes() == content
