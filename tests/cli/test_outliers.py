"""The ranking of training data: what it writes, and what it says of known outliers."""

import csv

import numpy as np
from sklearn.metrics import roc_auc_score

from uotm_keras import data
from uotm_keras.cli import outliers
from uotm_keras.metrics import outlier_scores
from uotm_keras.training.ranking import describe_masses, source_mass
from uotm_keras.training.runs import load_run


def test_ranking_is_that_of_target_weights(tiny, tmp_path, capsys):
    assert tiny.train(contaminate="toy:8gaussians:300:0.1", max_steps=10) == 0
    out = tmp_path / "out"
    capsys.readouterr()
    assert outliers.main([f"--run_dir={tiny.folder}", f"--out={out}", "--batch_size=64"]) == 0
    source = data.get("toy:moons:300", contaminate="toy:8gaussians:300:0.1")
    weights = load_run(tiny.folder).model.target_weights(source.take(np.arange(330)))
    with open(out / "outliers.csv") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["index"]) for row in rows) == list(range(330))
    written = np.array([float(row["weight"]) for row in rows])
    assert (np.diff(written) >= 0).all()
    np.testing.assert_allclose(
        written, [weights[int(row["index"])] for row in rows], rtol=1e-4
    )  # fmt: skip
    assert rows[0]["example"] == source.path_of(int(rows[0]["index"]))
    expected = roc_auc_score(np.arange(330) >= 300, -weights)
    text = capsys.readouterr().out
    assert "the 30 known outliers" in text and f"AUROC {expected:.3f}" in text
    assert (out / "outliers.png").stat().st_size > 1000
    assert outliers.main([f"--run_dir={tiny.folder}", f"--out={out / 'outliers.csv'}"]) == 2
    assert "outliers.csv is not a writable folder" in capsys.readouterr().err


def test_unequal_masses_are_a_warning(tiny, tmp_path, capsys):
    assert describe_masses(0.5, 0.6) == describe_masses(0.21, 0.21) == ""
    assert "are not to be trusted yet: the mass of the source is 0.04" in describe_masses(0.04, 0.6)
    assert "are not to be trusted yet" in describe_masses(0.6, 0.04)
    assert "are not to be trusted yet" in describe_masses(float("nan"), 0.5)
    assert describe_masses(0.1, 0.1).startswith("most of the data are left out")
    assert tiny.train(max_steps=2) == 0
    mass = source_mass(load_run(tiny.folder).model, None)
    capsys.readouterr()
    assert outliers.main([f"--run_dir={tiny.folder}", f"--out={tmp_path / 'out'}"]) == 0
    error = capsys.readouterr().err
    assert (
        f"warning: the weights are not to be trusted yet: the mass of the source is {mass:.3g}"
        in error
    )


def test_images_are_ranked_by_score(tiny, tmp_path, capsys):
    options = {"dataset": "digits", "contaminate": "noise:0.01", "target_divergence": "balanced"}
    assert tiny.train(**options, max_steps=2) == 0
    out = tmp_path / "out"
    capsys.readouterr()
    assert outliers.main([f"--run_dir={tiny.folder}", f"--out={out}"]) == 0
    with open(out / "outliers.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "score", "index", "example"]
    source = data.get("digits", contaminate="noise:0.01")
    scores = outlier_scores(source)
    np.testing.assert_allclose([float(row["score"]) for row in rows], np.sort(scores)[::-1], 1e-4)
    assert {int(row["index"]) for row in rows[:10]} <= set(source.outliers)
    text = capsys.readouterr().out
    assert "Ranked by the outlier score." in text and "100.0% are among the 18 known" in text
    assert outliers.main([f"--run_dir={tiny.folder}", "--rank_by=weight"]) == 2
    assert "has the weight 1. Give --rank_by=score." in capsys.readouterr().err


def test_points_have_both(tiny, tmp_path):
    assert tiny.train(max_steps=2) == 0
    out = tmp_path / "out"
    assert outliers.main([f"--run_dir={tiny.folder}", f"--out={out}", "--rank_by=score"]) == 0
    with open(out / "outliers.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "score", "weight", "index", "example"]
    source = data.get("toy:moons:300")
    weights = load_run(tiny.folder).model.target_weights(source.take(np.arange(300)))
    index = np.array([int(row["index"]) for row in rows])
    np.testing.assert_allclose([float(row["weight"]) for row in rows], weights[index], 1e-4)
    kept = np.log(weights)
    low, median, high = np.percentile(kept, [25, 50, 75])
    scores = outlier_scores(source) + np.maximum((median - kept) / (high - low), 0)
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores[index], 1e-3, 1e-4)
    assert (np.diff([float(row["score"]) for row in rows]) <= 0).all()


def test_nothing_to_rank(tiny, tmp_path, capsys):
    assert outliers.main([f"--run_dir={tmp_path}/none"]) == 2
    assert tiny.train(target_divergence="balanced", max_steps=2) == 0
    capsys.readouterr()
    assert outliers.main([f"--run_dir={tiny.folder}"]) == 2
    assert "every example has the weight 1" in capsys.readouterr().err
    assert outliers.main(["--sheet=0"]) == 2
    assert "--sheet=0" in capsys.readouterr().err


def test_all_pairs_of_two_datasets_takes_the_costs_of_the_source(tiny, tmp_path, capsys):
    options = {
        "pairing": "all_pairs", "source_dataset": "toy:8gaussians:300", "alpha_schedule": "none",
    }  # fmt: skip
    assert tiny.train(**options, max_steps=2) == 0
    assert outliers.main([f"--run_dir={tiny.folder}", f"--out={tmp_path / 'out'}"]) == 0
    with open(tmp_path / "out/outliers.csv") as file:
        row = next(csv.DictReader(file))
    model = load_run(tiny.folder).model
    x, y = data.get("toy:8gaussians:300"), data.get("toy:moons:300")
    costs = model.transport_costs(x.take(np.random.default_rng(0).permutation(300)[:256]))
    index = np.array([int(row["index"])])
    v = np.ravel(model.potential.predict(y.take(index), verbose=0))
    np.testing.assert_allclose(
        float(row["weight"]), np.exp(-2 * v) / np.exp(-costs).mean(), rtol=1e-3
    )
