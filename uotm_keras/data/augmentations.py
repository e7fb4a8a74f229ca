"""Random changes of a batch: flips, and KerasCV layers by name.

An augmentation is any function `(images, rng) -> images` of float32 (B, H, W, C) in
[-1, 1] and a NumPy generator. All its randomness must come from `rng`, which `Batches`
seeds with the number of the batch, so that a resumed run sees the same batches.
"""

import inspect
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from uotm_keras.utils.errors import InputError, unknown_name

__all__ = ["Augmentation", "KerasCVAugmentation", "flip_horizontally", "resolve_augmentations"]

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_LOCK = threading.Lock()  # one for all: TensorFlow's seed is global

# Mild strengths for layers that have no default of their own.
_DEFAULTS: dict[str, dict] = {
    "RandomBrightness": {"factor": 0.2},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomContrast": {"factor": 0.2},
    "RandomCutout": {"height_factor": 0.25, "width_factor": 0.25},
    "RandomFlip": {"mode": "horizontal"},
    "RandomHue": {"factor": 0.1},
    "RandomRotation": {"factor": 0.02},
    "RandomSaturation": {"factor": (0.4, 0.6)},
    "RandomSharpness": {"factor": 0.2},
    "RandomShear": {"x_factor": 0.1, "y_factor": 0.1},
    "RandomTranslation": {"height_factor": 0.125, "width_factor": 0.125},
    "RandomZoom": {"height_factor": 0.1, "width_factor": 0.1},
}


def flip_horizontally(images: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Mirror the images for which `mirrored` is True left to right, in place."""
    images[mirrored] = images[mirrored, :, ::-1]
    return images


class KerasCVAugmentation:
    """A preprocessing layer of KerasCV, as an augmentation.

    KerasCV imports TensorFlow on every backend and is no longer developed, so it is an optional
    dependency that is imported when this class is created.

    Args:
        name: name of a class in `keras_cv.layers`, such as "RandomCutout".
        **options: arguments of that class. Defaults to mild strengths for common layers.

    Raises:
        InputError: KerasCV is not installed, has no such layer, or rejects the options.
    """

    def __init__(self, name: str, **options: Any):
        layers = _keras_cv_layers()
        if not name.startswith("Random") or not hasattr(layers, name):
            known = [known for known in dir(layers) if known.startswith("Random")]
            raise unknown_name("augmentation", name, known)
        self.name = name
        self.options = {**_DEFAULTS.get(name, {}), **options}
        self._layer = getattr(layers, name)
        parameters = inspect.signature(self._layer.__init__).parameters
        if "value_range" in parameters:
            self.options.setdefault("value_range", (0, 255))
        try:
            self._layer(seed=1, **self.options)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"augmentation {name!r} with options {self.options} is rejected by KerasCV: "
                f"{error}."
            ) from error

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        import keras

        seed = int(rng.integers(1, 2**31 - 1))
        # KerasCV expects 0 … 255.
        levels = (images + 1.0) * 127.5
        # KerasCV draws from generators in the layer and from TensorFlow's operations with and
        # without a seed: a new layer and a new global seed reset all of them. The lock keeps
        # another thread from drawing in between.
        with _LOCK:
            # KerasCV has imported TensorFlow on any backend.
            if "tensorflow" in sys.modules:
                sys.modules["tensorflow"].random.set_seed(seed)
            layer = self._layer(seed=seed, **self.options)
            changed = keras.ops.convert_to_numpy(layer(levels, training=True))
        changed = np.asarray(changed, np.float32)
        return np.clip(changed / np.float32(127.5) - np.float32(1.0), -1.0, 1.0)

    def __repr__(self) -> str:
        return f"KerasCVAugmentation({self.name!r}, {self.options})"


def _keras_cv_layers() -> Any:
    try:
        import keras_cv
    except ImportError as error:
        raise InputError(
            "augmentations by name need KerasCV, which cannot be imported "
            f"({error}): pip install 'uotm_keras[keras-cv]', or pass a function "
            "(images, rng) -> images."
        ) from error
    return keras_cv.layers


def resolve_augmentations(
    augmentations: Sequence[str | tuple[str, Mapping] | Augmentation],
) -> tuple[Augmentation, ...]:
    """Return functions for names, (name, options) pairs and functions.

    Example:
        resolve_augmentations(["RandomCutout", ("RandomHue", {"factor": 0.2}), my_function])
    """
    if isinstance(augmentations, str) or callable(augmentations):
        augmentations = [augmentations]
    return tuple(_resolve(augmentation) for augmentation in augmentations)


def _resolve(augmentation: Any) -> Augmentation:
    if callable(augmentation):
        return augmentation
    if isinstance(augmentation, str):
        return KerasCVAugmentation(augmentation)
    match augmentation:
        case (str() as name, Mapping() as options):
            return KerasCVAugmentation(name, **options)
    raise InputError(
        f"augmentation {augmentation!r}: accepted are the name of a KerasCV layer, a pair "
        "(name, options) or a function (images, rng) -> images."
    )
