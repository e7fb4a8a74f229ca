"""S-JKO: the cost of each phase, what is frozen, and a flow whose end is known."""

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk
from uotm_keras.objectives.semi_dual import GeneratorBatch


def make(latent_dim=2, **arguments):
    generator = uk.networks.ResMLPGenerator((2,), latent_dim, width=16, blocks=1)
    potential = uk.networks.ResMLPPotential((2,), width=16, blocks=1)
    arguments = {"step_size": 0.5, "phase_steps": 3, "gradient_penalty": None, **arguments}
    model = uk.SJKO(generator, potential, **arguments)
    model.compile(*(keras.optimizers.SGD(0.01) for _ in range(2)))
    return model


def noise(rows=8, latent_dim=2):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(rows, n)).astype("float32") for n in (2, 2 * latent_dim)]


def test_cost_is_to_the_identity_and_then_to_the_frozen_map():
    model = make()
    x, latent = noise()
    z, other = latent[:, :2], latent[:, 2:]
    moved = ops.convert_to_numpy(model.generator([x, z]))

    def cost():
        samples = ops.convert_to_tensor(moved)
        batch = GeneratorBatch(*map(ops.convert_to_tensor, (x, z, other)))
        return ops.convert_to_numpy(model.objective.cost_of(batch, samples))

    np.testing.assert_allclose(cost(), np.mean((x - moved) ** 2, 1) / (2 * 0.5), rtol=1e-5)
    model.step.assign(3)
    previous = ops.convert_to_numpy(model.previous_generator([x, other]))
    np.testing.assert_allclose(cost(), np.mean((previous - moved) ** 2, 1), rtol=1e-5)
    assert np.abs(previous - x).max() > 0.01


def test_the_map_is_frozen_when_a_phase_begins():
    """In `fit`: kept within a phase, replaced by the generator of the phase's end."""
    model = make()
    data = np.random.default_rng(1).normal(size=(70, 2)).astype("float32")
    first = [np.array(w) for w in model.previous_generator.get_weights()]
    model.fit(data[:30], batch_size=10, epochs=1, shuffle=False, verbose=0)  # steps 0 to 2
    for kept, weights in zip(first, model.previous_generator.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weights)
    end = [np.array(w) for w in model.generator.get_weights()]
    assert any(np.abs(a - b).max() > 1e-5 for a, b in zip(first, end, strict=True))
    model.fit(data[30:50], batch_size=10, epochs=1, shuffle=False, verbose=0)  # steps 3, 4
    for kept, weights in zip(end, model.previous_generator.get_weights(), strict=True):
        np.testing.assert_allclose(kept, weights, atol=1e-6)


def test_the_first_phase_has_its_own_length():
    model = make(first_phase_steps=5, phase_steps=2)
    data = np.random.default_rng(1).normal(size=(10, 2)).astype("float32")
    seen = []
    for _ in range(9):
        model.fit(data, batch_size=10, verbose=0)
        seen.append(np.array(model.previous_generator.get_weights()[0]))
    frozen = [k for k in range(1, 9) if np.abs(seen[k] - seen[k - 1]).max() > 1e-6]
    assert frozen == [5, 7]  # steps, from 0, that begin with a new map
    x, latent = noise()
    for step, is_identity in ((4, True), (5, False)):
        model.step.assign(step)
        previous = ops.convert_to_numpy(model._previous_map(x, latent[:, :2]))
        assert np.allclose(previous, x) == is_identity


@pytest.mark.parametrize("step, deviation", [(0, 0.5), (4, 0.5), (5, 0.25), (9, 0.5 / 4)])
def test_the_potential_sees_noisy_data(step, deviation):
    """v(y) = y²: E[v(y + ε)] − v(y) is the variance of the noise."""
    y = keras.Input((1,))
    potential = keras.Model(y, keras.layers.Dense(1, use_bias=False)(y**2))
    potential.set_weights([np.ones((1, 1))])
    generator = uk.networks.ResMLPGenerator((1,), 0, width=4, blocks=0)
    model = uk.SJKO(
        generator, potential, first_phase_steps=5, phase_steps=2, data_noise=0.5,
        target_divergence="balanced", gradient_penalty=None,
    )  # fmt: skip
    model.compile()
    model.step.assign(step)
    real = np.full((40_000, 1), 2.0, "float32")
    logs = model.update_potential(real, np.zeros_like(real))
    assert -float(logs["real"]) - 4.0 == pytest.approx(deviation**2, abs=0.06)


def test_generator_step_is_the_gradient_of_its_loss():
    """One SGD step beside finite differences, with the frozen map's own latent."""
    model = make()
    model.step.assign(4)
    x, latent = noise()
    bias = model.generator.trainable_variables[-1]
    before = np.array(bias)

    def loss(shift):
        bias.assign(before + shift)
        moved = model.generator([x, latent[:, :2]])
        previous = ops.convert_to_numpy(model.previous_generator([x, latent[:, 2:]]))
        cost = np.mean((previous - ops.convert_to_numpy(moved)) ** 2) / (2 * 0.5)
        return cost - np.mean(ops.convert_to_numpy(model.potential(moved)))

    h = 1e-2
    slope = [(loss(h * e) - loss(-h * e)) / (2 * h) for e in np.eye(2, dtype="float32")]
    unmoved = loss(0.0 * before)
    logs = model.update_generator(x, latent[:, :2], latent[:, 2:])
    assert float(logs["loss"]) == pytest.approx(unmoved, abs=1e-5)
    np.testing.assert_allclose((before - np.array(bias)) / 0.01, slope, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("divergence", ["kl", "jsd_logits"])
def test_saved_and_loaded_goes_on_the_same(tmp_path, divergence):
    model = make(target_divergence=divergence, first_phase_steps=5, data_noise=0.1)
    data = np.random.default_rng(1).normal(size=(40, 2)).astype("float32")
    model.fit(data, batch_size=10, epochs=1, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, uk.SJKO) and again.phase_steps == 3 and again.step_size == 0.5
    assert again.first_phase_steps == 5 and again.data_noise == 0.1
    for m in (model, again):
        m.fit(data, batch_size=10, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        # TensorFlow's sums over threads differ in the last digits; a lost step would by 1e-2.
        np.testing.assert_allclose(a, b, atol=2e-5)
        assert np.isfinite(a).all()


def test_a_flow_of_a_gaussian():
    """One exact JKO step of KL to N(m, 1) from N(0, 1) moves the mean to m / (1 + 1/(h·d)).

    W₂²/(2hd) + KL between N(a, I) and N(m, I): a²/(2hd) + (a − m)²/2 is least at m / (1 + 1/(hd)).
    """
    generator = uk.networks.ResMLPGenerator((1,), 0, width=32, blocks=1, residual=True)
    potential = uk.networks.ResMLPPotential((1,), width=32, blocks=1)
    model = uk.SJKO(generator, potential, step_size=1.0, phase_steps=200, ema_decay=0.95,
                    gradient_penalty=None)  # fmt: skip
    model.compile(uk.optimizers.Adam(4e-3), uk.optimizers.Adam(1e-2))
    data = 1.0 + np.random.default_rng(2).normal(size=(128 * 200, 1)).astype("float32")
    model.fit(data, batch_size=128, epochs=1, verbose=0)
    first = model.generate(4000, seed=0).mean()
    model.fit(data, batch_size=128, epochs=1, verbose=0)
    second = model.generate(4000, seed=0).mean()
    assert first == pytest.approx(0.5, abs=0.08)
    assert second == pytest.approx(0.75, abs=0.1)


def test_bad_arguments():
    for arguments, words in (
        ({"step_size": 0}, "step_size=0"),
        ({"step_size": float("nan")}, "step_size=nan"),
        ({"phase_steps": 0}, "phase_steps=0"),
        ({"first_phase_steps": 0}, "first_phase_steps=0"),
        ({"data_noise": -1.0}, "data_noise=-1"),
        ({"cost": uk.costs.Quadratic(1.0)}, "cost is set by S-JKO"),
        ({"source_divergence": "kl"}, "source_divergence is set by S-JKO"),
    ):
        with pytest.raises(uk.InputError, match=words):
            make(**arguments)
