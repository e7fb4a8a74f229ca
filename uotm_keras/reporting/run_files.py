"""What a run page is made of, as it lies in the run's directory."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uotm_keras.training.run_directory import RunDirectory

POINTS = 1000
"""Points of a curve, at most; longer ones are thinned."""
GRIDS = 40
"""Sample grids on a page, at most."""
_GRID = re.compile(r"step_(\d+)\.png")


class Curve(NamedTuple):
    """One column of the log, without the lines that do not have it.

    Attributes:
        steps: int64 (n,), ascending.
        values: float64 (n,), finite.
        count: values in the log, of which n are here.
    """

    steps: np.ndarray
    values: np.ndarray
    count: int


class Grid(NamedTuple):
    """A picture of samples."""

    step: int
    path: Path


def curves(lines: Sequence[dict], limit: int = POINTS) -> dict[str, Curve]:
    """The numeric columns of the log, by name, in the order in which they first appear."""
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    found = {}
    for name in names:
        points = [(line["step"], line[name]) for line in lines if _is_number(line.get(name))]
        if points:
            steps, values = (
                np.array([s for s, _ in points]),
                np.array([v for _, v in points], float),
            )
            kept = thinned(values, limit)
            found[name] = Curve(steps[kept], values[kept], len(points))
    return found


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and bool(np.isfinite(value))


def thinned(values: np.ndarray, limit: int) -> np.ndarray:
    """Ascending indices of at most `limit` of n values, the first and the last among them.

    Between these two, of each of as many stretches as there is room for, the lowest and the
    highest value, so that no spike is lost.
    """
    n = len(values)
    if n <= limit:
        return np.arange(n)
    edges = np.linspace(1, n - 1, (limit - 2) // 2 + 1).astype(int)
    kept = {0, n - 1}
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        part = values[start:stop]
        kept |= {start + int(part.argmin()), start + int(part.argmax())}
    return np.array(sorted(kept))


def evenly(count: int, limit: int) -> list[int]:
    """Indices of at most `limit` of `count` things, the first and the last among them."""
    if count <= limit:
        return list(range(count))
    return np.linspace(0, count - 1, limit).round().astype(int).tolist()


def sample_grids(directory: RunDirectory, up_to: int | None = None) -> list[Grid]:
    """All pictures of samples, by step; those after the step `up_to` are left out."""
    if not directory.samples.is_dir():
        return []
    found = []
    for path in directory.samples.iterdir():
        match = _GRID.fullmatch(path.name)
        if match and (up_to is None or int(match[1]) <= up_to):
            found.append(Grid(int(match[1]), path))
    return sorted(found)


def best_checkpoint(directory: RunDirectory) -> dict | None:
    """The record of the best checkpoint by score, or None; its weights are not read."""
    for path in sorted(directory.checkpoints.glob("best_*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # being replaced
        if isinstance(record, dict) and {"step", "metric", "score"} <= record.keys():
            return record
    return None
