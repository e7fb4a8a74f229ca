"""The usual size of image files of different sizes, without decoding them."""

import io
import statistics

import numpy as np

from uotm_keras.data.image_files import ImageFiles

_LOOKED_AT = 200


def natural_side(files: ImageFiles) -> int | None:
    """Return the median shorter side in pixels of at most 200 files, evenly spaced.

    Files that cannot be read are left out; None means that none could.
    """
    from PIL import Image

    names = list(files.list().files)
    sides = []
    for i in np.linspace(0, len(names) - 1, min(len(names), _LOOKED_AT)).astype(int):
        try:
            with Image.open(io.BytesIO(files.read(names[i]))) as image:
                sides.append(min(image.size))
        except Exception:  # Pillow raises many kinds on damaged files
            continue
    return round(statistics.median(sides)) if sides else None
