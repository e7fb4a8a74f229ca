"""Exports: run by processes that have only TensorFlow or only ONNX Runtime."""

import json

import keras
import numpy as np
import pytest
import yaml
from bare_environment import BareEnvironment

import uotm_keras as uk
from uotm_keras.exporting import load_exported

TENSORFLOW_READER = """
import sys, numpy as np, tensorflow as tf
for absent in ("uotm_keras", "sklearn", "jax", "torch"):
    try:
        __import__(absent)
    except ImportError:
        continue
    raise AssertionError(absent)
folder, data, out = sys.argv[1:]
model = tf.saved_model.load(folder)
arrays = np.load(data)
results = {"served": model.signatures["serving_default"](
    **{k: tf.constant(arrays[k]) for k in arrays.files})["output_0"].numpy()}
results["one"] = model.signatures["serve"](
    **{k: tf.constant(arrays[k][:1]) for k in arrays.files})["output_0"].numpy()
results["none"] = model.signatures["serve"](
    **{k: tf.constant(arrays[k][:0]) for k in arrays.files})["output_0"].numpy()
if "sample" in model.signatures:
    def sample(n, seed):
        return model.signatures["sample"](n=tf.constant(n), seed=tf.constant(seed))["output_0"]
    results |= {"five": sample(5, 3), "two": sample(2, 3), "other": sample(5, 4)}
np.savez(out, **results)
"""

ONNX_READER = """
import sys, numpy as np, onnxruntime
folder, data, out = sys.argv[1:]
session = onnxruntime.InferenceSession(folder + "/model.onnx")
shapes = {x.name: x.shape for x in [*session.get_inputs(), *session.get_outputs()]}
print(shapes)
arrays = np.load(data)
results = {}
for name, rows in (("served", slice(None)), ("one", slice(1))):
    (results[name],) = session.run(["output_0"], {k: arrays[k][rows] for k in arrays.files})
np.savez(out, **results)
"""

LITERT_READER = """
import sys, numpy as np
from ai_edge_litert.interpreter import Interpreter
folder, data, out = sys.argv[1:]
run = Interpreter(folder + "/model.tflite").get_signature_runner()
arrays = np.load(data)
results = {}
for name, rows in (("served", slice(None)), ("one", slice(1))):
    results[name] = run(**{k: arrays[k][rows] for k in arrays.files})["output_0"]
np.savez(out, **results)
"""


@pytest.fixture(scope="module")
def tensorflow_alone(tmp_path_factory):
    return BareEnvironment(tmp_path_factory.mktemp("bare") / "tensorflow", "tensorflow")


@pytest.fixture(scope="module")
def onnxruntime_alone(tmp_path_factory):
    return BareEnvironment(tmp_path_factory.mktemp("bare") / "onnxruntime", "onnxruntime")


@pytest.fixture(scope="module")
def litert_alone(tmp_path_factory):
    return BareEnvironment(tmp_path_factory.mktemp("bare") / "litert", "ai-edge-litert")


def make(**arguments):
    generator = uk.networks.NCSNpp(
        (8, 8, 1), 8, (1, 2), 1, (4,), latent_dim=3, style_dim=8, mapping_layers=1
    )
    potential = uk.networks.ResMLPPotential((8, 8, 1), width=8, blocks=1)
    model = uk.UOTM(generator, potential, **arguments)
    model.ema_generator.set_weights([w + 0.02 for w in generator.get_weights()])
    return model


def make_small(**arguments):
    generator = uk.networks.ResMLPGenerator((8, 8, 1), 3, width=8, blocks=1)
    potential = uk.networks.ResMLPPotential((8, 8, 1), width=8, blocks=1)
    return uk.UOTM(generator, potential, **arguments)


SOURCE = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
LATENT = np.random.default_rng(1).normal(size=(3, 3)).astype("float32")


def read(environment, reader, folder, tmp_path, **arrays):
    np.savez(tmp_path / "in.npz", **arrays)
    printed = environment.run(reader, folder, tmp_path / "in.npz", tmp_path / "out.npz")
    return np.load(tmp_path / "out.npz"), printed


def test_saved_model_gives_the_average_generators_images(tmp_path, tensorflow_alone):
    model = make()
    folder = model.export(tmp_path / "exported", metadata={"score": 1.5})
    results, _ = read(
        tensorflow_alone, TENSORFLOW_READER, folder, tmp_path, source=SOURCE, latent=LATENT
    )

    ours = model.transport(SOURCE, LATENT)
    np.testing.assert_allclose(results["served"], ours, atol=1e-5)
    np.testing.assert_allclose(results["one"], ours[:1], atol=1e-5)
    assert results["none"].shape == (0, 8, 8, 1)
    raw = model.transport(SOURCE, LATENT, use_ema=False)
    assert np.abs(raw - ours).max() > 1e-3  # so that the two could be told apart
    assert results["five"].shape == (5, 8, 8, 1)
    np.testing.assert_allclose(results["two"], results["five"][:2], atol=1e-5)
    assert np.abs(results["five"] - results["other"]).max() > 0.01
    assert np.std(results["five"], axis=0).max() > 0.001
    metadata = json.loads((folder / "uotm_keras.json").read_text())
    assert metadata["score"] == 1.5 and metadata["data_shape"] == [8, 8, 1]


def test_onnx_gives_the_average_generators_images(tmp_path, onnxruntime_alone):
    model = make()
    folder = model.export(tmp_path / "exported", format="onnx")
    results, printed = read(
        onnxruntime_alone, ONNX_READER, folder, tmp_path, source=SOURCE, latent=LATENT
    )
    ours = model.transport(SOURCE, LATENT)
    np.testing.assert_allclose(results["served"], ours, atol=1e-5)
    np.testing.assert_allclose(results["one"], ours[:1], atol=1e-5)
    assert eval(printed) == {
        "source": ["batch", 8, 8, 1],
        "latent": ["batch", 3],
        "output_0": ["batch", 8, 8, 1],
    }
    served = load_exported(folder)
    np.testing.assert_allclose(served.call(SOURCE, LATENT), ours, atol=1e-5)
    assert served.source_shape == (8, 8, 1) and served.latent_dim == 3 and served.gaussian


@pytest.mark.parametrize("light", [False, True])
def test_litert_gives_the_average_generators_images(tmp_path, litert_alone, light):
    model, arrays = make(), {"source": SOURCE, "latent": LATENT}
    if light:
        generator = uk.networks.LightGenerator((8, 8, 1), 4)
        model, arrays = (
            uk.UOTM(generator, uk.networks.LightPotential((8, 8, 1), 4)),
            {"source": SOURCE},
        )
    folder = model.export(tmp_path / "exported", format="litert")
    results, _ = read(litert_alone, LITERT_READER, folder, tmp_path, **arrays)
    ours = model.transport(**arrays)
    np.testing.assert_allclose(results["served"], ours, atol=1e-5)
    np.testing.assert_allclose(results["one"], ours[:1], atol=1e-5)
    served = load_exported(folder)
    np.testing.assert_allclose(served.call(*arrays.values()), ours, atol=1e-5)


def test_the_name_that_keras_has_for_a_saved_model(tmp_path):
    folder = make_small().export(tmp_path / "exported", format="tf_saved_model")
    assert json.loads((folder / "uotm_keras.json").read_text())["format"] == "savedmodel"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_onnx_of_a_mixed_model_computes_in_float32(tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    try:
        mixed = make()
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.export(tmp_path / "exported", format="onnx")
    same = make()
    same.ema_generator.set_weights(mixed.ema_generator.get_weights())
    served = load_exported(tmp_path / "exported").call(SOURCE, LATENT)
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, same.transport(SOURCE, LATENT), atol=1e-5)
    assert np.abs(served - mixed.transport(SOURCE, LATENT)).max() > 1e-5


def test_a_map_of_points_without_a_latent(tmp_path, onnxruntime_alone):
    generator = uk.networks.ResMLPGenerator((2,), 0, width=8, blocks=1)
    model = uk.UOTM(generator, uk.networks.ResMLPPotential((2,), width=8, blocks=1), source="data")
    folder = model.export(tmp_path / "exported", format="onnx")
    points = SOURCE.reshape(-1, 2)
    results, _ = read(onnxruntime_alone, ONNX_READER, folder, tmp_path, source=points)
    np.testing.assert_allclose(results["served"], model.transport(points), atol=1e-5)
    assert not (folder / "samples.png").exists()


def test_a_model_of_a_data_set_has_no_sample(tmp_path, tensorflow_alone):
    model = make_small(source="data")
    folder = model.export(tmp_path / "exported")
    results, _ = read(
        tensorflow_alone, TENSORFLOW_READER, folder, tmp_path, source=SOURCE, latent=LATENT
    )
    assert "served" in results and "five" not in results


@pytest.mark.parametrize("format", ["savedmodel", "onnx", "litert"])
def test_the_cards_program_runs(tmp_path, format, tensorflow_alone):
    """The card's YAML can be read, and its Python gives samples of the shape that it says."""
    folder = make_small().export(
        tmp_path / "exported",
        format,
        metadata={
            "data_set": "folder:/home/ann/a|b\nc",
            "flags": {"tau": 0.001, "augment": None, "levels": [1, 2]},
            "scores": {"FID": {"value": 12.345678, "samples": 100, "reference": "x|y"}},
        },
    )
    card = (folder / "model_card.md").read_text()
    _, head, text = card.split("---\n", 2)
    head = yaml.safe_load(head)
    assert head["datasets"] == ["folder:a|b c"] and head["metrics"] == ["FID"]
    assert head["pipeline_tag"] == "unconditional-image-generation"
    assert "| FID | 12.35 | 100 | x\\|y |" in text and "| `--levels` | 1,2 |" in text
    program = text.split("```python\n")[1].split("```")[0].replace("FOLDER", str(folder))
    program += "\nprint(np.shape(samples), np.asarray(samples).dtype)"
    environment = tensorflow_alone
    if format != "savedmodel":
        engine = {"onnx": "onnxruntime", "litert": "ai-edge-litert"}[format]
        environment = BareEnvironment(tmp_path / format, engine)
    assert environment.run("import numpy as np\n" + program).endswith("(16, 8, 8, 1) float32\n")
    assert (folder / "samples.png").stat().st_size > 100


EVIL = "`` </td><img src=x onerror=alert(1)> [a](http://e) | www.e.com \u202e \udcff # _b_ ```"


def test_a_card_is_not_injected_into(tmp_path):
    """No name of a user or a file becomes HTML, a link, another cell or another YAML entry."""
    from markdown_it import MarkdownIt

    metadata = {
        "data_set": EVIL, "flags": {"tau": 0.1, EVIL: EVIL, "list": [EVIL]}, "device": EVIL,
        "versions": {EVIL: EVIL}, "git_commit": EVIL, "seconds": 1.0,
        "scores": {EVIL: {"value": 1.0, "samples": EVIL, "reference": EVIL, "network": EVIL}},
    }  # fmt: skip
    folder = make_small().export(tmp_path / "exported", "onnx", metadata=metadata)
    _, head, text = (folder / "model_card.md").read_text(encoding="utf-8").split("---\n", 2)
    head = yaml.safe_load(head)
    assert head.keys() == {"library_name", "tags", "pipeline_tag", "datasets", "metrics"}
    assert len(head["datasets"]) == len(head["metrics"]) == 1
    assert head["metrics"][0].startswith("`` </td><img src=x")
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)
    flat = [t for token in tokens for t in (token, *(token.children or []))]
    assert not [t for t in flat if t.type.startswith("html") or t.type in ("link_open", "em_open")]
    assert [t.attrs["src"] for t in flat if t.type == "image"] == ["samples.png"]
    rows = [t for t in flat if t.type == "tr_open"]
    cells = [t for t in flat if t.type in ("td_open", "th_open")]
    # Three tensors, three flags, one score, each table with its header.
    assert len(rows) == 4 + 4 + 2 and len(cells) == 4 * 3 + 4 * 2 + 2 * 4
    assert "onerror" in text and "\u202e" not in text
    assert "http\\://" in text and "www\\.e" in text  # not linked by GitHub either


def test_no_local_path_is_published(tmp_path):
    metadata = {
        "data_set": "folder:/home/ann/secret/cats/",
        "flags": {
            "run_dir": "/home/ann/runs/cats", "data_dir": "~/secret", "batch_size": 4,
            "source_dataset": "npz:C:\\Users\\ann\\secret\\x.npz", "augment": ["/secret/a:b/c"],
            "generator": "resmlp",
        },
        "scores": {"FID": {"value": 1.0, "samples": 2, "reference": "/secret/stats.npz",
                           "weights": "../secret/w.pth"}},
    }  # fmt: skip
    folder = make_small().export(tmp_path / "secret" / "exported", "onnx", metadata=metadata)
    description = json.loads((folder / "uotm_keras.json").read_text())
    assert description["data_set"] == "folder:cats"
    assert description["flags"] == {
        "run_dir": "cats", "data_dir": "secret", "batch_size": 4, "source_dataset": "npz:x.npz",
        "augment": ["c"], "generator": "resmlp",
    }  # fmt: skip
    assert description["scores"]["FID"]["reference"] == "stats.npz"
    card = (folder / "model_card.md").read_text()
    assert "`folder:cats`" in card and "| `--run_dir` | cats |" in card and "w.pth" in card
    for file in folder.iterdir():
        content = file.read_bytes()
        for private in (b"/home/ann", b"Users", b"/secret", str(tmp_path).encode()):
            assert private not in content, file.name


def test_an_existing_folder_is_kept(tmp_path, monkeypatch):
    model = make_small()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    with pytest.raises(uk.InputError, match="already exists"):
        model.export(kept)
    with pytest.raises(uk.InputError, match="is not an export"):
        model.export(kept, overwrite=True)
    with pytest.raises(uk.InputError, match="unknown format 'onxx'.*onnx"):
        model.export(tmp_path / "new", format="onxx")
    with pytest.raises(uk.InputError, match="give the name of a folder"):
        model.export(tmp_path / "new.onnx", format="onnx")

    from uotm_keras import exporting

    def fail(generator, folder, format, gaussian):
        (folder / "half").write_text("")
        raise OSError(28, "No space left on device")

    (kept / "uotm_keras.json").write_text("old")
    for name in ("write_artefact", "_write_by_tensorflow"):
        monkeypatch.setattr(exporting, name, fail)
    with pytest.raises(uk.InputError, match="No space left"):
        model.export(kept, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept"]
    assert (kept / "uotm_keras.json").read_text() == "old"


def test_damaged_exports_are_refused_in_a_sentence(tmp_path):
    folder = make_small().export(tmp_path / "exported", format="onnx")
    graph = folder / "model.onnx"
    for content in (graph.read_bytes()[:500], b"", b"cos\nsystem\n(S'true'\ntR."):
        graph.write_bytes(content)
        with pytest.raises(uk.InputError, match="cannot be read as ONNX"):
            load_exported(folder)
    metadata = folder / "uotm_keras.json"
    metadata.write_text(metadata.read_text()[:100])
    with pytest.raises(uk.InputError, match="missing or damaged"):
        load_exported(folder)


@pytest.mark.parametrize("missing", ["tf2onnx", "onnx", "tensorflow"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing):
    from uotm_keras import exporting

    find_spec = exporting.find_spec
    monkeypatch.setattr(
        exporting, "find_spec", lambda name: None if name == missing else find_spec(name)
    )
    with pytest.raises(
        uk.InputError, match=f"requires {missing}, which is not installed; run pip install"
    ):
        make_small().export(tmp_path / "exported", format="onnx")
    assert not any(tmp_path.iterdir())


@pytest.mark.one_backend("tensorflow")
@pytest.mark.parametrize(
    "condition", [{"num_classes": 3}, {"condition_dim": 2}], ids=["labels", "vectors"]
)
@pytest.mark.parametrize("format", ["savedmodel", "onnx", "litert"])
def test_conditional_generators(tmp_path, condition, format):
    import tensorflow as tf

    shape, labels = (8, 8, 1), np.array([0, 2, 1], "int32")
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(shape, 3, width=8, blocks=1, **condition),
        uk.networks.ResMLPPotential(shape, width=8, blocks=1, **condition),
    )
    given = labels if "num_classes" in condition else np.eye(3, 2, dtype="float32")
    model.adapt_conditions(np.concatenate([given, given[:1]]))
    folder = model.export(
        tmp_path / "exported", format, metadata={"class_names": ["a|b", "*", "c"]}
    )
    served = load_exported(folder)
    wanted = model.transport(SOURCE, LATENT, condition=given)
    np.testing.assert_allclose(served.call(SOURCE, LATENT, given), wanted, atol=1e-5)
    card = (folder / "model_card.md").read_text()
    assert "`condition`" in card and "a\\|b, \\*, c" in card
    if "num_classes" in condition:
        np.testing.assert_allclose(served.condition["frequencies"], [0.5, 0.25, 0.25])
    if format == "savedmodel":
        signatures = tf.saved_model.load(str(folder)).signatures
        five, two = (
            signatures["sample"](
                n=tf.constant(n), seed=tf.constant(3), condition=tf.constant(given[:n])
            )["output_0"].numpy()
            for n in (3, 2)
        )
        np.testing.assert_allclose(five[:2], two, atol=1e-5)
