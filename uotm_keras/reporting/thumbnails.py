"""Pictures inside the run page, as data URIs of bounded size."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uotm_keras.utils.pictures import image_grid

PICTURE_BYTES = 200_000
"""Bytes of an embedded picture, at most."""
SIDE = 1024
"""Pixels of its longer side, where it had to be made smaller."""
THUMBNAIL = 96
_QUALITIES = (90, 80, 65, 50, 30)


class Picture(NamedTuple):
    """A picture to embed.

    Attributes:
        uri: `data:image/…;base64,…`.
        width, height: of the picture itself, in pixels.
        exact: whether the pixels are those of the file.
    """

    uri: str
    width: int
    height: int
    exact: bool


class Pictures:
    """Reads picture files, each once as long as it stays the same."""

    def __init__(self):
        self._known: dict[Path, tuple[tuple[int, int], Picture]] = {}

    def embed(self, path: Path) -> Picture | None:
        """A file as it is, or as a JPEG where it is large; None if it is no picture."""
        from PIL import Image

        try:
            stat = path.stat()
            state = (stat.st_size, stat.st_mtime_ns)
            if path in self._known and self._known[path][0] == state:
                return self._known[path][1]
            content = path.read_bytes()
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.load()
                picture = _embedded(image, content)
        except Exception:  # Pillow's decoder raises many kinds for broken files
            return None
        self._known[path] = (state, picture)
        return picture


def _embedded(image, png: bytes) -> Picture:
    if len(png) <= PICTURE_BYTES:
        return Picture(_uri("png", png), *image.size, exact=True)
    size = image.size
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    image.thumbnail((SIDE, SIDE))
    while True:
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            # Without subsampling: pixels of 32×32 images keep their own colours.
            image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
            if buffer.tell() <= PICTURE_BYTES:
                return Picture(_uri("jpeg", buffer.getvalue()), *size, exact=False)
        image = image.reduce(2)


def thumbnail(image: np.ndarray) -> Picture:
    """One example as a small picture.

    Args:
        image: float32 (H, W, 1 or 3) in [−1, 1].
    """
    from PIL import Image

    pixels = image_grid(image[None], 1)
    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    size = picture.size
    exact = max(size) <= THUMBNAIL
    buffer = io.BytesIO()
    if exact:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        picture.save(buffer, "JPEG", quality=85)
    return Picture(_uri("png" if exact else "jpeg", buffer.getvalue()), *size, exact)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
