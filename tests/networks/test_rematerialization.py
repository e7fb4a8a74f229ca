"""NCSN++ with rematerialization trains to the same numbers."""

import keras
import numpy as np
import pytest

import uotm_keras as uk


def make(rematerialize: bool):
    generator = uk.networks.NCSNpp(
        (8, 8, 1), 8, (1, 2), 1, (4,), latent_dim=3, style_dim=8, mapping_layers=1,
        rematerialize=rematerialize,
    )  # fmt: skip
    model = uk.UOTM(generator, uk.networks.ResMLPPotential((8, 8, 1), 8, 1), ema_decay=0.5)
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.001))
    return model


@pytest.mark.parametrize("how", ["one update", "fit"])
def test_updates_are_the_same(how):
    plain, frugal = make(False), make(True)
    frugal.set_weights(plain.get_weights())
    rng = np.random.default_rng(0)
    images, latent = rng.normal(size=(2, 8, 8, 8, 1)), rng.normal(size=(8, 3))
    before = plain.generator.get_weights()
    if how == "fit":
        for model in (plain, frugal):
            model.fit(images.reshape(16, 8, 8, 1), batch_size=8, shuffle=False, verbose=0)
    else:
        losses = [float(m.update_generator(images[0], latent)["loss"]) for m in (plain, frugal)]
        np.testing.assert_allclose(*losses, rtol=1e-6)
    moved = []
    for a, b, old in zip(
        plain.generator.get_weights(), frugal.generator.get_weights(), before, strict=True
    ):
        np.testing.assert_allclose(a, b, atol=2e-6)
        moved.append(np.abs(a - old).max())
    assert 1e-4 < np.max(moved) < 1
    again = type(frugal.generator).from_config(frugal.generator.get_config())
    assert again.rematerialize


def test_blocks_are_computed_twice_in_training(monkeypatch):
    """Once in the forward pass and once in the backward pass."""
    from uotm_keras.networks.layers import StyledResidualBlock

    calls = []
    inner = StyledResidualBlock._inner
    monkeypatch.setattr(
        StyledResidualBlock, "_inner", lambda self, *a: calls.append(self.name) or inner(self, *a)
    )
    model = make(True)
    rng = np.random.default_rng(0)
    images, latent = rng.normal(size=(4, 8, 8, 1)), rng.normal(size=(4, 3))
    calls.clear()
    model.generator([images.astype("float32"), latent.astype("float32")])
    once = len(calls)
    calls.clear()
    model.update_generator(images, latent)
    assert once == len(set(calls)) > 5
    if keras.backend.backend() != "jax":  # JAX traces the block once and replays the trace.
        assert len(calls) == 2 * once


def test_rematerialization_excludes_dropout():
    with pytest.raises(uk.InputError, match="dropout=0.1 must be 0"):
        uk.networks.NCSNpp((8, 8, 1), 8, (1, 2), 1, dropout=0.1, rematerialize=True)
