"""The sampling and export commands: one seed one image, from a run or from its SavedModel."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

from uotm_keras.cli import export, generate
from uotm_keras.cli.runs import load_run


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    from uotm_keras.cli.train import main

    folder = tmp_path_factory.mktemp("generate") / "run"
    flags = {
        "run_dir": folder, "dataset": "digits", "batch_size": 16, "max_steps": 3,
        "generator": "resmlp", "width": 8, "blocks": 1, "latent_dim": 3, "potential": "resmlp",
        "potential_width": 8, "potential_blocks": 1, "ema_decay": 0.5, "generator_lr": 0.01,
    }  # fmt: skip
    assert main([f"--{name}={value}" for name, value in flags.items()]) == 0
    return folder


def run(*arguments) -> int:
    return generate.main(list(arguments))


def test_one_seed_one_image_whatever_the_batch(image_run, tmp_path, capsys):
    model = load_run(image_run).model
    assert (
        run(f"--run_dir={image_run}", "--seeds=5,0-2", "--batch_size=3", f"--out={tmp_path}/f") == 0
    )
    assert "4 samples" in capsys.readouterr().out
    files = sorted((tmp_path / "f").iterdir())
    assert [file.name for file in files] == [f"seed_{seed:06d}.png" for seed in (0, 1, 2, 5)]
    for file, seed in zip(files, (0, 1, 2, 5), strict=True):
        wanted = np.clip(np.rint((model.generate(1, seed)[0, ..., 0] + 1) * 127.5), 0, 255)
        np.testing.assert_allclose(np.asarray(Image.open(file), "int"), wanted, atol=1)

    out = tmp_path / "some.npz"
    assert run(f"--run_dir={image_run}", "--seeds=5,0-2", "--batch_size=2", f"--out={out}") == 0
    with np.load(out) as archive:
        assert list(archive["names"]) == [
            "seed_000005",
            "seed_000000",
            "seed_000001",
            "seed_000002",
        ]
        assert archive["samples"].dtype == np.uint8
        np.testing.assert_allclose(
            archive["samples"][1, ..., 0].astype(int),
            np.asarray(Image.open(files[0]), "int"),
            atol=1,
        )
    raw = tmp_path / "raw.npz"
    assert run(f"--run_dir={image_run}", "--seeds=5,0-2", "--weights=raw", f"--out={raw}") == 0
    assert (np.load(raw)["samples"] != np.load(out)["samples"]).any()


def test_grid_and_interpolation(image_run, tmp_path):
    out = tmp_path / "grid.png"
    assert run(f"--run_dir={image_run}", "--n=6", "--columns=3", f"--out={out}") == 0
    assert Image.open(out).size == (3 * 50, 2 * 50)
    ways, ends = tmp_path / "ways.npz", tmp_path / "ends.npz"
    run(f"--run_dir={image_run}", "--seeds=1,2,9", "--interpolate=4", f"--out={ways}")
    run(f"--run_dir={image_run}", "--seeds=1,2,9", f"--out={ends}")
    ways, ends = np.load(ways)["samples"], np.load(ends)["samples"]
    assert len(ways) == 11
    np.testing.assert_allclose(ways[[0, 5, 10]].astype(int), ends.astype(int), atol=1)


def test_great_circle_is_scipys_slerp():
    ends = Rotation.random(3, rng=0).as_quat().astype("float32")
    ends *= np.sign(ends @ ends[0])[:, None]  # Slerp takes the shorter way
    ends[2] *= np.sign(ends[1] @ ends[2])
    ours = generate.great_circle(ends, 3)
    theirs = Slerp([0, 1, 2], Rotation.from_quat(ends))(np.linspace(0, 2, 9)).as_quat()
    theirs *= np.sign(np.sum(ours * theirs, 1))[:, None]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    longer = generate.great_circle(np.array([[1.0, 0.0], [0.0, 3.0]], "float32"), 1)
    np.testing.assert_allclose(np.linalg.norm(longer, axis=1), [1, 2, 3], atol=1e-6)


def test_export_gives_the_runs_images(image_run, tmp_path, capsys):
    folder = tmp_path / "exported"
    assert export.main([f"--run_dir={image_run}", f"--out={folder}"]) == 0
    assert json.loads((folder / "uotm_keras.json").read_text())["data_set"] == "digits"
    ours, served = tmp_path / "ours.npz", tmp_path / "served.npz"
    assert run(f"--run_dir={image_run}", "--seeds=3-7", f"--out={ours}") == 0
    assert run(f"--saved_model={folder}", "--seeds=3-7", "--batch_size=2", f"--out={served}") == 0
    difference = np.load(ours)["samples"].astype(int) - np.load(served)["samples"]
    assert np.abs(difference).max() <= 1

    assert export.main([f"--run_dir={image_run}", f"--out={folder}"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert export.main([f"--run_dir={image_run}", f"--out={folder}", "--overwrite=on"]) == 0

    metadata = folder / "uotm_keras.json"
    whole = json.loads(metadata.read_text())
    for change, words in (
        ({"gaussian_source": False}, "transports a data set"),
        ({"source_shape": "abc"}, "is no SavedModel"),
    ):
        metadata.write_text(json.dumps({**whole, **change}))
        capsys.readouterr()
        assert run(f"--saved_model={folder}", f"--out={tmp_path}/x.npz") == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    metadata.write_text(json.dumps(whole))

    graph = folder / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:200])
    capsys.readouterr()
    assert run(f"--saved_model={folder}", f"--out={tmp_path}/x.npz") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--run_dir and --saved_model"),
        (["--run_dir=RUN", "--saved_model=x"], "--run_dir and --saved_model"),
        (["--saved_model=nowhere"], "nowhere is no SavedModel"),
        (["--saved_model=x", "--weights=raw"], "--weights is of a run"),
        (["--run_dir=nowhere"], "holds no run"),
        (["--run_dir=RUN", "--seeds=3-1"], "3-1 must rise"),
        (["--run_dir=RUN", "--seeds=-1"], "'-1' is not a whole number"),
        (["--run_dir=RUN", "--seeds=99999999999999999999"], "must rise, stay below"),
        (["--run_dir=RUN", "--seeds=²"], "'²' is not a whole number"),
        (["--run_dir=RUN", "--checkpoint=²"], "--checkpoint=² is not a file"),
        (["--run_dir=RUN", "--n=0"], "--n=0"),
        (["--run_dir=RUN", "--n=3", "--seeds=1"], "exclude each other"),
        (["--run_dir=RUN", "--interpolate=2", "--seeds=1"], "two seeds"),
        (["--run_dir=RUN", "--checkpoint=999"], "999"),
        (["--run_dir=RUN", "--out=FILE"], "is a file"),
        (["--run_dir=RUN", "--out=FILE/x.png"], "cannot write"),
    ],
)
def test_bad_input(image_run, tmp_path, capsys, arguments, words):
    (tmp_path / "FILE").write_text("mine")
    arguments = [
        a.replace("RUN", str(image_run)).replace("FILE", f"{tmp_path}/FILE") for a in arguments
    ]
    if not any("--out" in a for a in arguments):
        arguments.append(f"--out={tmp_path}/out")
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]
    assert (tmp_path / "FILE").read_text() == "mine"
