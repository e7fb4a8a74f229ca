"""Each point experiment in a tiny setting: its files, and one sentence for bad input."""

import csv
import math

import numpy as np
import pytest

from experiments import (
    benchmark_pair,
    bound,
    discrete,
    gaussians,
    mixture,
    outliers,
    planar,
    released,
)

pytestmark = pytest.mark.one_backend("jax")

TINY = ["--iterations=2", "--width=4", "--batch_size=8", "--seeds=1"]
SCRIPTS = {
    "gaussians": (gaussians, ["--dims=2", "--points=2000"], 2, "uvp"),
    "bound": (bound, ["--dims=1", "--divergences=chi2", "--taus=0.1", "--points=2000"], 1, "left"),
    "discrete": (
        discrete, ["--pairs=moons:spiral", "--points=30", "--solver_iterations=50"], 1, "value",
    ),
    "outliers": (
        outliers, ["--methods=otm,sjko", "--places=behind", "--points=2000"], 2, "generated",
    ),
    "mixture": (mixture, ["--methods=otm", "--taus=0.1", "--points=10000"], 1, "kl"),
    "released_outliers": (
        released, ["--variants=otm", "--points=10000"], 1, "generated",
    ),
    "released_mixture": (
        released, ["--toy=mixture", "--variants=otm", "--taus=0.1", "--points=10000"], 1, "kl",
    ),
    "planar": (
        planar,
        ["--tasks=8gaussians", "--methods=wgan_gp,uotm_sd", "--points=300",
         "--transport_points=200"], 3, "w2",
    ),
}  # fmt: skip


@pytest.fixture
def pair_file(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 2)).astype("float32")
    arrays = {"x_train": x, "y_train": 2 * x, "x_test": x, "y_test": 2 * x}
    np.savez(tmp_path / "pair.npz", **arrays)
    return tmp_path / "pair.npz"


def check_files(folder, name, rows, key, module=None):
    page = (folder / f"{name}.md").read_text()
    assert f"python -m experiments.{module or name} " in page and "--iterations=2" in page
    assert "CPU time" in page
    assert "nan" not in page and f"({name}.png)" in page
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with open(folder / f"{name}.csv") as file:
        found = list(csv.DictReader(file))
    assert len(found) == rows
    assert all(math.isfinite(float(row[key])) for row in found)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_writes_its_results(name, tmp_path, capsys):
    script, arguments, rows, key = SCRIPTS[name]
    assert script.main([*TINY, *arguments, f"--out={tmp_path}"]) == 0
    assert f"{name}.md" in capsys.readouterr().out
    check_files(tmp_path, name, rows, key, script.__name__.split(".")[-1])
    # The second run trains nothing and writes the same tables.
    before = {path.name: path.read_bytes() for path in tmp_path.glob(f"{name}.*")}
    assert script.main([*TINY, *arguments, f"--out={tmp_path}"]) == 0
    assert "already finished" in (tmp_path / f"{name}.md").read_text()
    for ending in ("csv", "png"):
        assert (tmp_path / f"{name}.{ending}").read_bytes() == before[f"{name}.{ending}"]


def test_benchmark_of_a_given_pair(pair_file, tmp_path):
    arguments = [f"--pair={pair_file}", "--variants=recommended,one_inner", "--readings=2"]
    assert benchmark_pair.main([*TINY, *arguments, f"--out={tmp_path}"]) == 0
    check_files(tmp_path, "benchmark_pair_variants", 2, "uvp", "benchmark_pair")
    # The recommended setting alone has its own files and is not trained again.
    assert benchmark_pair.main([*TINY, *arguments[::2], f"--out={tmp_path}"]) == 0
    check_files(tmp_path, "benchmark_pair", 1, "uvp")
    assert "because 1 run was already finished" in (tmp_path / "benchmark_pair.md").read_text()
    # y = 2x: the identity leaves E‖x‖² of a variance of 4 Var(x) unexplained.
    pair = benchmark_pair.load(str(pair_file))
    simple = benchmark_pair.simple_maps(pair)
    x = pair.x_test.astype(float)
    expected = 100 * np.sum(x**2) / (4 * np.sum(np.var(x, axis=0)) * len(x))
    assert simple[0]["uvp"] == pytest.approx(expected, rel=1e-3)
    assert simple[1]["uvp"] < 1e-6


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        (gaussians, ["--tau=0"], "must be a number above 0"),
        (gaussians, ["--points=10"], "must be an integer from 1000 to"),
        (gaussians, ["--kinds=chi2"], "kinds"),
        (gaussians, ["--dims=2,1001"], "--dims=1001 is too large"),
        (bound, ["--taus=0.1,-1"], "must be positive numbers"),
        (discrete, ["--pairs=gaussian_1d:moons"], "dimensions 1 and 2"),
        (discrete, ["--pairs=moons"], "is not SOURCE:TARGET"),
        (discrete, ["--points=3"], "from 20 to"),
        (outliers, ["--methods=uotn"], "did you mean 'uotm'"),
        (outliers, ["--data_points=50"], "from 500 to"),
        (mixture, ["--points=50"], "from 10000 to"),
        (released, ["--toy=mixture", "--variants=paired"], "--toy=mixture has otm, fixed_mu, uotm"),
        (planar, ["--transport_points=5"], "from 200 to"),
        (planar, ["--tasks=moons"], "tasks"),
        (benchmark_pair, ["--pair=nowhere.npz"], "--pair=nowhere.npz cannot be read"),
        (benchmark_pair, ["--pair=/dev/null"], "--pair=/dev/null cannot be read"),
    ],
)
def test_bad_input_gets_one_sentence(script, arguments, message, tmp_path, capsys):
    assert script.main([*TINY, *arguments, f"--out={tmp_path}/results"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and message in said.err
    assert not (tmp_path / "results").exists()


def test_unusable_pairs(pair_file, tmp_path, capsys):
    with np.load(pair_file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for broken in (
        {**arrays, "y_train": arrays["y_train"][:, :1]},
        {**arrays, "y_test": arrays["y_test"][:100]},
        {**arrays, "x_train": arrays["x_train"][:10]},
        {name: arrays[name] for name in ("x_train", "y_train")},
    ):
        np.savez(pair_file, **broken)
        assert benchmark_pair.main([*TINY, f"--pair={pair_file}", f"--out={tmp_path}"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
