"""The sampling and export commands: one seed one image, from a run or from its SavedModel."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

from uotm_keras import InputError
from uotm_keras.cli import export, generate
from uotm_keras.cli.conditions import parse_conditions
from uotm_keras.models.conditions import ConditionSpec
from uotm_keras.training.runs import load_run


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


@pytest.mark.every_backend
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


@pytest.mark.every_backend
def test_export_gives_the_runs_images(image_run, tmp_path, capsys):
    folder = tmp_path / "exported"
    with open(image_run / "metrics.jsonl", "a") as log:
        log.write('{"step": 3, "cos')  # as another process leaves it while it writes
    assert export.main([f"--run_dir={image_run}", f"--out={folder}"]) == 0
    assert json.loads((folder / "uotm_keras.json").read_text())["data_set"] == "digits"
    ours, served = tmp_path / "ours.npz", tmp_path / "served.npz"
    assert run(f"--run_dir={image_run}", "--seeds=3-7", f"--out={ours}") == 0
    assert run(f"--exported={folder}", "--seeds=3-7", "--batch_size=2", f"--out={served}") == 0
    difference = np.load(ours)["samples"].astype(int) - np.load(served)["samples"]
    assert np.abs(difference).max() <= 1

    assert export.main([f"--run_dir={image_run}", f"--out={folder}"]) == 2
    assert "already exists" in capsys.readouterr().err
    assert export.main([f"--run_dir={image_run}", f"--out={folder}", "--overwrite=on"]) == 0

    metadata = folder / "uotm_keras.json"
    whole = json.loads(metadata.read_text())
    for change, words in (
        ({"gaussian_source": False}, "transports a dataset"),
        ({"source_shape": "abc"}, "is not an export"),
        ({"source_shape": [4, 4, 1]}, "does not accept the inputs that its uotm_keras.json"),
        ({"latent_dim": None}, "does not accept the inputs that its uotm_keras.json"),
    ):
        metadata.write_text(json.dumps({**whole, **change}))
        capsys.readouterr()
        assert run(f"--exported={folder}", f"--out={tmp_path}/x.npz") == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    metadata.write_text(json.dumps(whole))

    graph = folder / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:200])
    capsys.readouterr()
    assert run(f"--exported={folder}", f"--out={tmp_path}/x.npz") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--run_dir, --exported and --preset"),
        (["--run_dir=RUN", "--exported=x"], "--run_dir, --exported and --preset"),
        (["--exported=nowhere"], "nowhere is not an export"),
        (["--exported=x", "--weights=raw"], "--weights is for runs: it needs --run_dir"),
        (["--run_dir=nowhere"], "holds no run"),
        (["--run_dir=RUN", "--seeds=3-1"], "3-1 must rise"),
        (["--run_dir=RUN", "--seeds=-1"], "'-1' is not an integer"),
        (["--run_dir=RUN", "--seeds=99999999999999999999"], "must rise, stay below"),
        (["--run_dir=RUN", "--seeds=²"], "'²' is not an integer"),
        (["--run_dir=RUN", "--checkpoint=²"], "--checkpoint=² is not a file"),
        (["--run_dir=RUN", "--n=0"], "--n=0"),
        (["--run_dir=RUN", "--n=3", "--seeds=1"], "exclude each other"),
        (["--run_dir=RUN", "--interpolate=2", "--seeds=1"], "at least two seeds"),
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


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """A run that transports digits to digits."""
    from uotm_keras.cli.train import main

    folder = tmp_path_factory.mktemp("translate") / "run"
    flags = {
        "run_dir": folder, "dataset": "digits", "source_dataset": "digits", "batch_size": 16,
        "max_steps": 2, "generator": "resmlp", "width": 8, "blocks": 1, "latent_dim": 3,
        "potential": "resmlp", "potential_width": 8, "potential_blocks": 1,
    }  # fmt: skip
    assert main([f"--{name}={value}" for name, value in flags.items()]) == 0
    return folder


def test_translation_writes_pairs(translator, tmp_path, capsys):
    from uotm_keras import data
    from uotm_keras.utils.seeds import sample_noise

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (8, 8), "uint8")).save(pictures / f"{i}.png")

    def transport(**flags):
        flags = {"run_dir": translator, "source": pictures, **flags}
        return run(*(f"--{name}={value}" for name, value in flags.items()))

    assert transport(out=tmp_path / "pairs.npz", seeds="4,7", batch_size=4) == 0
    pairs = np.load(tmp_path / "pairs.npz")
    assert list(pairs["names"][:3]) == [
        "000000_seed_000004", "000000_seed_000007", "000001_seed_000004",
    ]  # fmt: skip
    before = np.stack([np.asarray(Image.open(pictures / f"{i}.png")) for i in range(3)])
    np.testing.assert_array_equal(pairs["before"][..., 0], before.repeat(2, 0))
    x = data.get(f"folder:{pictures}", channels=1).take(np.arange(3))
    (z,) = sample_noise([(7, 0)] * 3, (3,))
    moved = np.clip(np.rint((load_run(translator).model.transport(x, z) + 1) * 127.5), 0, 255)
    np.testing.assert_allclose(pairs["samples"][1::2].astype(int), moved, atol=1)

    assert transport(out=tmp_path / "folder", n=2) == 0
    for side in ("before", "after"):
        names = sorted(path.name for path in (tmp_path / "folder" / side).iterdir())
        assert names == ["000000_seed_000000.png", "000001_seed_000000.png"]
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "folder/before/000001_seed_000000.png")), before[1]
    )
    assert transport(out=tmp_path / "grid.png", columns=5) == 0
    assert Image.open(tmp_path / "grid.png").size == (4 * 50, 2 * 50)

    exported = tmp_path / "exported"
    assert export.main([f"--run_dir={translator}", f"--out={exported}"]) == 0
    served = tmp_path / "served.npz"
    arguments = [f"--exported={exported}", f"--source={pictures}", "--seeds=4,7"]
    assert run(*arguments, f"--out={served}") == 0
    difference = np.load(served)["samples"].astype(int) - pairs["samples"]
    assert np.abs(difference).max() <= 1

    for arguments, words in (
        ([f"--run_dir={translator}"], "give --source, such as --source=digits"),
        ([f"--exported={exported}"], "give --source"),
        (
            [f"--run_dir={translator}", "--source=toy:moons"],
            "--source=toy:moons: toy:",
        ),
        ([f"--run_dir={translator}", "--source=nowhere"], "--source=nowhere: "),
        ([f"--run_dir={translator}", "--source=digits", "--interpolate=2"], "exclude each other"),
        (["--preset=digits", "--source=digits"], "was trained from Gaussian noise"),
    ):
        capsys.readouterr()
        assert run(*arguments, f"--out={tmp_path}/none.npz") == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
        assert not (tmp_path / "none.npz").exists()


def test_a_preset_and_its_seeds(tmp_path, capsys):
    import uotm_keras as uk

    out = tmp_path / "digits.npz"
    assert run("--preset=digits", "--seeds=2,5", f"--out={out}") == 0
    model = uk.UOTM.from_preset("digits")
    wanted = np.clip(np.rint((model.generate(1, seed=5) + 1) * 127.5), 0, 255)
    np.testing.assert_allclose(np.load(out)["samples"][1:].astype(int), wanted, atol=1)
    capsys.readouterr()
    assert run("--preset=cifar10", f"--out={tmp_path}/x.npz") == 2
    assert "no weights in the package" in capsys.readouterr().err


def test_training_may_end_with_an_export(tiny, capsys, monkeypatch):
    assert tiny.train(max_steps=4, export="savedmodel") == 0
    metadata = json.loads((tiny.folder / "exported/uotm_keras.json").read_text())
    assert metadata["training_step"] == 4 and metadata["flags"]["width"] == 8
    assert "`--width` | 8" in (tiny.folder / "exported/model_card.md").read_text()
    assert f"is in {tiny.folder}/exported" in capsys.readouterr().out
    assert tiny.train(max_steps=6, export="savedmodel") == 0
    metadata = json.loads((tiny.folder / "exported/uotm_keras.json").read_text())
    assert metadata["training_step"] == 6

    from uotm_keras import exporting

    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    assert tiny.train(max_steps=8, export="onnx") == 2
    assert "requires tensorflow, which is not installed" in capsys.readouterr().err


@pytest.fixture(scope="module")
def conditional_run(tmp_path_factory):
    from uotm_keras.cli.train import main

    folder = tmp_path_factory.mktemp("conditional") / "run"
    flags = {
        "run_dir": folder, "dataset": "digits", "conditional": "on", "batch_size": 16,
        "max_steps": 4, "checkpoint_every": 2, "log_every": 2, "generator": "resmlp", "width": 8,
        "blocks": 1, "latent_dim": 3, "potential": "resmlp", "potential_width": 8,
        "potential_blocks": 1, "ema_decay": 0.5, "generator_lr": 0.01, "grid_size": 2,
    }  # fmt: skip
    assert main([f"--{name}={value}" for name, value in flags.items()]) == 0
    return folder


def test_classes_are_drawn_with_every_seed(conditional_run, tmp_path):
    model, out = load_run(conditional_run).model, tmp_path / "classes.npz"
    given = ("--condition=3,0-1", "--seeds=5,2", "--batch_size=4")
    assert run(f"--run_dir={conditional_run}", *given, f"--out={out}") == 0
    with np.load(out) as archive:
        names, conditions = list(archive["names"]), archive["conditions"]
        samples = archive["samples"].astype(int)
    assert names[:3] == ["class_3_seed_000005", "class_3_seed_000002", "class_0_seed_000005"]
    np.testing.assert_array_equal(conditions, [3, 3, 0, 0, 1, 1])
    for sample, seed, label in zip(samples, [5, 2] * 3, conditions, strict=True):
        wanted = np.rint((model.generate(1, seed, condition=label)[0] + 1) * 127.5)
        np.testing.assert_allclose(sample, np.clip(wanted, 0, 255), atol=1)
    grid = tmp_path / "grid.png"
    assert run(f"--run_dir={conditional_run}", "--condition=0-9", "--n=3", f"--out={grid}") == 0
    assert Image.open(grid).size == (3 * 50, 10 * 50)
    # Without a condition each seed has the one that `generate` draws.
    assert run(f"--run_dir={conditional_run}", "--seeds=5", f"--out={out}") == 0
    with np.load(out) as archive:
        assert archive["conditions"][0] == model.conditions.draw([(5, 0)])[0]


def test_a_conditional_run_is_shown_by_class(conditional_run):
    record = json.loads((conditional_run / "config.json").read_text())
    assert record["num_classes"] == 10 and len(record["class_names"]) == 10
    assert "each row of the sample grids is one class" in (
        conditional_run / "report.html"
    ).read_text(encoding="utf-8")  # fmt: skip
    real = Image.open(conditional_run / "samples/real.png").size
    assert real == Image.open(conditional_run / "samples/step_000004.png").size
    assert real[1] == 5 * real[0]  # ten rows of two


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("10", "10 is not within the classes 0 to 9"),
        ("3-1", "3-1 is not within the classes 0 to 9"),
        ("cat", "'cat' is no class; accepted are 0 to 9, ranges such as 0-9, and the names"),
        ("1.5", "'1.5' is no class"),
    ],
)
def test_conditions_that_do_not_fit(conditional_run, image_run, capsys, condition, words):
    assert run(f"--run_dir={conditional_run}", f"--condition={condition}", "--out=x") == 2
    assert words in capsys.readouterr().err
    assert run(f"--run_dir={image_run}", f"--condition={condition}", "--out=x") == 2
    assert "this model is unconditional" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["1.7,2", "1", "nan,0", "1,3", "1e999,0", "99999999999999,0"])
def test_several_labels_are_whole_numbers_in_range(text):
    spec = ConditionSpec((2,), (2, 3))
    with pytest.raises(InputError, match=r"flag --condition=.* takes 2 labels"):
        parse_conditions(text, spec, None)
    np.testing.assert_array_equal(parse_conditions("1,2", spec, None), [[1, 2]])


@pytest.mark.parametrize("text", ["nan,0", "1", "a,b", "1e999,0"])
def test_vectors_are_finite_numbers(text):
    spec = ConditionSpec((2,), None)
    with pytest.raises(InputError, match=r"flag --condition=.* takes 2 numbers"):
        parse_conditions(text, spec, None)
    np.testing.assert_array_equal(parse_conditions("0.5,-1", spec, None), [[0.5, -1]])
