"""What surrounds a model: seeds, counts, threads, Keras's global settings."""

import threading

import keras
import numpy as np
import pytest
from keras import ops

import uotm_keras as uk

LARGE_SEEDS = (2**31, 2**32 - 1, 2**32, 2**63 - 1)


def make(**arguments) -> uk.UOTM:
    keras.utils.set_random_seed(0)
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(2, 3, width=8, blocks=1),
        uk.networks.ResMLPPotential(2, width=8, blocks=1),
        **arguments,
    )
    model.compile()
    return model


def points(n=16) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2)).astype("float32")


def networks() -> list[keras.Model]:
    return [
        uk.networks.NCSNpp(
            (16, 16, 3), base_channels=8, channel_multipliers=(1, 2), num_res_blocks=1,
            attention_resolutions=(8,), latent_dim=4, style_dim=8, mapping_layers=1,
        ),
        uk.networks.SmallPotential((16, 16, 3), base_channels=4),
        uk.networks.LargePotential((64, 64, 3), base_channels=2),
        uk.networks.SmallGenerator((16, 16, 3), base_channels=8),
        uk.networks.SmallResNetPotential((16, 16, 3), base_channels=8),
    ]  # fmt: skip


def outputs() -> list[np.ndarray]:
    """Outputs of all convolutional networks for fixed weights and inputs."""
    rng = np.random.default_rng(0)
    found = []
    for network in networks():
        inputs = [rng.normal(size=(2, *i.shape[1:])).astype("float32") for i in network.inputs]
        network.set_weights([rng.normal(size=w.shape, scale=0.1) for w in network.get_weights()])
        found.append(ops.convert_to_numpy(network(inputs if len(inputs) > 1 else inputs[0])))
    return found


@pytest.mark.parametrize("seed", LARGE_SEEDS)
def test_large_seeds_train_and_reload(seed, tmp_path):
    model = make(seed=seed)
    model.fit(points(), batch_size=8, verbose=0)
    assert np.isfinite(model.evaluate(points(), batch_size=8, verbose=0)).all()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.generate(3, seed=seed), model.generate(3, seed=seed))


def test_large_seeds_give_different_training_noise():
    noise = [
        ops.convert_to_numpy(keras.random.normal((4,), seed=make(seed=seed).noise_seed)).tobytes()
        for seed in (0, *LARGE_SEEDS)
    ]
    assert len(set(noise)) == len(noise)


@pytest.mark.parametrize("n", [-1, 0, 1.5, None, "3", float("nan"), float("inf")])
def test_a_bad_number_of_samples_is_one_sentence(n):
    with pytest.raises(uk.InputError, match=r"^n=.* must be a whole number of at least 1\.$"):
        make().generate(n)


def test_more_samples_than_fit_in_memory_are_refused_at_once():
    with pytest.raises(uk.InputError, match=r"n=1000000000000000 samples need 8e\+06 GB"):
        make().generate(10**15)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None, "8"])
def test_a_bad_batch_size_is_one_sentence(batch_size):
    model, y = make(), points()
    for call in (model.transport, model.target_weights, model.source_weights):
        with pytest.raises(uk.InputError, match="^batch_size=.* at least 1"):
            call(y, batch_size=batch_size)
    with pytest.raises(uk.InputError, match="^batch_size=.* at least 1"):
        model.generate(4, batch_size=batch_size)


def test_arrays_of_other_shapes_and_empty_arrays():
    model, y = make(), points()
    with pytest.raises(uk.InputError, match=r"latent of shape \(3, 3\) must have .*\(16, 3\)"):
        model.transport(y, np.zeros((3, 3)))
    with pytest.raises(uk.InputError, match=r"data of shape \(4, 3\) must have .*\(4, 2\)"):
        model.target_weights(np.zeros((4, 3)))
    assert model.transport(y[:0]).shape == (0, 2)
    assert model.target_weights(y[:0]).shape == model.source_weights(y[:0]).shape == (0,)


def test_several_threads_draw_the_same_samples():
    model = make()
    drawn: list = [None] * 8

    def draw(i: int) -> None:
        drawn[i] = model.generate(60, seed=1, batch_size=7)

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(len(drawn))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for samples in drawn:
        np.testing.assert_array_equal(samples, make().generate(60, seed=1, batch_size=7))


def test_networks_do_not_depend_on_the_image_data_format():
    expected = outputs()
    keras.config.set_image_data_format("channels_first")
    try:
        found = outputs()
    finally:
        keras.config.set_image_data_format("channels_last")
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("setting", [keras.config.set_floatx, keras.config.set_dtype_policy])
def test_float64_trains(setting):
    setting("float64")
    try:
        generator, potential = networks()[:2]
        model = uk.UOTM(generator, potential)
        model.compile()
        images = np.zeros((4, 16, 16, 3), "float32")
        history = model.fit(images, batch_size=4, verbose=0)
        assert np.isfinite(history.history["loss"]).all()
        assert model.generate(2, seed=0).dtype == model.target_weights(images).dtype == "float32"
    finally:
        setting("float32")


def test_the_small_resnet_potential_starts_near_zero():
    keras.utils.set_random_seed(0)
    potential = uk.networks.SmallResNetPotential((32, 32, 3))
    images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype("float32")
    assert 0 < np.abs(ops.convert_to_numpy(potential(images))).max() < 0.01
