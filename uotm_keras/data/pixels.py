"""Pixels: bytes to the network's range and back, sizes and channels.

Bytes 0 … 255 map linearly onto [-1, 1], the range of the generator's tanh.
"""

import numpy as np

from uotm_keras.utils.errors import InputError

__all__ = ["check_channels", "check_size", "convert_channels", "fit_images", "fit_picture"]
__all__ += ["from_uint8", "to_uint8"]

CHANNELS = (1, 3)
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's mode "L"


def from_uint8(images: np.ndarray) -> np.ndarray:
    """Bytes to the network's range.

    Args:
        images: uint8, any shape.

    Returns:
        float32 of the same shape in [-1, 1]: x / 127.5 - 1, a fresh array.

    Examples:
        >>> from_uint8(np.array([0, 255], "uint8"))
        array([-1.,  1.], dtype=float32)
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise InputError(f"from_uint8 was given {images.dtype}: accepted is uint8.")
    values = np.divide(images, np.float32(127.5), dtype=np.float32)
    values -= 1.0
    return values


def to_uint8(images: np.ndarray) -> np.ndarray:
    """The network's range to bytes, rounded to nearest and clipped.

    Args:
        images: floats, any shape; the range is [-1, 1], values outside are clipped.

    Returns:
        uint8 of the same shape. `to_uint8(from_uint8(x))` is x.

    Raises:
        InputError: a value is NaN.
    """
    values = np.array(images, dtype=np.float32)
    if np.isnan(values).any():
        raise InputError("to_uint8 was given images with NaN: accepted are numbers in [-1, 1].")
    values += 1.0
    values *= 127.5
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def check_size(image_size: int | None) -> int | None:
    """`image_size` if it is a side in pixels or None."""
    if image_size is None:
        return None
    if isinstance(image_size, bool) or int(image_size) != image_size or image_size < 1:
        raise InputError(
            f"image_size={image_size!r}: accepted is a whole number of pixels, at least 1."
        )
    return int(image_size)


def check_channels(channels: int | None) -> int | None:
    """`channels` if it is 1 (grey), 3 (RGB) or None."""
    if channels is not None and channels not in CHANNELS:
        raise InputError(f"channels={channels!r}: accepted are 1 (grey) and 3 (RGB).")
    return channels


def convert_channels(images: np.ndarray, channels: int | None) -> np.ndarray:
    """Repeats grey to RGB, or mixes RGB to grey (BT.601 luma).

    Args:
        images: uint8 (..., C).
        channels: 1, 3, or None to leave the images as they are.
    """
    have = images.shape[-1]
    if have not in CHANNELS:
        raise InputError(
            f"images with {have} channels (shape {images.shape}) cannot be converted: "
            "accepted are 1 (grey) and 3 (RGB), in the last axis."
        )
    if channels is None or channels == have:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    return np.rint(images @ _LUMA).astype(np.uint8)[..., None]


def fit_images(images: np.ndarray, image_size: int | None, channels: int | None) -> np.ndarray:
    """Brings uint8 images (N, H, W, C) to (N, image_size, image_size, channels).

    The largest centred square is resized by Pillow's antialiased bicubic filter. None
    keeps the size, or the channels.
    """
    images = convert_channels(images, channels)
    if image_size is None or images.shape[1:3] == (image_size, image_size):
        return np.ascontiguousarray(images)
    from PIL import Image

    fitted = np.empty((len(images), image_size, image_size, images.shape[-1]), np.uint8)
    for place, image in zip(fitted, images, strict=True):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        place[...] = fit_picture(picture, image_size, images.shape[-1])
    return fitted


def fit_picture(picture, image_size: int | None, channels: int) -> np.ndarray:
    """A Pillow image as uint8 (H, W, channels), centre-cropped to a square and resized."""
    from PIL import Image, ImageOps

    picture = _eight_bits(ImageOps.exif_transpose(picture))
    picture = picture.convert("L" if channels == 1 else "RGB")
    if image_size is not None and picture.size != (image_size, image_size):
        # No JPEG draft mode: its coarser filter would shift FID.
        picture = ImageOps.fit(picture, (image_size, image_size), method=Image.Resampling.BICUBIC)
    return np.asarray(picture, np.uint8).reshape(picture.height, picture.width, channels)


def _eight_bits(picture):
    """16-bit grey scaled down; Pillow's own conversion would clip it at 255."""
    if not picture.mode.startswith("I"):
        return picture
    from PIL import Image

    return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype("u1"))
