"""Read what a run page shows from the run's directory."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uotm_keras.training.run_directory import RunDirectory

POINTS = 1000
"""The maximum number of points of a curve; longer curves are thinned."""
GRIDS = 40
"""The maximum number of sample grids on a page."""
_PAGE_STEP = re.compile(r'id="run-data">[^<]*"step": (\d{1,18})\b')
_GRID = re.compile(r"step_(\d+)\.png")


class Curve(NamedTuple):
    """One column of the log, without the lines that lack it.

    Attributes:
        steps: Int64 (n,): the training steps, ascending.
        values: Float64 (n,): the finite values at these steps.
    """

    steps: np.ndarray
    values: np.ndarray


class Grid(NamedTuple):
    """A picture of the samples at one training step."""

    step: int
    path: Path


def curves(lines: Sequence[dict], limit: int = POINTS) -> dict[str, Curve]:
    """Return the numeric columns of the log by name, in order of first appearance."""
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    found = {}
    for name in names:
        points = [(line["step"], line[name]) for line in lines if is_number(line.get(name))]
        if points:
            steps, values = (
                np.array([s for s, _ in points]),
                np.array([v for _, v in points], float),
            )
            kept = thinned(values, limit)
            found[name] = Curve(steps[kept], values[kept])
    return found


def skipped_files(directory: RunDirectory) -> list[tuple[str, str]]:
    """Return the data files that could not be used, as (path, reason)."""
    try:
        with open(directory.skipped, encoding="utf-8", newline="") as file:
            return [(row["path"], row["reason"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, csv.Error):
        return []


def is_number(value: Any) -> bool:
    """Return whether a value of the log is a number that can be drawn."""
    # The difference of two values must be finite too.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < 1e300


def thinned(values: np.ndarray, limit: int) -> np.ndarray:
    """Choose at most `limit` of n values such that no spike is lost.

    Args:
        values: (n,).
        limit: The maximum number of values to keep.

    Returns:
        Ascending indices: the first, the last, and the minimum and maximum of each of
        (limit − 2) / 2 equal intervals between them.
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


def page_step(directory: RunDirectory) -> int | None:
    """Return the training step that the run's page shows, or None without a readable page."""
    try:
        text = directory.page.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    match = _PAGE_STEP.search(text)
    return int(match[1]) if match else None


def evenly(count: int, limit: int) -> list[int]:
    """Return at most `limit` evenly spaced indices below `count`, with the first and the last."""
    if count <= limit:
        return list(range(count))
    return np.linspace(0, count - 1, limit).round().astype(int).tolist()


def sample_grids(directory: RunDirectory) -> list[Grid]:
    """Return all sample grids, ordered by step."""
    if not directory.samples.is_dir():
        return []
    found = []
    for path in directory.samples.iterdir():
        match = _GRID.fullmatch(path.name)
        if match:
            found.append(Grid(int(match[1]), path))
    return sorted(found)


def best_checkpoint(directory: RunDirectory) -> dict | None:
    """Return the record of the checkpoint with the best score, or None; weights are not read."""
    for path in sorted(directory.checkpoints.glob("best_*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # It is being replaced, or damaged.
        if (
            isinstance(record, dict)
            and type(record.get("step")) is int
            and isinstance(record.get("metric"), str)
            and is_number(record.get("score"))
        ):
            return record
    return None
