"""Toy distributions in one and two dimensions.

The one-dimensional ones and the grid of 25 Gaussians are those of the papers (Choi et al.,
arXiv 2305.14777 and 2310.02611). The parameters of the other planar ones are not published;
here they have the scale of the grid, about [-4, 4]².
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from uotm_keras.data.dataset import PointDataset
from uotm_keras.utils.errors import InputError, unknown_name

__all__ = ["TOYS", "toy"]

_ONE_D, _TWO_D = 4_000, 50_000  # default numbers of points


def _mixture(weights: Any, means: Any, deviation: float) -> Callable[..., Any]:
    means = np.asarray(means, float)
    means = means[:, None] if means.ndim == 1 else means

    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        component = rng.choice(len(means), size=count, p=weights)
        noise = rng.standard_normal((count, means.shape[1]))
        return means[component] + deviation * noise, component

    return draw


def _equal(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def _circle(count: int, radius: float) -> np.ndarray:
    angles = 2 * np.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _grid(start: float, stop: float, step: float) -> np.ndarray:
    ticks = np.arange(start, stop + step / 2, step)
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


def _spiral(rng: np.random.Generator, count: int) -> tuple[np.ndarray, None]:
    """One and a half turns from the center to radius 4, noise 0.05."""
    fraction = np.sqrt(rng.uniform(size=count))  # √: evenly along the arm
    angle = 3 * np.pi * fraction
    arm = 4 * fraction[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return arm + 0.05 * rng.standard_normal((count, 2)), None


def _checkerboard(rng: np.random.Generator, count: int) -> tuple[np.ndarray, None]:
    """Uniform on 8 of the 16 squares of side 2 of [-4, 4]²."""
    column = rng.integers(0, 4, count)
    row = 2 * rng.integers(0, 2, count) + column % 2
    corner = 2.0 * np.stack([column, row], axis=1) - 4
    return corner + rng.uniform(0, 2, (count, 2)), None


def _moons(rng: np.random.Generator, count: int) -> tuple[np.ndarray, None]:
    """scikit-learn's two moons, noise 0.05, centered and doubled."""
    from sklearn.datasets import make_moons

    points, _ = make_moons(count, noise=0.05, random_state=int(rng.integers(2**31)))
    return 2 * (points - [0.5, 0.25]), None


_DRAWS: dict[str, tuple[Callable, int]] = {
    "gaussian_1d": (_mixture([1.0], [0.0], 1.0), _ONE_D),
    "gaussian_2d": (_mixture([1.0], [[0.0, 0.0]], 1.0), _TWO_D),
    "outliers_1d": (_mixture([0.99, 0.01], [1.0, -1.0], 0.1), _ONE_D),
    "outliers_1d_source": (_mixture([1.0], [0.0], 1.0), _ONE_D),
    "mixture_1d": (_mixture([2 / 3, 1 / 3], [2.0, -1.0], 0.5), _ONE_D),
    "mixture_1d_source": (_mixture([0.5, 0.5], [1.0, -1.0], 0.5), _ONE_D),
    "8gaussians": (_mixture(_equal(8), _circle(8, 4.0), np.sqrt(0.02)), _TWO_D),
    "25gaussians": (_mixture(_equal(25), _grid(-4, 4, 2), np.sqrt(0.02)), _TWO_D),
    "spiral": (_spiral, _TWO_D),
    "checkerboard": (_checkerboard, _TWO_D),
    "moons": (_moons, _TWO_D),
}
TOYS = tuple(_DRAWS)
MOST = 100_000_000
"""The largest number of points of a sample."""


def toy(name: str, count: int | None = None, seed: int = 0) -> PointDataset:
    """Draw a sample of a toy distribution.

    | name | distribution |
    |---|---|
    | gaussian_1d, gaussian_2d | N(0, I) |
    | outliers_1d, outliers_1d_source | 0.99 N(1, 0.1²) + 0.01 N(-1, 0.1²); N(0, 1) |
    | mixture_1d, mixture_1d_source | ⅔ N(2, ½²) + ⅓ N(-1, ½²); ½ N(1, ½²) + ½ N(-1, ½²) |
    | 8gaussians | variance 0.02, centers on the circle of radius 4 |
    | 25gaussians | variance 0.02, centers on the grid -4, -2, …, 4 |
    | spiral, checkerboard, moons | see the functions of this module |

    Args:
        name: one of `TOYS`.
        count: number of points, 1 to 100 000 000. Defaults to 4 000 in 1-D and 50 000 in 2-D.
        seed: seed of the sample (int, at least 0). Defaults to 0.

    Returns:
        Points, float32 (count, 1 or 2). Those of outliers_1d have known outliers.
    """
    if name not in _DRAWS:
        raise unknown_name("toy", name, TOYS)
    draw, default = _DRAWS[name]
    count = default if count is None else count
    if not 1 <= count <= MOST:
        raise InputError(f"toy:{name}:{count}: accepted is a count from 1 to {MOST} points.")
    if seed < 0:
        raise InputError(f"seed={seed}: accepted is a whole number, at least 0.")
    # The letters of the name are part of the seed, so that two toys are independent.
    rng = np.random.default_rng([seed, *name.encode()])
    points, component = draw(rng, count)
    outliers = np.flatnonzero(component == 1) if name == "outliers_1d" else None
    return PointDataset(points, f"toy:{name}", outliers)
