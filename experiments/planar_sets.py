"""How well points in the plane fit a toy dataset: modes and good samples."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_SIGMA = np.sqrt(0.02)
"""Standard deviation of the Gaussians of `uotm_keras.data.toys`."""

Modes = tuple[Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], int]
"""A function that returns each point's mode and whether the point is good; the number of modes."""


class Fit(NamedTuple):
    """The fraction of good samples, the number of modes found, and the number of modes."""

    good: float
    found: int
    modes: int


def _gaussian_modes(centers: np.ndarray) -> Modes:
    def assign(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance = np.linalg.norm(points[:, None] - centers[None], axis=-1)
        return distance.argmin(axis=1), distance.min(axis=1) < 3 * _SIGMA

    return assign, len(centers)


def _circle() -> np.ndarray:
    angles = 2 * np.pi * np.arange(8) / 8
    return 4 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _grid() -> np.ndarray:
    ticks = np.arange(-4, 5, 2)
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


def _spiral_modes(parts: int = 12) -> Modes:
    """Divide the arm 4f(cos 3πf, sin 3πf) into equal masses; good is within 3 deviations."""
    fraction = np.sqrt((np.arange(2400) + 0.5) / 2400)
    angle = 3 * np.pi * fraction
    arm = 4 * fraction[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def assign(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        squared = (
            np.sum(points**2, axis=1)[:, None] - 2 * points @ arm.T + np.sum(arm**2, axis=1)[None]
        )
        nearest = squared.argmin(axis=1)
        return nearest * parts // len(arm), squared.min(axis=1) < 0.15**2

    return assign, parts


def _squares() -> Modes:
    """The modes are the 8 black squares of the checkerboard."""

    def assign(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cell = np.floor((points + 4) / 2).astype(int)
        column, row = np.clip(cell, 0, 3).T
        inside = ((cell >= 0) & (cell < 4)).all(axis=1) & (row % 2 == column % 2)
        return column * 2 + row // 2, inside

    return assign, 8


_SETS = {
    "8gaussians": _gaussian_modes(_circle()),
    "25gaussians": _gaussian_modes(_grid()),
    "spiral": _spiral_modes(),
    "checkerboard": _squares(),
}


def fit(name: str, points: np.ndarray) -> Fit:
    """Return the fit of points (n, 2) to one of the toy datasets.

    A mode is found if it has at least a quarter of its expected number of good samples.
    """
    assign, modes = _SETS[name]
    mode, good = assign(np.asarray(points, "float64"))
    counts = np.bincount(mode[good], minlength=modes)
    found = int(np.sum(counts >= 0.25 * len(points) / modes))
    return Fit(float(good.mean()), found, modes)
