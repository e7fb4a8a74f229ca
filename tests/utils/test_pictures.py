"""Pictures of samples."""

import numpy as np
import pytest
from PIL import Image

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pictures import image_grid, save_picture


def test_a_grid_is_filled_row_by_row():
    images = np.linspace(-1, 1, 5)[:, None, None, None] * np.ones((1, 2, 3, 1), "float32")
    grid = image_grid(images, 3)
    assert grid.shape == (4, 9, 1) and grid.dtype == np.uint8
    # [−1, 1] becomes [0, 255]; the empty place is black.
    assert grid[0, ::3, 0].tolist() == [0, 64, 128]
    assert grid[2, ::3, 0].tolist() == [191, 255, 0]


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_small_images_are_enlarged_by_whole_pixels(tmp_path, channels, mode):
    images = np.random.default_rng(0).uniform(-2, 2, (4, 8, 8, channels)).astype("float32")
    save_picture(images, tmp_path / "a" / "b.png", 2)
    with Image.open(tmp_path / "a" / "b.png") as image:
        assert image.mode == mode and image.size == (100, 100)
        pixels = np.asarray(image).reshape(2, 50, 2, 50, channels)
    assert (pixels[:, 48:] == 128).all() and (pixels[:, :, :, 48:] == 128).all()
    tiles = pixels[:, :48:6, :, :48:6].reshape(16, 16, channels)
    np.testing.assert_array_equal(tiles, image_grid(images, 2))


@pytest.mark.parametrize("dimension", [1, 2])
def test_points(tmp_path, dimension):
    points = np.random.default_rng(0).standard_normal((50, dimension))
    save_picture(points, tmp_path / "a.png", 8)
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image.convert("L")).std() > 1


def test_other_shapes_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be drawn"):
        save_picture(np.zeros((3, 8, 8, 2)), tmp_path / "a.png", 8)
    assert not list(tmp_path.iterdir())
