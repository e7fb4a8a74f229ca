"""One run with junk in its data, from training to what leaves the house."""

import csv
import json
import re

import numpy as np
import pytest
from bare_environment import BareEnvironment

from uotm_keras.cli import export, generate, outliers
from uotm_keras.cli.train import main as train

pytestmark = pytest.mark.one_backend("jax")

SAMPLE = """
import sys, numpy as np, tensorflow as tf
sample = tf.saved_model.load(sys.argv[1]).signatures["sample"]
np.save(sys.argv[2], sample(n=tf.constant(64), seed=tf.constant(0))["output_0"].numpy())
"""
SERVE = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
with np.load(sys.argv[2]) as noise:
    (samples,) = session.run(["output_0"], dict(noise))
np.save(sys.argv[3], samples)
"""


@pytest.fixture(scope="module")
def contaminated(tmp_path_factory):
    """1 797 digits and 90 shrunken MNIST digits, 1 000 steps."""
    folder = tmp_path_factory.mktemp("contaminated") / "run"
    flags = {
        "run_dir": folder, "dataset": "digits", "contaminate": "mnist5k:0.05", "batch_size": 64,
        "max_steps": 1000, "checkpoint_every": 500, "sample_every": 500, "generator": "resmlp",
        "width": 128, "latent_dim": 32, "potential": "resmlp", "potential_width": 128,
        "tau": 0.01, "generator_lr": 1e-3, "potential_lr": 2e-3, "lr_schedule": "cosine",
        "lr_minimum": 2.5e-5, "lr_periods": 1000, "lr_period": "step", "ema_decay": 0.99,
    }  # fmt: skip
    assert train([f"--{name}={value}" for name, value in flags.items()]) == 0
    return folder


def test_most_of_the_junk_has_the_lowest_weights(contaminated, capsys):
    capsys.readouterr()
    assert outliers.main([f"--run_dir={contaminated}", "--rank_by=weight"]) == 0
    told = re.search(
        r"Of the 90 least plausible examples, ([\d.]+)% .*AUROC ([\d.]+)\.", capsys.readouterr().out
    )
    precision, auroc = float(told[1]) / 100, float(told[2])
    with open(contaminated / "outliers.csv") as file:
        lowest = [int(row["index"]) for row in csv.DictReader(file)][:90]
    assert precision == pytest.approx(np.mean(np.array(lowest) >= 1797), abs=0.001)
    assert precision >= 0.7 and auroc >= 0.97  # seen: 0.94 and 0.999
    assert outliers.main([f"--run_dir={contaminated}"]) == 0
    told = re.search(r"AUROC ([\d.]+)\.", capsys.readouterr().out)
    assert float(told[1]) >= 0.9  # seen: 0.946, where the weight alone has 0.986


def test_exports_draw_the_runs_digits_elsewhere(contaminated, tmp_path):
    from uotm_keras.training.runs import load_run
    from uotm_keras.utils.seeds import sample_noise

    for format in ("savedmodel", "onnx"):
        arguments = [f"--run_dir={contaminated}", f"--out={tmp_path}/{format}"]
        assert export.main([*arguments, f"--format={format}"]) == 0
    model = load_run(contaminated).model
    real = np.asarray(model.generate(256, seed=1))

    bare = BareEnvironment(tmp_path / "tensorflow", "tensorflow")
    bare.run(SAMPLE, tmp_path / "savedmodel", tmp_path / "drawn.npy")
    drawn = np.load(tmp_path / "drawn.npy")
    # Other noise, the same distribution: the mean digit is the same up to 64 samples' error.
    error = 5 * real.std(0) / 8 + 0.02
    assert (np.abs(drawn.mean(0) - real.mean(0)) < error).all()
    assert drawn.std(0).mean() == pytest.approx(real.std(0).mean(), rel=0.15)

    keys = [(7, i) for i in range(16)]
    source, latent = sample_noise(keys, (8, 8, 1), (32,))
    np.savez(tmp_path / "noise.npz", source=source, latent=latent)
    bare = BareEnvironment(tmp_path / "onnxruntime", "onnxruntime")
    bare.run(SERVE, tmp_path / "onnx", tmp_path / "noise.npz", tmp_path / "served.npy")
    served = np.load(tmp_path / "served.npy")
    np.testing.assert_allclose(served, model.transport(source, latent), atol=1e-5)
    np.testing.assert_allclose(served, model.generate(16, seed=7), atol=1e-5)

    one, other = tmp_path / "run.npz", tmp_path / "onnx.npz"
    assert generate.main([f"--run_dir={contaminated}", "--n=9", f"--out={one}"]) == 0
    assert generate.main([f"--exported={tmp_path}/onnx", "--n=9", f"--out={other}"]) == 0
    assert np.abs(np.load(one)["samples"].astype(int) - np.load(other)["samples"]).max() <= 1
    description = json.loads((tmp_path / "onnx/uotm_keras.json").read_text())
    assert description["training_step"] == 1000
