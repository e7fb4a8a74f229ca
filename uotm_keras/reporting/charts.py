"""The charts of the run page: which columns of the log share a chart, and its axis."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from uotm_keras.metrics.scorer import LABELS
from uotm_keras.reporting.formatting import number
from uotm_keras.reporting.run_files import Curve


class ChartSpec(NamedTuple):
    """Columns of the log that are drawn in one chart.

    Attributes:
        title: The heading.
        unit: What the vertical axis shows.
        columns: Up to four columns of the log that share the unit.
    """

    title: str
    unit: str
    columns: tuple[str, ...]


class Limits(NamedTuple):
    """The range of an axis, `lower` < `upper`; both are positive on a logarithmic axis."""

    lower: float
    upper: float
    log: bool = False


class Line(NamedTuple):
    """One curve of a chart.

    Attributes:
        name: The column of the log.
        label: Its name in the legend.
        curve: The values.
        spread: The column of the standard deviation, drawn as a band, or None.
    """

    name: str
    label: str
    curve: Curve
    spread: Curve | None = None

    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the value minus and plus its standard deviation, at the steps of `spread`."""
        assert self.spread is not None
        middle = np.interp(self.spread.steps, self.curve.steps, self.curve.values)
        return middle - self.spread.values, middle + self.spread.values


class Chart(NamedTuple):
    """Lines on common axes, with their title and unit."""

    title: str
    unit: str
    lines: Sequence[Line]

    @property
    def last_step(self) -> int:
        """The last step of any line."""
        return int(max(line.curve.steps[-1] for line in self.lines))

    def limits(self) -> Limits:
        """Return the range of the vertical axis."""
        values = [line.curve.values for line in self.lines]
        for line in self.lines:
            if line.spread is not None:
                values += line.band()
        return value_limits(np.concatenate(values))

    def notes(self) -> list[str]:
        """Return what a reader must know about the vertical axis."""
        limits, notes = self.limits(), []
        outside = sum(
            int(((line.curve.values < limits.lower) | (line.curve.values > limits.upper)).sum())
            for line in self.lines
        )
        if limits.log:
            notes.append("logarithmic axis")
        if outside:
            notes.append(f"{outside} {'point' if outside == 1 else 'points'} outside the axis")
        return notes

    def summary(self) -> str:
        """Describe the chart in words, for screen readers."""
        parts = [
            f"{line.label}: first {number(line.curve.values[0])}, lowest "
            f"{number(line.curve.values.min())}, highest {number(line.curve.values.max())}, last "
            f"{number(line.curve.values[-1])}"
            for line in self.lines
        ]
        return f"{self.title} by training step. {'; '.join(parts)}."


_TRAINING = (
    ChartSpec("Losses", "loss, no unit", ("potential_loss", "generator_loss")),
    ChartSpec("Transport cost", "mean of c(x, T(x, z))", ("cost",)),
    ChartSpec("Gradient penalty", "as in the potential's loss, no unit", ("penalty",)),
    ChartSpec("Masses of the marginals", "relative to μ and ν", ("source_mass", "target_mass")),
    ChartSpec("Skipped updates", "updates per line of the log", ("skipped_updates",)),
    ChartSpec("Learning rates", "learning rate, no unit", ("generator_lr", "potential_lr")),
    ChartSpec("Scale of the divergences", "α, no unit", ("alpha",)),
    ChartSpec("EMA of the generator", "decay rate per step", ("ema_decay",)),
)
_SCORES = (
    ChartSpec("FID", "Fréchet distance, lower is better", ("fid",)),
    ChartSpec("KID", "squared MMD, lower is better", ("kid",)),
    ChartSpec("Inception Score", "higher is better", ("is",)),
    ChartSpec("Digit Fréchet distance, not FID", "distance, lower is better", ("digits",)),
    ChartSpec(
        "Own-feature Fréchet distance, not FID", "distance, lower is better", ("own", "own_real")
    ),
    ChartSpec("Precision and recall", "fraction, higher is better", ("precision", "recall")),
    ChartSpec("Density and coverage", "higher is better", ("density", "coverage")),
)
_MACHINE = (
    ChartSpec("Throughput", "images / s", ("images_per_second",)),
    ChartSpec("Process memory", "MiB", ("memory_mb",)),
)
# Only in the table: columns that repeat another curve, or that are no curve.
_NOT_DRAWN = {"steps_per_second", "seconds", "score_samples"}
_SCHEDULES = ("generator_lr", "potential_lr", "alpha", "ema_decay")
_DULL = {"penalty": 0.0, "skipped_updates": 0.0, "source_mass": 1.0, "target_mass": 1.0}
"""Values at which a column that never changes has no chart: there is nothing to see."""
_LABELS: dict[str, str] = {
    **LABELS,
    "own": "samples against real",
    "own_real": "real against real",
    "potential_loss": "potential",
    "generator_loss": "generator",
    "cost": "transport cost",
    "penalty": "gradient penalty",
    "source_mass": "source",
    "target_mass": "target",
    "skipped_updates": "skipped updates",
    "generator_lr": "generator",
    "potential_lr": "potential",
    "alpha": "α",
    "ema_decay": "decay rate",
    "images_per_second": "images / s",
    "memory_mb": "memory, MiB",
}


def training_charts(curves: Mapping[str, Curve]) -> list[Chart]:
    """Return the losses and their terms, schedules that change, then unknown columns."""
    known = {name for spec in (*_TRAINING, *_SCORES, *_MACHINE) for name in spec.columns}
    spreads = {f"{name}_std" for name in known}
    others = [
        ChartSpec(name.replace("_", " "), "as logged", (name,))
        for name in curves
        if name not in known | spreads | _NOT_DRAWN
    ]
    return _charts(curves, (*_TRAINING, *others))


def score_charts(curves: Mapping[str, Curve]) -> list[Chart]:
    """Return one chart per score, or per pair of scores that belong together."""
    return _charts(curves, _SCORES)


def machine_charts(curves: Mapping[str, Curve]) -> list[Chart]:
    """Return throughput and memory."""
    return _charts(curves, _MACHINE)


def constants(curves: Mapping[str, Curve]) -> dict[str, float]:
    """Return the columns that have no chart because they never changed."""
    found = {name: curves[name] for name in _SCHEDULES if name in curves}
    return {name: float(c.values[0]) for name, c in found.items() if _is_constant(c)}


def value_limits(values: np.ndarray) -> Limits:
    """Return an axis range on which the values can be told apart.

    The axis is logarithmic if all values are positive and span more than two decades. If a
    few of at least 50 values are far from the others, as in the first steps of training, the
    range is that of the central 96 % plus a margin, and those few are outside.
    """
    inner = np.quantile(values, [0.02, 0.98]) if len(values) >= 50 else np.zeros(2)
    lower, upper = float(values.min()), float(values.max())
    if lower > 0 and upper / lower > 100:
        return Limits(lower / 1.2, upper * 1.2, log=True)
    spread = float(inner[1] - inner[0])
    if upper - lower > 6 * spread > 0:
        lower = max(lower, float(inner[0]) - 0.5 * spread)
        upper = min(upper, float(inner[1]) + 0.5 * spread)
    margin = 0.06 * (upper - lower) or 0.05 * abs(upper) or 1.0
    # The axis of a quantity without negative values starts at 0 or above.
    floor = 0.0 if lower >= 0 else -math.inf
    return Limits(max(lower - margin, floor), upper + margin)


def _charts(curves: Mapping[str, Curve], specs: Iterable[ChartSpec]) -> list[Chart]:
    charts = []
    for spec in specs:
        present = [name for name in spec.columns if name in curves]
        if not present or all(_is_dull(name, curves[name]) for name in present):
            continue
        lines = [
            Line(name, _LABELS.get(name, spec.title), curves[name], _spread(curves, name))
            for name in present
        ]
        charts.append(Chart(spec.title, spec.unit, lines))
    return charts


def _spread(curves: Mapping[str, Curve], name: str) -> Curve | None:
    spread = curves.get(f"{name}_std")
    return spread if spread is not None and len(spread.steps) == len(curves[name].steps) else None


def _is_dull(name: str, curve: Curve) -> bool:
    return _is_constant(curve) and (name in _SCHEDULES or curve.values[0] == _DULL.get(name))


def _is_constant(curve: Curve) -> bool:
    return bool(np.ptp(curve.values) == 0)
