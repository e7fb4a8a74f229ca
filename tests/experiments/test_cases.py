"""Stored cases of an experiment: when they are reused, and how commands share them."""

import csv
import dataclasses
import json

import numpy as np
import pytest

import uotm_keras as uk
from experiments import outliers
from experiments.cases import Cases
from experiments.command import Options, new_command, run
from experiments.results import Results, Table, over_seeds
from uotm_keras.config import to_flags


@pytest.fixture
def kept(tmp_path):
    def make(**changes) -> Cases:
        options = dataclasses.replace(Options(), out=str(tmp_path), **changes)
        return Cases("tried", options.out, to_flags(options))

    return make


def double(x: float) -> dict:
    double.calls += 1
    return {"row": {"x": 2 * x}}


@pytest.fixture(autouse=True)
def _count():
    double.calls = 0


def test_a_case_is_computed_once(kept):
    first, second = kept(), kept(seeds=5)
    assert first.case(("a", 0), double, 1.5) == second.case(("a", 0), double, 1.5)
    assert first.case(("a", 0), double, 1.5) == {"row": {"x": 3.0}}
    assert double.calls == 1 and (first.reused, second.reused) == (0, 1)
    assert len(second) == 1 and second.cpu == first.cpu


def test_other_flags_and_names_are_different_cases(kept, monkeypatch):
    kept().case(("a", 0), double, 1.0)
    kept().case(("a", 1), double, 1.0)
    kept().case(("a/b", 0), double, 1.0)
    kept().case(("a:b", 0), double, 1.0)
    kept(iterations=6).case(("a", 0), double, 1.0)
    monkeypatch.setattr("keras.backend.backend", lambda: "another")
    kept().case(("a", 0), double, 1.0)
    assert double.calls == 6
    assert len(list(kept().folder.iterdir())) == 6


def test_fresh_repeats_a_case_once(kept):
    kept().case(("a", 0), double, 1.0)
    again = kept(fresh=True)
    again.case(("a", 0), double, 2.0)
    assert again.case(("a", 0), double, 2.0) == {"row": {"x": 4.0}}
    assert double.calls == 2 and again.reused == 0
    assert kept().case(("a", 0), double, 1.0) == {"row": {"x": 4.0}}


def test_a_damaged_file_is_computed_again(kept):
    kept().case(("a", 0), double, 1.0)
    (path,) = kept().folder.iterdir()
    for broken in ("", '{"settings"', "[]", "{}"):
        path.write_text(broken)
        assert kept().case(("a", 0), double, 1.0) == {"row": {"x": 2.0}}
    assert json.loads(path.read_text())["settings"]["case"] == ["a", "0"]


def test_arrays_and_nan_survive_storage(kept):
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
    part = kept(only_seeds=(2, 0, 2))
    assert part.seeds == [0, 2] and part.is_part
    assert not kept(only_seeds=(1, 0, 2)).is_part
    with pytest.raises(
        uk.InputError, match="only_seeds=3 is not one of the --seeds=3 seeds; use seeds from 0 to 2"
    ):
        kept(only_seeds=(3,))


TRIED = new_command("Tried.", Options)


def tried(arguments: list[str]) -> int:
    """An experiment with one setting that trains nothing."""

    def work(options, cases):
        rows = [cases.case((seed,), double, float(seed))["row"] for seed in cases.seeds]
        if cases.is_part:
            return None
        table = Table({"x": ("x", ".1f")}, over_seeds(rows, []))
        return Results("Tried", "Text.", [table], rows)

    return run("tried", TRIED, work, arguments, lambda options: "tried_x")


def test_two_commands_share_the_seeds(tmp_path, capsys):
    out = f"--out={tmp_path}"
    assert tried([out, "--only_seeds=0,2"]) == 0
    assert "2 cases are stored in" in capsys.readouterr().out
    assert tried([out, "--only_seeds=1"]) == 0
    assert not list(tmp_path.glob("*.md")) and double.calls == 3
    assert tried(["--out", str(tmp_path), "--iterations", "6000"]) == 0
    assert double.calls == 3
    page = (tmp_path / "tried_x.md").read_text()
    assert "| 2.0 ± 2.0 |" in page  # 0, 2 and 4
    assert "\npython -m experiments.tried\n" in page
    assert "because 3 runs were already finished" in page
    assert tried([out, "--fresh"]) == 0
    page = (tmp_path / "tried_x.md").read_text()
    assert double.calls == 6 and "already finished" not in page
    assert tried([out, "--only_seeds=7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_shared_seeds_give_the_same_results(tmp_path):
    """The seeds of two commands give the table of one, with real training runs."""
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


def test_an_interrupted_experiment_resumes(tmp_path, capsys):
    def work(options, cases):
        cases.case((0,), double, 1.0)
        if double.calls == 1:
            cases.case((1,), stop)
        return Results("Tried", "", [], [])

    def stop():
        raise KeyboardInterrupt

    arguments = [f"--out={tmp_path}"]
    assert run("tried", TRIED, work, arguments) == 130
    assert "finished cases are stored" in capsys.readouterr().err
    double.calls = 5
    assert run("tried", TRIED, work, arguments) == 0
    assert double.calls == 5


def test_help_explains_stored_cases(capsys):
    assert tried(["--help"]) == 0
    assert "--fresh repeats all of them" in capsys.readouterr().out


def test_an_unwritable_folder_is_reported_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert tried([f"--out={out}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "file" in error
    assert double.calls == 0


def test_the_page_names_the_flags_that_matter(tmp_path):
    changed = ["--seeds=2", "--batch_size=64", "--width=64", "--nofresh"]
    assert tried([f"--out={tmp_path}", *changed]) == 0
    page = (tmp_path / "tried_x.md").read_text()
    assert "\npython -m experiments.tried --seeds=2 --batch_size=64\n" in page
