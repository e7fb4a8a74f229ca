"""Pictures of samples: a grid of images, a scatter of points."""

from pathlib import Path

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path

_TILE = 48  # pixels below which a tile is enlarged
_GAP = 2


def save_picture(
    samples: np.ndarray, path: Path, columns: int, axes_of: np.ndarray | None = None
) -> None:
    """Writes a PNG of samples.

    Args:
        samples: images (n, H, W, 1 or 3) in [−1, 1], or points (n, 1) or (n, 2 or more).
        path: the file, of which the folder is made if need be.
        columns: images a row.
        axes_of: points whose scatter has axes that this one shall have too, so that the two
            can be compared; the picture says how many samples lie outside.

    Raises:
        InputError: the file cannot be written, or samples have another shape.
    """
    if samples.ndim == 4 and samples.shape[-1] in (1, 3):
        _save_grid(samples, path, columns)
    elif samples.ndim == 2:
        _save_scatter(samples, path, samples if axes_of is None else axes_of)
    else:
        raise InputError(
            f"samples of shape {samples.shape} have no picture: accepted are images "
            "(n, height, width, 1 or 3) and points (n, d)."
        )


def side_by_side(before: np.ndarray, after: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """Pairs (n, H, W, C) as 2n images of a grid, and its columns, so that none is split."""
    images = np.stack([before, after], 1).reshape(-1, *after.shape[1:])
    return images, max(2, columns - columns % 2)


def image_grid(images: np.ndarray, columns: int, gap: int = 0) -> np.ndarray:
    """Images (n, H, W, C) in [−1, 1] side by side: uint8 (rows·(H + gap), columns·(W + gap), C).

    The gap, in pixels, is below and on the right of each image, in mid grey.
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


def _save_scatter(points: np.ndarray, path: Path, axes_of: np.ndarray) -> None:
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
        axes.set_title(f"{outside} of {len(points)} lie outside", fontsize="medium")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
