"""SavedModels: sampled by a process that has TensorFlow and nothing of ours."""

import json
import subprocess
import sys

import numpy as np
import pytest

import uotm_keras as uk

READER = """
import sys, numpy as np, tensorflow as tf
folder, data, out = sys.argv[1:]
model = tf.saved_model.load(folder)
arrays = np.load(data)
results = {"served": model.signatures["serving_default"](
    **{k: tf.constant(arrays[k]) for k in arrays.files})["output_0"].numpy()}
results["one"] = model.signatures["serve"](
    **{k: tf.constant(arrays[k][:1]) for k in arrays.files})["output_0"].numpy()
if "sample" in model.signatures:
    def sample(n, seed):
        return model.signatures["sample"](n=tf.constant(n), seed=tf.constant(seed))["output_0"]
    results |= {"five": sample(5, 3), "two": sample(2, 3), "other": sample(5, 4)}
assert "uotm_keras" not in sys.modules
np.savez(out, **results)
"""


def make(**arguments):
    generator = uk.networks.NCSNpp(
        (8, 8, 1), 8, (1, 2), 1, (4,), latent_dim=3, style_dim=8, mapping_layers=1
    )
    potential = uk.networks.ResMLPPotential((8, 8, 1), width=8, blocks=1)
    model = uk.UOTM(generator, potential, **arguments)
    model.ema_generator.set_weights([w + 0.02 for w in generator.get_weights()])
    return model


def read(folder, tmp_path, **arrays):
    np.savez(tmp_path / "in.npz", **arrays)
    script = [sys.executable, "-c", READER, folder, tmp_path / "in.npz", tmp_path / "out.npz"]
    subprocess.run([str(part) for part in script], check=True)
    return np.load(tmp_path / "out.npz")


def test_saved_model_gives_the_average_generators_images(tmp_path):
    model = make()
    folder = model.export(tmp_path / "exported", metadata={"score": 1.5})
    source = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
    latent = np.random.default_rng(1).normal(size=(3, 3)).astype("float32")
    results = read(folder, tmp_path, source=source, latent=latent)

    ours = model.transport(source, latent)
    np.testing.assert_allclose(results["served"], ours, atol=1e-5)
    np.testing.assert_allclose(results["one"], ours[:1], atol=1e-5)
    raw = model.transport(source, latent, use_ema=False)
    assert np.abs(raw - ours).max() > 1e-3  # so that the two could be told apart
    assert results["five"].shape == (5, 8, 8, 1)
    np.testing.assert_allclose(results["two"], results["five"][:2], atol=1e-5)
    assert np.abs(results["five"] - results["other"]).max() > 0.01
    assert np.std(results["five"], axis=0).max() > 0.001
    metadata = json.loads((folder / "uotm_keras.json").read_text())
    assert metadata["score"] == 1.5 and metadata["data_shape"] == [8, 8, 1]


def test_a_model_of_a_data_set_has_no_sample(tmp_path):
    model = make(source="data")
    folder = model.export(tmp_path / "exported")
    zeros = np.zeros((1, 8, 8, 1), "float32"), np.zeros((1, 3), "float32")
    assert "five" not in read(folder, tmp_path, source=zeros[0], latent=zeros[1])


def test_what_is_there_is_kept(tmp_path, monkeypatch):
    model = make()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    with pytest.raises(uk.InputError, match="is there already"):
        model.export(kept)
    with pytest.raises(uk.InputError, match="no SavedModel"):
        model.export(kept, overwrite=True)
    with pytest.raises(uk.InputError, match="must be one of savedmodel"):
        model.export(tmp_path / "new", format="onxx")

    from uotm_keras import exporting

    def fail(generator, folder, gaussian):
        (folder / "half").write_text("")
        raise OSError(28, "No space left on device")

    (kept / "saved_model.pb").write_text("old")
    for name in ("write_saved_model", "_write_by_tensorflow"):
        monkeypatch.setattr(exporting, name, fail)
    with pytest.raises(uk.InputError, match="No space left"):
        model.export(kept, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept"]
    assert (kept / "saved_model.pb").read_text() == "old"
