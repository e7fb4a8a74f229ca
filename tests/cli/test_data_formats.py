"""Data in MNIST's format and in zip archives, through the commands."""

import json
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from uotm_keras.__main__ import main as commands
from uotm_keras.cli.evaluate import main as evaluate
from uotm_keras.metrics.digit_features import load_digit_images

pytestmark = pytest.mark.one_backend


@pytest.fixture(scope="module")
def idx_folder(tmp_path_factory):
    """scikit-learn's digits in MNIST's format."""
    folder = tmp_path_factory.mktemp("idx")
    images, labels = load_digit_images("digits")
    content = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape[:3]) + images.tobytes()
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    content = struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + labels.astype("u1").tobytes()
    (folder / "train-labels-idx1-ubyte").write_bytes(content)
    return folder


def test_a_run_learns_from_an_archive_and_transports_from_idx(tiny, tmp_path, idx_folder):
    pictures, rng = tmp_path / "pictures.zip", np.random.default_rng(0)
    with zipfile.ZipFile(pictures, "w") as archive:
        for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"):
            Image.fromarray(rng.integers(0, 256, (8, 8), "uint8")).save(tmp_path / "a.png")
            archive.write(tmp_path / "a.png", name)
        archive.writestr("dog/damaged.png", b"no picture")
    flags = {"dataset": f"folder:{pictures}", "source_dataset": f"idx:{idx_folder}"}
    for end in (1, 2):
        assert tiny.train(**flags, batch_size=2, max_steps=end) == 0
    (files,) = json.loads((tiny.folder / "index.json").read_text())["folders"].values()
    assert len(files) == 5
    assert f"{pictures}/dog/damaged.png" in (tiny.folder / "skipped.csv").read_text()
    out = tmp_path / "outliers"
    assert commands(["outliers", f"--run_dir={tiny.folder}", f"--out={out}"]) == 0
    rows = (out / "outliers.csv").read_text()
    assert all(f"{pictures}/{name}" in rows for name in ("cat/1.png", "dog/0.png"))


def test_a_reference_in_idx_is_as_good_as_the_dataset(tmp_path, idx_folder, capsys):
    np.savez(tmp_path / "samples.npz", images=load_digit_images("digits")[0][:200])
    records = []
    for reference in ("digits", f"idx:{idx_folder}"):
        flags = {"samples": tmp_path / "samples.npz", "reference": reference}
        flags |= {"dataset": "digits", "metrics": "digits"}
        assert evaluate([f"--{name}={value}" for name, value in flags.items()]) == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        records.append(result["metrics"]["digits"])
    assert records[0]["value"] == records[1]["value"] > 0
    assert records[1]["reference"] == f"idx:{idx_folder} (1797 images)"
