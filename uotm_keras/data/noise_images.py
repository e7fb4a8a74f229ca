"""Images of noise: outliers that look like nothing at all."""

import numpy as np

from uotm_keras.data.dataset import ArrayDataset
from uotm_keras.utils.errors import InputError

__all__ = ["noise_dataset"]

COUNT, MOST, SIZE = 1_000, 1_000_000, 32


def noise_dataset(
    image_size: int | None = None,
    channels: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> ArrayDataset:
    """Draw images whose values are independent and uniform on [-1, 1], in steps of a byte.

    They are drawn at the requested size, because resizing would smooth them.

    Args:
        image_size: side in pixels. Defaults to 32.
        channels: 1 or 3, independent of each other. Defaults to 1.
        count: number of images, 1 to 1 000 000. Defaults to 1 000. The first images of a seed
            and shape do not depend on it.
        seed: seed of the sample (int, at least 0). Defaults to 0.

    Raises:
        InputError: fewer than one image or more than a million, or a negative seed.
    """
    count = COUNT if count is None else count
    if not 1 <= count <= MOST:
        raise InputError(f"noise:{count}: accepted is a count from 1 to {MOST} images.")
    if seed < 0:
        raise InputError(f"seed={seed}: accepted is a whole number, at least 0.")
    size = image_size or SIZE
    # The letters of the name are part of the seed, as with the toys.
    rng = np.random.default_rng([seed, *b"noise"])
    images = rng.integers(0, 256, (count, size, size, channels or 1), np.uint8)
    return ArrayDataset(images, "noise", flip_by_default=True)
