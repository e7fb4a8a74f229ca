import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from uotm_keras.data import from_uint8, to_uint8
from uotm_keras.data.pixels import (
    check_channels,
    check_size,
    convert_channels,
    fit_images,
    fit_picture,
)
from uotm_keras.utils.errors import InputError


def test_every_byte_comes_back():
    bytes_ = np.arange(256, dtype=np.uint8)
    values = from_uint8(bytes_)
    assert values.dtype == np.float32
    assert values[0] == -1.0 and values[255] == 1.0
    np.testing.assert_allclose(np.diff(values), 2 / 255, rtol=1e-4)
    np.testing.assert_array_equal(to_uint8(values), bytes_)


@given(st.floats(-3, 3, width=32))
def test_to_uint8_rounds_to_the_nearest_level_and_clips(value):
    level = int(to_uint8(np.array([value], np.float32))[0])
    exact = np.clip((value + 1) * 127.5, 0, 255)
    assert abs(level - exact) <= 0.5 + 1e-4


def test_wrong_types_are_refused():
    with pytest.raises(InputError, match="int64"):
        from_uint8(np.arange(3))
    with pytest.raises(InputError, match="NaN"):
        to_uint8(np.array([np.nan]))


def test_grey_and_colour_agree_with_pillow():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    grey = convert_channels(rgb, 1)
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in rgb]
    assert np.abs(grey[..., 0].astype(int) - np.stack(expected)).max() <= 1
    again = convert_channels(grey, 3)
    assert again.shape == rgb.shape
    for channel in range(3):
        np.testing.assert_array_equal(again[..., channel], grey[..., 0])


def test_two_channels_cannot_be_converted():
    with pytest.raises(InputError, match="2 channels"):
        convert_channels(np.zeros((1, 4, 4, 2), np.uint8), 3)


def test_fit_keeps_the_centre():
    # Left third black, middle third white, right third black: the centre square is white.
    image = np.zeros((1, 10, 30, 1), np.uint8)
    image[:, :, 10:20] = 255
    # (The filter reaches one pixel beyond the square at its edges.)
    fitted = fit_images(image, 5, None)
    assert fitted.shape == (1, 5, 5, 1)
    np.testing.assert_array_equal(fitted[:, :, 1:4], 255)
    assert fitted.min() > 200


def test_fit_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_images(image, 8, 3), image)
    np.testing.assert_array_equal(fit_images(image, None, None), image)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    deep = Image.fromarray(np.full((4, 4), 0x8040, np.uint16))
    np.testing.assert_array_equal(fit_picture(deep, None, 1), 0x80)


def test_orientation_in_exif_is_followed(tmp_path):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by a quarter turn clockwise to view
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as picture:
        shown = fit_picture(picture, None, 3)
    assert shown.shape == (32, 16, 3)
    assert (shown[:16] == 255).all() and (shown[16:] == 0).all()


@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_bad_sizes(value):
    with pytest.raises(InputError, match="image_size"):
        check_size(value)


@pytest.mark.parametrize("value", [0, 2, 4])
def test_bad_channels(value):
    with pytest.raises(InputError, match="channels"):
        check_channels(value)
