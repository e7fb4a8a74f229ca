"""Models by name: the shipped configs as presets, `.keras` files, and the packaged weights."""

import importlib.resources
import io
import os
from typing import Any

import keras
import numpy as np

from uotm_keras.config import catalog
from uotm_keras.config.command_line import Command
from uotm_keras.config.fields import updated
from uotm_keras.config.groups import DataConfig
from uotm_keras.config.schema import TrainConfig
from uotm_keras.models import build
from uotm_keras.utils.errors import InputError, unknown_name

# The shapes of the shipped configs' datasets, so that a model needs no data.
_SHAPES = {
    "digits": (8, 8, 1),
    "mnist5k": (32, 32, 1),
    "tfds:fashion_mnist": (28, 28, 1),
    "tfds:cifar10": (32, 32, 3),
    "tfds:celeb_a_hq/256": (256, 256, 3),
}
_CLASSES = {"digits": 10, "mnist5k": 10, "tfds:fashion_mnist": 10, "tfds:cifar10": 10}


def from_preset(cls: type, name: str | os.PathLike, load_weights: bool | None = None) -> Any:
    """Return a compiled model of a preset or of a `.keras` file; see `UOTM.from_preset`.

    The learning rates of a preset are the initial ones of its config and stay constant.

    Args:
        cls: `UOTM` or a subclass.
        name: the name of a shipped config, or the path of a `.keras` file.
        load_weights: whether the generator gets the weights that come with the package;
            None loads them if there are some.

    Returns:
        An instance of `cls`; an `SJKO` where the preset is one and `cls` is `UOTM`.

    Raises:
        InputError: the name is unknown, has no weights, or needs another class; or the
            file cannot be read.
    """
    name = os.fspath(name)
    known = catalog.names()
    if name not in known and (name.endswith(".keras") or os.sep in name):
        return _from_file(cls, name)
    if name not in known:
        raise unknown_name("preset", name, [*known, "the path of a .keras file"])
    if load_weights and name not in with_weights():
        raise InputError(
            f"load_weights=True: the preset {name} has no weights in the package; accepted are "
            f"{', '.join(with_weights())}."
        )
    config = preset_config(name)
    generator, potential = build.build_networks(
        config, example_shape(name, config.data), preset_classes(config.data)
    )
    if name in with_weights() and load_weights is not False:
        generator.set_weights(_packaged_weights(name))
    model = build.new_model(config, generator, potential, _class_for(cls, name, config))
    model.compile(*build.build_optimizers(config, steps_per_epoch=1))
    return model


def preset_config(name: str) -> TrainConfig:
    """Return the configuration of a preset, with constant learning rates.

    Raises:
        InputError: there is no such config.
    """
    config = Command("", TrainConfig).parse([f"--config={name}"])
    return updated(config, lr_schedule="constant")


def with_weights() -> list[str]:
    """Return the names of the presets whose generator's weights come with the package."""
    folder = importlib.resources.files("uotm_keras").joinpath("weights")
    files = (file.name for file in folder.iterdir())
    return sorted(name.removesuffix(".npz") for name in files if name.endswith(".npz"))


def example_shape(name: str, config: DataConfig) -> tuple[int, int, int]:
    """Return the shape of one image of a preset.

    Raises:
        InputError: it is not known without the data.
    """
    dataset = config.dataset
    known = _SHAPES.get(dataset) or _SHAPES.get(dataset.partition(":")[0]) or (0, 0, 0)
    size, channels = config.image_size, config.channels
    shape = (size or known[0], size or known[1], channels or known[2])
    if not all(shape):
        raise InputError(
            f"the preset {name} does not state the shape of its images: its flagfile needs "
            "--image_size and --channels."
        )
    return shape


def preset_classes(config: DataConfig) -> int | None:
    """Return the number of classes of a conditional preset; None for an unconditional one."""
    return _CLASSES[config.dataset] if config.conditional else None


def _class_for(cls: type, name: str, config: TrainConfig) -> type:
    wanted = build.model_class(config)
    sjko = keras.saving.get_registered_object("uotm_keras>SJKO")
    if issubclass(cls, wanted) and (wanted is sjko or not issubclass(cls, sjko)):
        return cls
    if issubclass(wanted, cls):
        return wanted
    raise InputError(
        f"the preset {name} needs the class {wanted.__name__}, not {cls.__name__}: use "
        f"{wanted.__name__}.from_preset."
    )


def _from_file(cls: type, path: str) -> Any:
    if not os.path.isfile(path):
        raise InputError(
            f"no file {path}: accepted are the path of a .keras file and "
            f"{', '.join(catalog.names())}."
        )
    try:
        model = keras.saving.load_model(path)
    except Exception as error:  # Keras raises many kinds for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"cannot load {path} as a .keras file: {reason}.") from error
    if not isinstance(model, cls):
        raise InputError(f"{path} holds a {type(model).__name__}, not a {cls.__name__}.")
    return model


def _packaged_weights(name: str) -> list[np.ndarray]:
    file = importlib.resources.files("uotm_keras").joinpath("weights", f"{name}.npz")
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as archive:
        return [archive[f"{i:03d}"].astype("float32") for i in range(len(archive.files))]
