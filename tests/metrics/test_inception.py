"""The FID network against pytorch-fid's and torch-fidelity's outputs."""

import keras
import numpy as np
import pytest
from keras import ops

from uotm_keras.metrics import fid_inception_v3
from uotm_keras.metrics.inception import inception_hash
from uotm_keras.metrics.inception_imagenet import imagenet_inception
from uotm_keras.metrics.network import NOT_COMPARABLE
from uotm_keras.metrics.resizing import FIDPreprocessing
from uotm_keras.utils.errors import InputError

pytestmark = pytest.mark.every_backend

PROGRAMS = {"pytorch_fid": "pytorch_fid", "tf1": "torch_fidelity"}


@pytest.fixture(scope="module", params=PROGRAMS)
def network(request, inception_state):
    return fid_inception_v3(inception_state, request.param)


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize("size", [32, 64, 299])
def test_golden_features(network, fid_golden, size):
    outputs = network.predict_on_batch(fid_golden[f"images_{size}"])
    program = PROGRAMS[network.network.preprocessing]
    assert {name: value.shape for name, value in outputs.items()} == {
        "block64": (4, 73, 73, 64),
        "block192": (4, 35, 35, 192),
        "block768": (4, 17, 17, 768),
        "pool3": (4, 2048),
        "logits": (4, 1008),
    }
    compared = 0
    for key, theirs in fid_golden.items():
        if not (key.startswith(program) and key.endswith(f"_{size}")):
            continue
        tap = key.split("/")[1].split("_")[0]
        ours = outputs[tap].mean((1, 2)) if "mean" in key else outputs[tap]
        assert relative(ours, theirs) < 1e-5, key  # the mark is 1e-4
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
        compared += 1
    assert compared == {"pytorch_fid": 3, "torch_fidelity": 2}[program]


def test_floats_and_bytes_give_the_same(network, fid_golden):
    images = fid_golden["images_32"]
    of_bytes = network.predict_on_batch(images)["pool3"]
    of_floats = network.predict_on_batch(images.astype("float32"))["pool3"]
    np.testing.assert_array_equal(of_bytes, of_floats)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="not on TensorFlow's CPU")
def test_the_other_layout_gives_the_same(inception_state, fid_golden):
    model = fid_inception_v3(inception_state, data_format="channels_first")
    outputs = model.predict_on_batch(fid_golden["images_32"])
    assert relative(outputs["pool3"], fid_golden["pytorch_fid/pool3_32"]) < 1e-5
    theirs = fid_golden["pytorch_fid/block768_mean_32"]
    assert outputs["block768"].shape == (4, 17, 17, 768)
    assert relative(outputs["block768"].mean((1, 2)), theirs) < 1e-5


def test_float32_under_a_mixed_policy(inception_state):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = fid_inception_v3(inception_state)
    finally:
        keras.config.set_dtype_policy(before)
    assert {layer.compute_dtype for layer in model.layers[1:]} == {"float32"}


def bilinear_by_hand(image, size, preprocessing):
    """Straight from the definitions, one output pixel at a time."""
    height, width, channels = image.shape
    result = np.zeros((size, size, channels))

    def source(i, n):
        return (i + 0.5) * n / size - 0.5 if preprocessing == "pytorch_fid" else i * n / size

    for i in range(size):
        for j in range(size):
            y, x = max(source(i, height), 0.0), max(source(j, width), 0.0)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
            bottom = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
            result[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return 2 * result / 255 - 1 if preprocessing == "pytorch_fid" else (result - 128) / 128


@pytest.mark.parametrize("preprocessing", PROGRAMS)
@pytest.mark.parametrize("shape", [(5, 7), (17, 17), (40, 3), (1, 1)])
def test_resizing_up_and_down(preprocessing, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype("uint8")
    layer = FIDPreprocessing(preprocessing, size=17)
    ours = ops.convert_to_numpy(layer(image[None]))[0]
    np.testing.assert_allclose(ours, bilinear_by_hand(image, 17, preprocessing), atol=2e-5)
    again = FIDPreprocessing.from_config(layer.get_config())
    assert (again.preprocessing, again.size) == (preprocessing, 17)


def test_misfits_are_listed_together(inception_state):
    state = dict(inception_state)
    del state["fc.bias"]
    state["extra.weight"] = np.zeros(3)
    state["fc.weight"] = state["fc.weight"][:1000]
    expected = (
        r"1 \(fc.bias\) missing; 1 \(extra.weight\) unused; "
        r"1 \(fc.weight \(1000, 2048\) instead of \(1008, 2048\)\) of another shape"
    )
    with pytest.raises(InputError, match=expected):
        fid_inception_v3(state)


def test_the_hash_is_of_the_numbers(inception_state):
    as_wide = {name: np.array(value) for name, value in reversed(inception_state.items())}
    assert inception_hash(as_wide) == inception_hash(inception_state)
    as_wide["fc.bias"][3] += 1
    assert inception_hash(as_wide) != inception_hash(inception_state)


def test_unknown_preprocessing():
    with pytest.raises(InputError, match="did you mean 'tf1'"):
        fid_inception_v3(preprocessing="tf2")


def test_imagenet_network_says_that_it_is_another():
    model = imagenet_inception(weights=None)
    outputs = model.predict_on_batch(np.zeros((1, 32, 32, 3), "uint8"))
    assert outputs["pool3"].shape == (1, 2048) and outputs["logits"].shape == (1, 1000)
    assert model.network.note == NOT_COMPARABLE
    assert fid_inception_v3().network.note == NOT_COMPARABLE  # random weights as well
