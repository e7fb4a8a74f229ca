"""Presets: the same models as the flagfiles make, and weights that draw digits."""

from pathlib import Path

import keras
import numpy as np
import pytest

import uotm_keras as uk
from uotm_keras.cli import build
from uotm_keras.cli import flags as train_flags

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_preset_is_its_flagfile(name):
    flags = train_flags.parse([f"--flagfile={CONFIGS}/{name}.flags"])
    preset = uk.UOTM.from_preset(name, load_weights=False)
    ours = preset.get_config()
    theirs = build.build_model(flags, preset.data_shape, 1).get_config()

    def plain(config):
        if isinstance(config, dict):  # layers' and models' names count up
            return {
                k: plain(v)
                for k, v in config.items()
                if k not in ("name", "shared_object_id", "source")
            }
        return [plain(v) for v in config] if isinstance(config, (list, tuple)) else config

    assert plain(ours) == plain(theirs)
    for which in ("generator", "potential"):
        rate = float(getattr(preset, f"{which}_optimizer").learning_rate)
        assert rate == pytest.approx(flags[f"{which}_lr"])


@pytest.mark.parametrize("name", ["cifar10", "celeba_hq_256"])
def test_papers_presets_are_their_flagfiles(name):
    from uotm_keras import presets

    preset = presets._PRESETS[name]
    flags = train_flags.parse([f"--flagfile={CONFIGS}/{name}.flags"])
    assert preset.tau == flags["tau"] and preset.gamma == flags["r1_gamma"]
    assert preset.rates == (flags["generator_lr"], flags["potential_lr"])
    assert preset.ema_decay == flags["ema_decay"]
    if name == "cifar10":
        generator, potential = preset.networks()
        assert generator.count_params() == 44_820_611
        assert potential.count_params() == 12_247_809


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
    assert "cifar10" in uk.presets.list()
    with pytest.raises(uk.InputError, match="did you mean 'digits'"):
        uk.UOTM.from_preset("digit")
    with pytest.raises(uk.InputError, match="has no weights"):
        uk.UOTM.from_preset("cifar10", load_weights=True)
