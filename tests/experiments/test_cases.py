"""What is kept of an experiment: for whom it counts, and how two commands share one."""

import csv
import json

import numpy as np
import pytest

import uotm_keras as uk
from experiments import outliers
from experiments.cases import Cases
from experiments.command import new_command, run
from experiments.results import Results, Table, over_seeds

pytestmark = pytest.mark.one_backend

FLAGS = {"seeds": 3, "only_seeds": [], "fresh": "off", "iterations": 5}


@pytest.fixture
def kept(tmp_path):
    return lambda **changes: Cases("tried", {**FLAGS, "out": str(tmp_path), **changes})


def test_a_place_that_cannot_be_written_is_told_first(kept, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(uk.InputError, match="file is not a writable folder"):
            kept(out=str(out))
    kept(out=str(tmp_path / "new" / "deeper"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def double(x: float) -> dict:
    double.calls += 1
    return {"row": {"x": 2 * x}}


@pytest.fixture(autouse=True)
def _count():
    double.calls = 0


def test_a_case_is_done_once(kept):
    first, second = kept(), kept(seeds=5)
    assert first.case(("a", 0), double, 1.5) == second.case(("a", 0), double, 1.5)
    assert first.case(("a", 0), double, 1.5) == {"row": {"x": 3.0}}
    assert double.calls == 1 and (first.reused, second.reused) == (0, 1)
    assert len(second) == 1 and second.cpu == first.cpu


def test_other_flags_and_names_are_other_cases(kept, monkeypatch):
    kept().case(("a", 0), double, 1.0)
    kept().case(("a", 1), double, 1.0)
    kept().case(("a/b", 0), double, 1.0)
    kept().case(("a:b", 0), double, 1.0)
    kept(iterations=6).case(("a", 0), double, 1.0)
    monkeypatch.setattr("keras.backend.backend", lambda: "another")
    kept().case(("a", 0), double, 1.0)
    assert double.calls == 6
    assert len(list(kept().folder.iterdir())) == 6


def test_afresh(kept):
    kept().case(("a", 0), double, 1.0)
    again = kept(fresh="on")
    again.case(("a", 0), double, 2.0)
    assert again.case(("a", 0), double, 2.0) == {"row": {"x": 4.0}}  # once is enough
    assert double.calls == 2 and again.reused == 0
    assert kept().case(("a", 0), double, 1.0) == {"row": {"x": 4.0}}


def test_a_broken_file_is_done_again(kept):
    kept().case(("a", 0), double, 1.0)
    (path,) = kept().folder.iterdir()
    for broken in ("", '{"settings"', "[]", "{}"):
        path.write_text(broken)
        assert kept().case(("a", 0), double, 1.0) == {"row": {"x": 2.0}}
    assert json.loads(path.read_text())["settings"]["case"] == ["a", "0"]


def test_arrays_and_infinities_come_back(kept):
    thirds = np.arange(4, dtype="float32").reshape(2, 2) / 3
    found = {
        "images": thirds, "double": np.array([1 / 3]), "count": np.int64(3), "none": None,
        "row": {"nan": float("nan"), "single": np.float32(0.1)}, "curve": [(1, 2.5)],
    }  # fmt: skip
    for _ in range(2):
        back = kept().case(("a",), lambda: found)
        np.testing.assert_array_equal(np.array(back["images"], "float32"), thirds)
        assert back["double"] == [1 / 3] and back["count"] == 3 and back["none"] is None
        assert np.isnan(back["row"]["nan"]) and back["row"]["single"] == np.float32(0.1)
        assert back["curve"] == [[1, 2.5]]
    with pytest.raises(TypeError):
        kept().case(("b",), lambda: {"model": object()})


def test_seeds(kept):
    assert kept().seeds == [0, 1, 2] and not kept().is_part
    part = kept(only_seeds=[2, 0, 2])
    assert part.seeds == [0, 2] and part.is_part
    assert not kept(only_seeds=[1, 0, 2]).is_part
    with pytest.raises(uk.InputError, match="only_seeds=3: accepted are seeds below --seeds=3"):
        kept(only_seeds=[3])


def tried(arguments: list[str]) -> int:
    """An experiment of one setting that trains nothing."""

    def work(flags, cases):
        rows = [cases.case((seed,), double, float(seed))["row"] for seed in cases.seeds]
        if cases.is_part:
            return None
        table = Table({"x": ("x", ".1f")}, over_seeds(rows, []))
        return Results("Tried", "Text.", [table], rows)

    return run("tried", lambda: new_command("Tried.", 5), work, arguments, lambda flags: "tried_x")


def test_two_commands_share_the_seeds(tmp_path, capsys):
    out = f"--out={tmp_path}"
    assert tried([out, "--only_seeds=0,2"]) == 0
    assert "2 cases are in" in capsys.readouterr().out
    assert tried([out, "--only_seeds=1"]) == 0
    assert not list(tmp_path.glob("*.md")) and double.calls == 3
    assert tried(["--out", str(tmp_path), "--seeds", "3"]) == 0
    assert double.calls == 3
    page = (tmp_path / "tried_x.md").read_text()
    assert "| 2.0 ± 2.0 |" in page  # 0, 2 and 4
    assert "\npython -m experiments.tried --seeds 3\n" in page
    assert "of CPU time of all runs" in page and "it found 3 of the runs finished" in page
    assert tried([out, "--fresh"]) == 0
    page = (tmp_path / "tried_x.md").read_text()
    assert double.calls == 6 and "\npython -m experiments.tried\n" in page
    assert "all runs" not in page
    assert tried([out, "--only_seeds=7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_shared_experiment_is_the_whole_one(tmp_path):
    """Trainings too: the seeds of two commands make the table of one."""
    tiny = ["--iterations=2", "--width=4", "--batch_size=8", "--seeds=2", "--methods=otm",
            "--places=behind", "--points=500"]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    assert outliers.main([*tiny, f"--out={one}"]) == 0
    for seeds in ("--only_seeds=1", "--only_seeds=0", "--only_seeds=0,1"):
        assert outliers.main([*tiny, seeds, f"--out={two}"]) == 0

    def rows(folder):
        with open(folder / "outliers.csv") as file:
            found = list(csv.DictReader(file))
        for row in found:
            assert float(row.pop("wall")) > 0 and float(row.pop("cpu")) > 0
        return found

    assert rows(one) == rows(two) and len(rows(one)) == 2


def test_stopped_in_the_middle(tmp_path, capsys):
    def work(flags, cases):
        cases.case((0,), double, 1.0)
        if double.calls == 1:
            cases.case((1,), stop)
        return Results("Tried", "", [], [])

    def stop():
        raise KeyboardInterrupt

    arguments = [f"--out={tmp_path}"]
    assert run("tried", lambda: new_command("Tried.", 5), work, arguments) == 130
    assert "finished cases are kept" in capsys.readouterr().err
    double.calls = 5
    assert run("tried", lambda: new_command("Tried.", 5), work, arguments) == 0
    assert double.calls == 5


def test_help_says_how_to_start_afresh(capsys):
    assert tried(["--help"]) == 0
    assert "--fresh starts afresh" in capsys.readouterr().out
