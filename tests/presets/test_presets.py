"""Presets: the models of the shipped configs, and packaged weights that draw digits."""

import keras
import numpy as np
import pytest

import uotm_keras as uk
from uotm_keras.config import catalog
from uotm_keras.models import build, loading
from uotm_keras.models.sjko import SJKO

# Small enough to build all of them.
SMALL = [name for name in catalog.names() if name.startswith(("digits", "mnist5k"))]


def plain(config):
    """A config without the names of layers and models, which count up."""
    if isinstance(config, dict):
        return {
            k: plain(v)
            for k, v in config.items()
            if k not in ("name", "shared_object_id", "source")
        }
    return [plain(v) for v in config] if isinstance(config, (list, tuple)) else config


@pytest.mark.parametrize("name", SMALL)
def test_a_preset_is_the_model_of_its_config(name):
    config = loading.preset_config(name)
    preset = uk.UOTM.from_preset(name, load_weights=False)
    classes = loading.preset_classes(config.data)
    theirs = build.build_model(config, preset.data_shape, 1, classes)
    assert type(preset) is type(theirs)
    assert plain(preset.get_config()) == plain(theirs.get_config())
    for which in ("generator", "potential"):
        rate = float(getattr(preset, f"{which}_optimizer").learning_rate)
        assert rate == pytest.approx(getattr(config.optimization, f"{which}_lr"))


def test_the_paper_s_networks():
    config = loading.preset_config("cifar10")
    networks = build.build_networks(config, loading.example_shape("cifar10", config.data))
    assert [network.count_params() for network in networks] == [44_820_611, 12_247_809]


@pytest.mark.parametrize("name", catalog.names())
def test_the_shape_of_every_preset_is_known(name):
    shape = loading.example_shape(name, loading.preset_config(name).data)
    dataset = loading.preset_config(name).data.dataset
    if name in SMALL:
        assert uk.data.get(dataset).shape == shape
    assert shape[0] == shape[1] and shape[2] in (1, 3)


def test_a_preset_leaves_the_process_as_it_is():
    """Unlike a run, it sets no dtype policy."""
    before = keras.config.dtype_policy().name
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        uk.UOTM.from_preset("digits", load_weights=False)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


def test_the_class_of_a_preset():
    class Mine(uk.UOTM):
        pass

    assert type(uk.UOTM.from_preset("mnist5k_sjko")) is SJKO
    assert type(SJKO.from_preset("mnist5k_sjko")) is SJKO
    assert type(Mine.from_preset("digits")) is Mine
    for cls, name, wanted in ((SJKO, "digits", "UOTM"), (Mine, "mnist5k_sjko", "SJKO")):
        with pytest.raises(uk.InputError, match=f"use {wanted}.from_preset"):
            cls.from_preset(name)


def test_weights_in_the_package_draw_digits():
    from uotm_keras.metrics.digit_quality import digit_quality

    model = uk.UOTM.from_preset("digits")
    samples = model.generate(300, seed=0, batch_size=300)
    quality = digit_quality(samples, "digits")
    assert quality.confident >= 0.85
    assert quality.smallest_class >= 0.04
    untrained = uk.UOTM.from_preset("digits", load_weights=False).generate(16, seed=0)
    assert np.abs(untrained - samples[:16]).mean() > 0.1


def test_from_file(tmp_path):
    path = str(tmp_path / "model.keras")
    model = uk.UOTM.from_preset("digits")
    model.save(path)
    again = uk.UOTM.from_preset(path)
    np.testing.assert_allclose(again.generate(3, seed=1), model.generate(3, seed=1), atol=1e-6)
    model.generator.save(path)
    with pytest.raises(uk.InputError, match="holds a ResMLPGenerator"):
        uk.UOTM.from_preset(path)
    content = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(uk.InputError, match="cannot load"):
        uk.UOTM.from_preset(path)
    with pytest.raises(uk.InputError, match="no file"):
        uk.UOTM.from_preset(str(tmp_path / "none.keras"))


def test_code_in_a_keras_file_does_not_run(tmp_path):
    path, told = str(tmp_path / "bad.keras"), tmp_path / "ran"
    x = keras.Input((2,))
    layer = keras.layers.Lambda(lambda t, told=str(told): (open(told, "w").close(), t)[1])
    keras.Model(x, layer(x)).save(path)
    told.unlink()
    with pytest.raises(uk.InputError, match="cannot load"):
        uk.UOTM.from_preset(path)
    assert not told.exists()


def test_names():
    assert list(uk.presets.list()) == catalog.names()
    assert "CIFAR-10" in uk.presets.list()["cifar10"]
    with pytest.raises(uk.InputError, match="did you mean 'digits'"):
        uk.UOTM.from_preset("digit")
    with pytest.raises(uk.InputError, match="has no weights"):
        uk.UOTM.from_preset("cifar10", load_weights=True)
