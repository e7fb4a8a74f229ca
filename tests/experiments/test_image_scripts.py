"""Each image experiment in a tiny setting: its files, and one sentence for bad input."""

import csv

import numpy as np
import pytest

import uotm_keras as uk
from experiments import contamination, digit_images, exact, images, translation

pytestmark = pytest.mark.one_backend("jax")

TINY = ["--iterations=2", "--seeds=1", "--width=4", "--batch_size=8"]


def rows(folder, name) -> list[dict]:
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / f"{name}.md").read_text()
    module = name.partition("_")[0]
    assert f"\npython -m experiments.{module} " in page and "--iterations=2 " in page
    assert "CPU seconds per run" in page and "| seconds per run" not in page
    with open(folder / f"{name}.csv") as file:
        return list(csv.DictReader(file))


def test_images(tmp_path, monkeypatch):
    every = images.settings("r1", 2)
    monkeypatch.setattr(images, "settings", lambda part, n: {"OTM": every["OTM, without R1"]})
    arguments = [*TINY, "--part=r1", "--samples=500", "--curve_points=1", f"--out={tmp_path}"]
    assert images.main(arguments) == 0
    (row,) = rows(tmp_path, "images_r1")
    assert row["setting"] == "OTM" and float(row["distance"]) > 100


def test_parts_share_common_settings(tmp_path, monkeypatch):
    every = {part: images.settings(part, 2) for part in images.PARTS}
    monkeypatch.setattr(
        images, "settings", lambda part, n: {k: v for k, v in every[part].items() if k in wanted}
    )
    arguments = [*TINY, "--samples=500", "--curve_points=1", f"--out={tmp_path}"]
    wanted = {"UOTM", "kl, kl", "0.002", "UOTM, with R1"}
    distances = set()
    for part in images.PARTS:
        assert images.main([f"--part={part}", *arguments]) == 0
        (row,) = rows(tmp_path, f"images_{part}")
        assert row["setting"] in wanted
        distances.add(row["distance"])
    assert len(distances) == 1
    (kept,) = (tmp_path / ".cases/images").iterdir()
    assert kept.name.startswith("UOTM_0-")


def test_a_diverging_run_is_stopped(tmp_path, monkeypatch):
    every = images.settings("r1", 2)
    monkeypatch.setattr(images, "settings", lambda part, n: {"OTM": every["OTM, without R1"]})
    build = digit_images.build

    def broken(*arguments):
        model = build(*arguments)
        model.generator.weights[0].assign(model.generator.weights[0] * float("nan"))
        return model

    monkeypatch.setattr(digit_images, "build", broken)
    arguments = [*TINY, "--part=r1", "--samples=500", "--curve_points=2", f"--out={tmp_path}"]
    assert images.main(arguments) == 0
    (row,) = rows(tmp_path, "images_r1")
    assert row["distance"] == "nan" and row["recognised"] == "nan"
    page = (tmp_path / "images_r1.md").read_text()
    assert "\n| OTM | – | – | – | – | – | " in page


def test_settings_of_the_same_name_are_equal():
    every = [images.settings(part, 100) for part in images.PARTS]
    every = {name: value for part in every for name, value in part.items()}

    def made(name):
        model = digit_images.build(every[name], 100, 4, 0)
        keys = "cost", "source_divergence", "target_divergence", "gradient_penalty"
        return [vars(getattr(model, key)) | {"is": type(getattr(model, key))} for key in keys]

    for name, same in images._SAME.items():
        assert made(name) == made(same), name


def test_settings():
    assert {part: len(images.settings(part, 100)) for part in images.PARTS} == {
        "methods": 6, "divergences": 16, "tau": 6, "r1": 6,
    }  # fmt: skip
    for arguments in images.settings("divergences", 100).values():
        digit_images.build(arguments, 100, 4, 0)


def test_s_jko_has_the_cost_of_the_others():
    model = digit_images.build(images.settings("methods", 100)["S-JKO"], 100, 4, 0)
    assert isinstance(model, uk.SJKO) and model.phase_steps == 20
    assert model.cost.tau == pytest.approx(digit_images.TAU)


def test_contamination(tmp_path):
    arguments = ["--methods=uotm", "--kinds=inverted", "--percent=1", "--samples=500"]
    assert contamination.main([*TINY, *arguments, f"--out={tmp_path}"]) == 0
    (row,) = rows(tmp_path, "contamination")
    assert 0 <= float(row["auroc"]) <= 1 and 0 <= float(row["share"]) <= 100


def test_kinds_share_the_runs_without_outliers(tmp_path):
    arguments = ["--methods=otm", "--kinds=inverted,noise", "--percent=0", "--samples=500"]
    assert contamination.main([*TINY, *arguments, f"--out={tmp_path}"]) == 0
    first, second = rows(tmp_path, "contamination")
    assert (first["kind"], second["kind"]) == ("inverted", "noise")
    assert first["distance"] == second["distance"]
    (kept,) = (tmp_path / ".cases/contamination").iterdir()
    assert kept.name.startswith("clean_otm_0-")


def test_the_judge_recognizes_noise():
    clean = uk.data.get("mnist5k").take(np.arange(300))
    noise = uk.data.get("noise").take(np.arange(300))
    judge = contamination.Judge(clean, noise)
    assert judge.errors == (0.0, 0.0) and judge.share(noise) == 1.0


def test_the_judge_distinguishes_black_from_white():
    rng = np.random.default_rng(0)
    dark, bright = rng.uniform(-1, 0, (60, 4, 4, 1)), rng.uniform(0, 1, (60, 4, 4, 1))
    judge = contamination.Judge(dark, bright)
    assert judge.errors == (0.0, 0.0)
    assert judge.share(np.concatenate([dark[:30], bright[:10]])) == pytest.approx(0.25)


def test_translation(tmp_path):
    assert translation.main([*TINY, "--taus=0.002", "--samples=100", f"--out={tmp_path}"]) == 0
    table = {row["how"]: row for row in rows(tmp_path, "translation")}
    assert float(table["exact plan"]["cost"]) < float(table["at random"]["cost"])
    assert float(table["exact plan"]["kept"]) > 50


def test_matching():
    points = np.random.default_rng(0).normal(size=(20, 2))
    order = np.random.default_rng(1).permutation(20)
    np.testing.assert_array_equal(exact.matching(points[order], points), order)


@pytest.mark.parametrize(
    "module, arguments, words",
    [
        (images, ["--samples=1"], "--samples=1"),
        (images, ["--part=x"], "--part=x"),
        (contamination, ["--samples=1"], "--samples=1"),
        (contamination, ["--percent=-1"], "--percent=-1"),
        (contamination, ["--percent=1,100"], "--percent=100"),
        (translation, ["--taus=nan"], "--taus=nan"),
        (translation, ["--samples=3"], "--samples=3"),
    ],
)
def test_bad_input(module, arguments, words, tmp_path, capsys):
    assert module.main([*arguments, f"--out={tmp_path}/out"]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not any(tmp_path.iterdir())
