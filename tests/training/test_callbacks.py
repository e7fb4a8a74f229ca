"""The public callbacks: sample grids in `fit`."""

import random

import numpy as np
import pytest
from PIL import Image

import uotm_keras as uk
from uotm_keras.utils.pictures import image_grid


def points_model(source: str = "auto") -> uk.UOTM:
    random.seed(0)  # of the initial weights
    model = uk.UOTM(
        uk.networks.ResMLPGenerator(2, 2, width=4, blocks=1),
        uk.networks.ResMLPPotential(2, width=4, blocks=1),
        source=source,
        seed=1,
    )
    model.compile()
    return model


def image_model() -> uk.UOTM:
    model = uk.UOTM(
        uk.networks.ResMLPGenerator((48, 48, 3), 3, width=4, blocks=1, output_activation="tanh"),
        uk.networks.ResMLPPotential((48, 48, 3), width=4, blocks=1),
        seed=1,
    )
    model.compile()
    return model


POINTS = np.random.default_rng(0).standard_normal((40, 2)).astype("float32")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fit(model, *callbacks, epochs: int = 2):
    model.fit(POINTS, batch_size=10, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)


def test_a_grid_shows_the_averaged_generator(tmp_path):
    model = image_model()
    path = uk.callbacks.SampleGrid(tmp_path / "new", n=5, seed=3).write(model, 7)
    assert path == tmp_path / "new/step_000007.png"
    with Image.open(path) as image:
        shown = np.asarray(image)
    np.testing.assert_array_equal(shown, image_grid(model.generate(5, seed=3), 3, gap=2))


def test_its_steps_continue_in_another_fit(tmp_path):
    model = points_model()
    grids = uk.callbacks.SampleGrid(tmp_path, every=3, n=9)
    fit(model, grids)
    assert names(tmp_path) == ["step_000003.png", "step_000006.png"]
    fit(model, grids, epochs=1)
    assert names(tmp_path)[2:] == ["step_000009.png", "step_000012.png"]


def test_at_the_end_of_each_epoch(tmp_path):
    fit(points_model(), uk.callbacks.SampleGrid(tmp_path, n=9))
    assert names(tmp_path) == ["step_000004.png", "step_000008.png"]


def test_training_is_not_affected(tmp_path):
    plain, watched = points_model(), points_model()
    fit(plain)
    fit(watched, uk.callbacks.SampleGrid(tmp_path, every=1, n=4))
    assert len(names(tmp_path)) == 8
    for one, other in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["array", "dataset"])
def test_a_source_is_transported(tmp_path, kind):
    source = POINTS if kind == "array" else uk.data.get("toy:moons:40")
    grids = uk.callbacks.SampleGrid(tmp_path, n=50, source=source)
    assert grids.write(points_model("data"), 1).exists()


@pytest.mark.parametrize(
    "options", [{"every": 0}, {"every": 1.5}, {"every": True}, {"n": 0}, {"n": 2.5}, {"seed": -1}]
)
def test_bad_arguments(tmp_path, options):
    ((name, _),) = options.items()
    with pytest.raises(uk.InputError, match=f"{name}="):
        uk.callbacks.SampleGrid(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_scores_are_public_too():
    from uotm_keras.training import ScoreGenerator

    assert uk.callbacks.ScoreGenerator is ScoreGenerator
