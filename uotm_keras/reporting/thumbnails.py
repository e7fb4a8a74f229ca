"""Embed pictures in the run page as data URIs of bounded size."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from uotm_keras.utils.pictures import image_grid

if TYPE_CHECKING:
    from PIL import Image

PICTURE_BYTES = 200_000
"""The maximum size of an embedded picture, in bytes."""
SIDE = 1024
"""The longer side, in pixels, of a picture that has to be scaled down."""
THUMBNAIL = 96
_QUALITIES = (90, 80, 65, 50, 30)


class Picture(NamedTuple):
    """An embedded picture.

    Attributes:
        uri: `data:image/…;base64,…`.
        width: Width of the original picture, in pixels.
        height: Height of the original picture, in pixels.
        exact: Whether the embedded pixels equal the original ones.
    """

    uri: str
    width: int
    height: int
    exact: bool


class Pictures:
    """Embed picture files, reading each file once until it changes."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Picture]] = {}

    def embed(self, path: Path) -> Picture | None:
        """Embed a PNG file, as JPEG if it is large; return None if it is not a PNG picture."""
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
        except Exception:  # Pillow raises many kinds of errors for broken files.
            return None
        self._known[path] = (state, picture)
        return picture


def _embedded(image: "Image.Image", png: bytes) -> Picture:
    if len(png) <= PICTURE_BYTES:
        return Picture(_uri("png", png), *image.size, exact=True)
    size = image.size
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    image.thumbnail((SIDE, SIDE))
    while True:
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            # Without subsampling, single pixels of small images keep their colors.
            image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
            if buffer.tell() <= PICTURE_BYTES:
                return Picture(_uri("jpeg", buffer.getvalue()), *size, exact=False)
        image = image.reduce(2)


def thumbnail(image: np.ndarray) -> Picture:
    """Embed one example as a small picture.

    Args:
        image: Float32 (H, W, 1 or 3) in [−1, 1].
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
