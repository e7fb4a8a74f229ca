"""Curves over the training steps, as SVG."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from uotm_keras.reporting.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    drawing,
    frame,
    number,
    step_scale,
    value_scale,
)
from uotm_keras.reporting.run_files import Curve

_FEW, _MANY = 40, 300  # so few points are marked one by one; so many need a thin line


class Line(NamedTuple):
    """A curve with its names.

    Attributes:
        name: the column of the log.
        label: for people.
        curve: the numbers.
        spread: the column of its standard deviation, drawn as a band, or None.
    """

    name: str
    label: str
    curve: Curve
    spread: Curve | None = None


class Chart(NamedTuple):
    """Lines on common axes.

    Attributes:
        title, unit: of what is shown; the unit labels the vertical axis.
        lines: up to four, which share the unit.
        note: a sentence below, or nothing.
    """

    title: str
    unit: str
    lines: Sequence[Line]
    note: str = ""

    @property
    def steps(self) -> tuple[int, int]:
        """The first and the last step that a line has."""
        first = min(line.curve.steps[0] for line in self.lines)
        return int(first), int(max(line.curve.steps[-1] for line in self.lines))

    def scale(self) -> Scale:
        """The vertical scale."""
        values = [line.curve.values for line in self.lines]
        for line in self.lines:
            if line.spread is not None:
                values += [bound for bound in _band(line)]
        return value_scale(np.concatenate(values), HEIGHT - BOTTOM, TOP)

    def outside(self) -> int:
        """Points that the vertical axis leaves out."""
        y = self.scale()
        return sum(
            int(((line.curve.values < y.lower) | (line.curve.values > y.upper)).sum())
            for line in self.lines
        )

    def summary(self) -> str:
        """The chart in words."""
        parts = [
            f"{line.label}: first {number(line.curve.values[0])}, lowest "
            f"{number(line.curve.values.min())}, highest {number(line.curve.values.max())}, last "
            f"{number(line.curve.values[-1])}"
            for line in self.lines
        ]
        return f"{self.title} over the training steps. {'; '.join(parts)}."


def draw(chart: Chart, last_step: int) -> Markup:
    """The chart as SVG, on a horizontal axis from step 0 to `last_step`.

    The attributes `data-*` have what a script needs to find a step under the pointer.
    """
    x, y = step_scale(0, last_step), chart.scale()
    parts = []
    for index, line in enumerate(chart.lines):
        if line.spread is not None:
            parts.append(_polygon(x, y, line, index))
        parts.append(_path(x, y, line.curve, index))
    return drawing(
        chart.summary(),
        frame(x, y, "training step"),
        _clipped(Markup("").join(parts)),
        data_lines=" ".join(line.name for line in chart.lines),
        data_x=f"{x.lower:g} {x.upper:g} {x.start:g} {x.stop:g}",
        data_y=f"{y.lower:.9g} {y.upper:.9g} {y.start:g} {y.stop:g}",
        data_log=int(y.log),
    )


def _clipped(drawn: Markup) -> Markup:
    """Cut off where the axes end, and a little more for marks on the edge."""
    box = (LEFT - 4, TOP - 4, WIDTH - LEFT - RIGHT + 8, HEIGHT - BOTTOM - TOP + 8)
    return Markup(
        '<svg x="{0}" y="{1}" width="{2}" height="{3}" viewBox="{0} {1} {2} {3}">{4}</svg>'
    ).format(*box, drawn)


def _path(x: Scale, y: Scale, curve: Curve, index: int) -> Markup:
    places = _places(x, y, curve.steps, curve.values)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    kind = " dense" if len(places) > _MANY else ""
    drawn = Markup('<polyline class="line line-{}{}" points="{}"/>').format(index, kind, points)
    if len(places) <= _FEW:
        drawn += Markup("").join(
            Markup('<circle class="mark mark-{}" cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(
                index, a, b
            )
            for a, b in places
        )
    return drawn


def _polygon(x: Scale, y: Scale, line: Line, index: int) -> Markup:
    low, high = _band(line)
    steps = line.spread.steps
    around = np.concatenate([_places(x, y, steps, low), _places(x, y, steps, high)[::-1]])
    return Markup('<polygon class="band band-{}" points="{}"/>').format(
        index, " ".join(f"{a:.1f},{b:.1f}" for a, b in around)
    )


def _band(line: Line) -> tuple[np.ndarray, np.ndarray]:
    """The value less and plus its deviation, at the steps of the deviation."""
    middle = np.interp(line.spread.steps, line.curve.steps, line.curve.values)
    return middle - line.spread.values, middle + line.spread.values


def _places(x: Scale, y: Scale, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    if y.log:
        values = np.maximum(values, y.lower / 10)
    # Far outside, a renderer may lose its precision.
    ys = np.clip(y.position(values), -HEIGHT, 2 * HEIGHT)
    return np.stack([x.position(steps.astype(float)), ys], axis=1)
