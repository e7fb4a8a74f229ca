"""Pixels: bytes to the network's range, sizes, channels and transparency.

Bytes 0 … 255 map linearly onto [-1, 1], the range of the generator's tanh.
"""

import re
from typing import TYPE_CHECKING

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pixels import to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = [
    "check_channels",
    "check_size",
    "convert_channels",
    "fit_images",
    "fit_picture",
    "from_uint8",
    "parse_background",
    "to_uint8",
]

CHANNELS = (1, 3)
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow's mode "L"
_COLORS = {"white": (255, 255, 255), "black": (0, 0, 0)}


def from_uint8(images: np.ndarray) -> np.ndarray:
    """Convert bytes to the network's range.

    Args:
        images: uint8, any shape.

    Returns:
        float32 of the same shape in [-1, 1]: x / 127.5 - 1, a fresh array.

    Example:
        >>> from_uint8(np.array([0, 255], "uint8"))
        array([-1.,  1.], dtype=float32)
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise InputError(f"from_uint8 received {images.dtype}; only uint8 is accepted.")
    values = np.divide(images, np.float32(127.5), dtype=np.float32)
    values -= 1.0
    return values


def check_size(image_size: int | None) -> int | None:
    """Return `image_size` if it is a side in pixels or None; raise `InputError` otherwise."""
    if image_size is None:
        return None
    if isinstance(image_size, bool) or int(image_size) != image_size or image_size < 1:
        raise InputError(
            f"image_size={image_size!r}: accepted is a whole number of pixels, at least 1."
        )
    return int(image_size)


def check_channels(channels: int | None) -> int | None:
    """Return `channels` if it is 1 (gray), 3 (RGB) or None; raise `InputError` otherwise."""
    if channels is not None and channels not in CHANNELS:
        raise InputError(f"channels={channels!r}: accepted are 1 (gray) and 3 (RGB).")
    return channels


def convert_channels(images: np.ndarray, channels: int | None) -> np.ndarray:
    """Repeat gray to RGB, or convert RGB to gray (BT.601 luma).

    Args:
        images: uint8 (..., C).
        channels: 1, 3, or None to leave the images as they are.
    """
    have = images.shape[-1]
    if have not in CHANNELS:
        raise InputError(
            f"images with {have} channels (shape {images.shape}) cannot be converted: "
            "accepted are 1 (gray) and 3 (RGB), in the last axis."
        )
    if channels is None or channels == have:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    return np.rint(images @ _LUMA).astype(np.uint8)[..., None]


def fit_images(images: np.ndarray, image_size: int | None, channels: int | None) -> np.ndarray:
    """Crop and resize uint8 images (N, H, W, C) to (N, image_size, image_size, channels).

    The largest centered square is resized with Pillow's antialiased bicubic filter. None keeps
    the size or the channels.
    """
    images = convert_channels(images, channels)
    if image_size is None or images.shape[1:3] == (image_size, image_size):
        return np.ascontiguousarray(images)
    from PIL import Image

    fitted = np.empty((len(images), image_size, image_size, images.shape[-1]), np.uint8)
    for place, image in zip(fitted, images, strict=True):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        place[...] = np.asarray(_resize(picture, image_size)).reshape(place.shape)
    return fitted


def fit_picture(
    picture: "Picture",
    image_size: int | None,
    channels: int,
    background: tuple[int, int, int] = _COLORS["white"],
) -> np.ndarray:
    """Convert a Pillow image to the array that is learned from and scored.

    - The orientation in the EXIF data is applied.
    - Of an animated image the first frame is taken.
    - Transparency (RGBA, LA, a palette with transparent entries) is composited on `background`.
    - 16-bit gray is scaled to 8 bits; CMYK is converted to RGB; color profiles are ignored.
    - The largest centered square is resized to `image_size`.

    Args:
        picture: an open image.
        image_size: side in pixels; None keeps the size.
        channels: 1 (gray, by the BT.601 luma) or 3 (RGB).
        background: RGB, 0 to 255. Defaults to white.

    Returns:
        uint8 (H, W, channels).
    """
    from PIL import Image, ImageOps

    picture = _eight_bits(ImageOps.exif_transpose(picture))
    if picture.has_transparency_data:
        canvas = Image.new("RGBA", picture.size, (*background, 255))
        canvas.alpha_composite(picture.convert("RGBA"))
        picture = canvas.convert("RGB")
    picture = picture.convert("L" if channels == 1 else "RGB")
    if image_size is not None and picture.size != (image_size, image_size):
        # No JPEG draft mode: its coarser filter would shift FID.
        picture = _resize(picture, image_size)
    return np.asarray(picture, np.uint8).reshape(picture.height, picture.width, channels)


def _resize(picture: "Picture", image_size: int) -> "Picture":
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, (image_size, image_size), method=Image.Resampling.BICUBIC)


def _eight_bits(picture: "Picture") -> "Picture":
    """Scale 16-bit gray down; Pillow's own conversion would clip it at 255."""
    if not picture.mode.startswith("I"):
        return picture
    from PIL import Image

    return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype("u1"))


def parse_background(color: str) -> tuple[int, int, int]:
    """Return the RGB bytes of a background color.

    Args:
        color: `"white"`, `"black"`, or `"#rrggbb"` in hexadecimal.

    Raises:
        InputError: any other text.

    Example:
        >>> parse_background("#ff8000")
        (255, 128, 0)
    """
    color = str(color)
    if color in _COLORS:
        return _COLORS[color]
    if re.fullmatch("#[0-9a-fA-F]{6}", color):
        red, green, blue = bytes.fromhex(color[1:])
        return red, green, blue
    raise InputError(
        f"background={color!r}: accepted are white, black and #rrggbb, such as #808080."
    )
