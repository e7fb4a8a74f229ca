"""Shared fixtures. A backend is chosen at import: run pytest once for each KERAS_BACKEND."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from seeded_inception import seeded_inception

GOLDEN = Path(__file__).parent / "golden"


ON_ONE_BACKEND = (
    "benchmarks", "browser", "cli", "config", "data", "experiments", "metrics", "reporting",
    "utils",
)  # fmt: skip
"""Folders whose tests say little of a backend; `every_backend` marks those that do."""
ONE_BACKEND = "torch"  # it compiles nothing


def pytest_collection_modifyitems(config, items) -> None:
    """Skip what runs on another backend, unless it is asked for by -m."""
    if any(name in config.option.markexpr for name in ("one_backend", "every_backend")):
        return
    for item in items:
        chosen = item.get_closest_marker("one_backend")
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if chosen is not None:
            (backend,) = chosen.args or (ONE_BACKEND,)
        elif folder in ON_ONE_BACKEND and not item.get_closest_marker("every_backend"):
            backend = ONE_BACKEND
        else:
            continue
        if keras.backend.backend() != backend:
            item.add_marker(pytest.mark.skip(reason=f"runs on {backend} only"))


class Golden:
    """Three training iterations of the authors' networks, images converted to NHWC."""

    def __init__(self, name: str):
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.arrays = {
                key: file[key] if key == "meta" else _channels_last(file[key], key)
                for key in file.files
            }
        self.meta = json.loads(str(self.arrays.pop("meta")))

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def weights(self, prefix: str) -> dict[str, np.ndarray]:
        return {
            key.removeprefix(f"{prefix}/"): value
            for key, value in self.arrays.items()
            if key.startswith(f"{prefix}/")
        }


def _channels_last(array: np.ndarray, key: str) -> np.ndarray:
    images = ("real", "noise_d", "noise_g", "step0/generated_d")
    return np.moveaxis(array, -3, -1) if key in images else array


@pytest.fixture(params=["tiny_kl_paper", "tiny_kl_pairwise"])
def golden(request) -> Golden:
    return Golden(request.param)


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory):
    """No test reads or writes the user's own cache, nor does a fixture of the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UOTM_KERAS_HOME", str(tmp_path_factory.mktemp("uotm_keras_home")))
        yield


@pytest.fixture(scope="session")
def inception_state() -> dict[str, np.ndarray]:
    return seeded_inception()


@pytest.fixture
def encoder() -> keras.Model:
    """A user's own small network with features and logits."""
    keras.utils.set_random_seed(3)
    images = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255.0)(images)
    x = keras.layers.Conv2D(6, 3, activation="relu", data_format="channels_last")(x)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    logits = keras.layers.Dense(4)(x)
    return keras.Model(images, {"features": x, "logits": logits}, name="encoder")
