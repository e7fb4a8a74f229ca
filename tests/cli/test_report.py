"""The page that train.py writes, that it disturbs nothing, and the command that rebuilds it."""

import json
import re
import time

import pytest
from test_train_command import copy, one_sentence
from tiny_run import TinyRun, assert_same

from uotm_keras.__main__ import main as command
from uotm_keras.cli import report as run_page
from uotm_keras.training.runs import load_run

CONTAMINATED = {"dataset": "digits", "contaminate": "mnist5k:0.05", "max_steps": 12,
                "checkpoint_every": 5, "sample_every": 4, "grid_size": 2, "log_every": 3,
                "eval_every": 6, "eval_samples": 30}  # fmt: skip


def data_of(run: TinyRun) -> dict:
    text = (run.folder / "report.html").read_text()
    return json.loads(re.search('id="run-data">(.*?)</script>', text)[1])


def rest(text: str) -> str:
    """A page without the time at which it was written."""
    text, count = re.subn(r"Written \d{4}-[\d\- :]* UTC", "", text)
    assert count == 1
    return text


@pytest.fixture(scope="session")
def shown(tmp_path_factory) -> TinyRun:
    """A run on contaminated digits. Tests must not change it."""
    run = TinyRun(tmp_path_factory.mktemp("shown") / "run")
    assert run.train(**CONTAMINATED) == 0
    return run


def test_numbers_are_those_of_the_log(shown):
    lines = list(map(json.loads, (shown.folder / "metrics.jsonl").read_text().splitlines()))
    data = data_of(shown)
    assert data["step"] == 12 and data["lines"] == len(lines) == 4
    for name, curve in data["curves"].items():
        expected = [(line["step"], line[name]) for line in lines if name in line]
        assert list(zip(curve["steps"], curve["values"], strict=True)) == expected
    assert {"digits", "cost", "images_per_second", "memory_mb"} <= data["curves"].keys()


def test_words(shown):
    text = (shown.folder / "report.html").read_text()
    assert "UOTM on digits" in text and "mnist5k:0.05" in text
    assert [int(step) for step in re.findall('data-step="(.*?)"', text)] == [4, 8, 12]
    assert "All 1887 examples were weighed" in text and "the 90 known outliers" in text
    assert "30 samples of the averaged generator" in text and "without the outliers" in text
    changed = text[text.index("differ from their defaults") : text.index("<details")]
    assert "--width=8<" in changed and "--beta_1" not in changed and "--seed" not in changed
    assert "--eval_metrics=auto<" in text and "--augment=none<" in text


def test_outliers_are_those_of_the_checkpoint(shown):
    from uotm_keras import data

    source = data.get("digits", contaminate="mnist5k:0.05")
    weights = load_run(shown.folder).model.target_weights(source.take(range(len(source))))
    text = (shown.folder / "report.html").read_text()
    named = re.findall('alt="Training image (.*?)"', text)
    lowest = [source.path_of(i) for i in weights.argsort()[:24]]
    # Sums in batches of another size may differ in their last digits.
    assert len(named) == 24 and len(set(named) & set(lowest)) >= 22
    low = float(re.search(r"weighed:\s+lowest ([\d.]+),", text)[1])
    assert low == pytest.approx(weights.min(), rel=1e-3)


def test_it_is_written_at_each_checkpoint(tiny, monkeypatch):
    steps = []
    original = run_page.page_writer

    def writer(*arguments):
        write = original(*arguments)
        return lambda model, step: (write(model, step), steps.append(data_of(tiny)["step"]))

    monkeypatch.setattr(run_page, "page_writer", writer)
    assert tiny.train(max_steps=35) == 0
    assert steps == [10, 20, 30, 35]


def test_training_is_the_same_without_it(finished, tiny, monkeypatch, capsys):
    monkeypatch.setattr(run_page, "page_writer", lambda *arguments: None)
    assert tiny.train() == 0
    assert not (tiny.folder / "report.html").exists() and "report" not in capsys.readouterr().out
    assert (finished.folder / "report.html").exists()
    assert_same(tiny, finished, 60)


def test_its_time_does_not_count(tiny, monkeypatch):
    monkeypatch.setattr(run_page, "page_writer", lambda *arguments: lambda *_: time.sleep(2))
    assert tiny.train(max_steps=15, log_every=15) == 0
    (line,) = map(json.loads, (tiny.folder / "metrics.jsonl").read_text().splitlines())
    # The checkpoint of step 10 lies between the first step and the line.
    assert line["steps_per_second"] > 14 / 2


def test_the_end_names_it(tiny, capsys):
    assert tiny.train(max_steps=3) == 0
    assert f"  page         {tiny.folder}/report.html" in capsys.readouterr().out


def test_a_failure_is_one_line_and_not_the_end(finished, tiny, capsys):
    (tiny.folder / "report.html").mkdir(parents=True)
    assert tiny.train() == 0
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 6  # steps 10, 20, …, 60
    assert all(w.startswith("warning: the run's page was not written: cannot") for w in warnings)
    assert_same(tiny, finished, 60)


def test_any_failure_is_told(tiny, monkeypatch, capsys):
    from uotm_keras.models.uotm import UOTM

    def broken(*arguments):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(UOTM, "target_weights", broken)
    assert tiny.train(max_steps=3) == 0
    assert capsys.readouterr().err == "warning: the run's page was not written: out of memory\n"


class TestCommand:
    def test_it_writes_the_same_page(self, shown, tmp_path, capsys):
        run = copy(shown, tmp_path / "run")
        (run.folder / "report.html").unlink()
        assert command(["report", f"--run_dir={run.folder}"]) == 0
        assert f"page  {run.folder}/report.html" in capsys.readouterr().out
        before = (shown.folder / "report.html").read_text()
        after = (run.folder / "report.html").read_text()
        assert rest(after) == rest(before).replace(str(shown.folder), str(run.folder))

    def test_without_outliers(self, shown, tmp_path):
        run = copy(shown, tmp_path / "run")
        assert command(["report", f"--run_dir={run.folder}", "--examples=0"]) == 0
        text = (run.folder / "report.html").read_text()
        assert "Weights were not computed" in text and "Training image" not in text

    def test_without_checkpoints_or_data(self, shown, tmp_path, capsys):
        run = copy(shown, tmp_path / "run")
        for path in (run.folder / "checkpoints").iterdir():
            path.unlink()
        assert command(["report", f"--run_dir={run.folder}"]) == 0
        assert "holds no checkpoint yet" in (run.folder / "report.html").read_text()
        run = copy(shown, tmp_path / "other")
        config = json.loads((run.folder / "config.json").read_text())
        config["flags"] |= {"dataset": "folder:/nowhere", "contaminate": None}
        (run.folder / "config.json").write_text(json.dumps(config))
        capsys.readouterr()
        assert command(["report", f"--run_dir={run.folder}"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("without outliers: ") and "/nowhere" in out
        assert data_of(run)["step"] == 12

    def test_balanced(self, tiny):
        assert tiny.train(target_divergence="balanced", max_steps=2) == 0
        before = (tiny.folder / "report.html").read_text()
        assert "every example has the weight 1" in before
        assert command(["report", f"--run_dir={tiny.folder}"]) == 0
        assert rest((tiny.folder / "report.html").read_text()) == rest(before)

    def test_no_run(self, tmp_path, capsys):
        assert command(["report", f"--run_dir={tmp_path}"]) == 2
        assert "holds no run" in one_sentence(capsys)
        assert command(["report", f"--run_dir={tmp_path}/none"]) == 2
        assert "holds no run" in one_sentence(capsys)
        assert command(["report", "--examples=-1"]) == 2
        assert "--examples=-1" in one_sentence(capsys)
        assert not list(tmp_path.iterdir())

    def test_a_damaged_log(self, shown, tmp_path, capsys):
        run = copy(shown, tmp_path / "run")
        before = (run.folder / "report.html").read_bytes()
        (run.folder / "metrics.jsonl").write_text("no log\n")
        assert command(["report", f"--run_dir={run.folder}", "--examples=0"]) == 2
        assert "metrics.jsonl line 1" in one_sentence(capsys)
        assert (run.folder / "report.html").read_bytes() == before
