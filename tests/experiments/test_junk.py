"""The junk experiment: what it mixes, the exact weights, and a tiny run."""

import csv

import numpy as np
import pytest
from scipy.stats import spearmanr

import uotm_keras as uk
from experiments import junk

pytestmark = pytest.mark.one_backend("torch")


def test_what_is_mixed():
    clean = uk.data.get("mnist5k", image_size=32)
    images, kinds = junk.make(clean, 10.0, seed=1, most=120)
    assert images.shape == (132, 32, 32, 1) and np.abs(images).max() <= 1.01
    assert [int((kinds == kind).sum()) for kind in ("", *junk.KINDS)] == [120, *[2] * 6]
    again, _ = junk.make(clean, 10.0, seed=1, most=120)
    np.testing.assert_array_equal(images, again)
    damaged = images[kinds == "damaged"]
    assert (damaged[:, -12:] == 0).all() and (damaged[:, :8] != 0).any()


def test_exact_weights_rank_by_norm_or_by_distance_to_the_mean():
    """What docs/outliers.md derives for many dimensions."""
    rng = np.random.default_rng(0)
    brightness, contrast = rng.uniform(0, 0.8, (80, 1, 1, 1)), rng.uniform(0.1, 0.5, (80, 1, 1, 1))
    images = brightness + contrast * rng.standard_normal((80, 32, 32, 1))
    images = np.clip(images, -1, 1).astype("float32")
    flat = images.reshape(80, -1)
    norm = np.square(flat).sum(axis=1)
    about_mean = np.square(flat - flat.mean(axis=0)).sum(axis=1)
    assert abs(spearmanr(norm, about_mean).statistic) < 0.7
    for source, expected in (("gaussian", norm), ("fitted", about_mean)):
        weights = junk.plan_weights(images, source, 0, 60)
        assert spearmanr(weights, -expected).statistic > 0.9


def test_tiny_run(tmp_path):
    arguments = ["--images=120", "--source_points=50", "--percent=10", "--seeds=1"]
    arguments += ["--trained=10", "--iterations=2", "--batch_size=16", "--width=4"]
    assert junk.main([*arguments, "--name=tiny", f"--out={tmp_path}"]) == 0
    with open(tmp_path / "junk_tiny.csv") as file:
        table = {row["score"]: row for row in csv.DictReader(file)}
    assert set(table) == set(junk.SCORES.values())
    assert float(table["`metrics.outlier_scores`"]["noise"]) > 0.9
    assert "10 %" in (tmp_path / "junk_tiny.md").read_text()


def test_bad_input(tmp_path, capsys):
    assert junk.main(["--percent=0", f"--out={tmp_path}/out"]) == 2
    assert "--percent=0" in capsys.readouterr().err
