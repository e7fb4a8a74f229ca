"""Save pictures of samples: a grid of images, or a plot of points."""

from pathlib import Path

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path

_TILE = 48  # Smaller images are enlarged, in pixels.
_GAP = 2  # Pixels between images.


def save_picture(
    samples: np.ndarray, path: Path, columns: int, axes_of: np.ndarray | None = None
) -> None:
    """Save a PNG picture of samples.

    One-dimensional points become a histogram; of others, the first two coordinates are shown.

    Args:
        samples: Images (n, H, W, C) in [−1, 1] with 1 or 3 channels, or points (n, d).
        path: The file. Its folder is created if it does not exist.
        columns: Images per row.
        axes_of: Points (m, d) from which the axes are taken, so that plots can be compared.
            The picture states how many samples are outside. Defaults to `samples`.

    Raises:
        InputError: If the file cannot be written or the samples have another shape.
    """
    if samples.ndim == 4 and samples.shape[-1] in (1, 3):
        _save_grid(samples, path, columns)
    elif samples.ndim == 2:
        _save_plot(samples, path, samples if axes_of is None else axes_of)
    else:
        raise InputError(
            f"samples of shape {samples.shape} cannot be drawn; give images (n, height, width, "
            "channels) with 1 or 3 channels, or points (n, d)."
        )


def side_by_side(before: np.ndarray, after: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """Arrange pairs of images for a grid.

    Args:
        before: Images (n, H, W, C).
        after: The image for each of them, of the same shape.
        columns: The wanted number of columns.

    Returns:
        The images (2n, H, W, C), pair by pair, and an even number of columns, so that each
        pair is in one row.
    """
    images = np.stack([before, after], 1).reshape(-1, *after.shape[1:])
    return images, max(2, columns - columns % 2)


def image_grid(images: np.ndarray, columns: int, gap: int = 0) -> np.ndarray:
    """Arrange images in a grid, row by row.

    Args:
        images: (n, H, W, C) in [−1, 1]; other values are clipped.
        columns: Images per row.
        gap: Pixels of mid-gray below and to the right of each image. Defaults to 0.

    Returns:
        Uint8 (rows·(H + gap), columns·(W + gap), C). Empty places are black.
    """
    images = np.pad(images, [(0, 0), (0, gap), (0, gap), (0, 0)])
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    grid = np.full((rows * columns, height, width, channels), -1.0, "float32")
    grid[:n] = images
    grid = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    grid = grid.reshape(rows * height, columns * width, channels)
    return np.round((np.clip(grid, -1.0, 1.0) + 1.0) * 127.5).astype("uint8")


def _save_grid(images: np.ndarray, path: Path, columns: int) -> None:
    from PIL import Image

    factor = max(1, -(-_TILE // images.shape[1]))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    grid = image_grid(images, columns, _GAP)
    with atomic_path(path) as temporary:
        Image.fromarray(grid.squeeze(-1) if grid.shape[-1] == 1 else grid).save(temporary)


def _save_plot(points: np.ndarray, path: Path, axes_of: np.ndarray) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lower, upper = axes_of[:, :2].min(axis=0), axes_of[:, :2].max(axis=0)
    room = 0.1 * (upper - lower) + 1e-6
    lower, upper = lower - room, upper + room
    if points.shape[1] == 1:
        axes.hist(points[:, 0], bins=100, range=(lower[0], upper[0]))
    else:
        axes.scatter(points[:, 0], points[:, 1], s=3)
        axes.set_aspect("equal")
        axes.set_ylim(lower[1], upper[1])
    axes.set_xlim(lower[0], upper[0])
    shown = points[:, :2]
    outside = int(((shown < lower) | (shown > upper)).any(axis=1).sum())
    if outside:
        axes.set_title(f"{outside} of {len(points)} are outside", fontsize="medium")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
