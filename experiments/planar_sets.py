"""How well points of a plane fit a toy data set: modes, good samples."""

from typing import NamedTuple

import numpy as np

from uotm_keras.utils.errors import unknown_name

_SIGMA = np.sqrt(0.02)
"""Deviation of the Gaussians of `data.toys`."""


class Fit(NamedTuple):
    """Shares of 1: `good` of the samples lie on the data set, `found` of its modes have some."""

    good: float
    found: int
    modes: int


def _gaussian_modes(centres: np.ndarray):
    def assign(points):
        distance = np.linalg.norm(points[:, None] - centres[None], axis=-1)
        return distance.argmin(axis=1), distance.min(axis=1) < 3 * _SIGMA

    return assign, len(centres)


def _circle() -> np.ndarray:
    angles = 2 * np.pi * np.arange(8) / 8
    return 4 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _grid() -> np.ndarray:
    ticks = np.arange(-4, 5, 2)
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


def _spiral_modes(parts: int = 12):
    """Parts of equal mass of the arm 4f(cos 3πf, sin 3πf); good is within 3 deviations."""
    fraction = np.sqrt((np.arange(2400) + 0.5) / 2400)
    angle = 3 * np.pi * fraction
    arm = 4 * fraction[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def assign(points):
        squared = (
            np.sum(points**2, axis=1)[:, None] - 2 * points @ arm.T + np.sum(arm**2, axis=1)[None]
        )
        nearest = squared.argmin(axis=1)
        return nearest * parts // len(arm), squared.min(axis=1) < 0.15**2

    return assign, parts


def _squares():
    """The 8 squares of the checkerboard."""

    def assign(points):
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
SETS = tuple(_SETS)


def fit(name: str, points: np.ndarray) -> Fit:
    """Of points (n, 2) to one of `SETS`.

    A mode is found if its good samples are at least a quarter of its fair share.

    Raises:
        InputError: unknown name.
    """
    if name not in _SETS:
        raise unknown_name("planar set", name, SETS)
    assign, modes = _SETS[name]
    mode, good = assign(np.asarray(points, "float64"))
    counts = np.bincount(mode[good], minlength=modes)
    found = int(np.sum(counts >= 0.25 * len(points) / modes))
    return Fit(float(good.mean()), found, modes)
