"""Axes of the run page's drawings: scales, ticks, and numbers as people read them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 50, 18, 10, 34
_NARROW_SPACE = "\u202f"
_MINUS = "\u2212"


class Scale(NamedTuple):
    """A stretch of numbers on a stretch of the drawing.

    Attributes:
        lower, upper: the numbers at its ends, lower < upper; above 0 where `log`.
        start, stop: where these are in the drawing.
        log: logarithmic.
    """

    lower: float
    upper: float
    start: float
    stop: float
    log: bool = False

    def position(self, values):
        """Where numbers are in the drawing; an array or a float, as given."""
        lower, upper = self.lower, self.upper
        if self.log:
            values, lower, upper = np.log(values), math.log(lower), math.log(upper)
        return self.start + (values - lower) / (upper - lower) * (self.stop - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers from end to end."""
        if self.log:
            decades = range(
                math.floor(math.log10(self.lower)), math.ceil(math.log10(self.upper)) + 1
            )
            every = max(1, len(decades) // about)
            marks = (1, 2, 5) if len(decades) <= 3 else (1,)
            found = [m * 10.0**d for d in decades[::every] for m in marks]
        else:
            found = _round_numbers(self.lower, self.upper, about + 1)
        slack = 1e-9 * (self.upper - self.lower)
        return [float(v) for v in found if self.lower - slack <= v <= self.upper + slack]


def _round_numbers(lower: float, upper: float, most: int) -> list[float]:
    """The multiples of 1, 2, 2.5 or 5 times a power of ten between two numbers.

    Of those steps the smallest that gives no more than `most`.
    """
    power = 10.0 ** math.floor(math.log10((upper - lower) / most))
    for step in (m * power for m in (1, 2, 2.5, 5, 10, 20)):
        first, last = math.ceil(lower / step - 1e-9), math.floor(upper / step + 1e-9)
        if last - first < most:
            break
    return [i * step for i in range(first, last + 1)]


def step_scale(lower: float, upper: float) -> Scale:
    """The horizontal scale of training steps."""
    return Scale(lower, max(upper, lower + 1), LEFT, WIDTH - RIGHT)


def value_scale(values: np.ndarray, start: float, stop: float, may_be_log: bool = True) -> Scale:
    """A scale on which values can be told apart.

    It is logarithmic for positive values of more than two decades. Where a few values are
    far out, as in the first steps, they are left outside: the stretch is then that of the
    middle 96 %, and some more.
    """
    inner = np.quantile(values, [0.02, 0.98]) if len(values) >= 50 else np.array([])
    lower, upper = float(values.min()), float(values.max())
    if may_be_log and lower > 0 and upper / lower > 100:
        return Scale(lower / 1.2, upper * 1.2, start, stop, log=True)
    if len(inner) and upper - lower > 6 * (inner[1] - inner[0]) > 0:
        slack = 0.5 * (inner[1] - inner[0])
        lower, upper = max(lower, inner[0] - slack), min(upper, inner[1] + slack)
    room = 0.06 * (upper - lower) or 0.05 * abs(upper) or 1.0
    # What cannot be negative is not drawn as if it could.
    least = 0.0 if lower >= 0 else -math.inf
    return Scale(max(lower - room, least), upper + room, start, stop)


def number(value: float) -> str:
    """Four significant digits, or all those before the point."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        text = f"{mantissa}e{int(exponent)}"
    elif size >= 1000:
        text = grouped(round(value))
    else:
        text = f"{value:.4g}"
    return text.replace("-", _MINUS)


def grouped(value: int) -> str:
    """A whole number, its thousands parted by narrow spaces from five digits on."""
    text = f"{value:,}" if abs(value) >= 10_000 else str(value)
    return text.replace(",", _NARROW_SPACE).replace("-", _MINUS)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """The ticks as text, short: 20k, 0.25, 1e-5."""
    largest = max((abs(tick) for tick in ticks), default=0)
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if largest >= 10 * size:
            return [_short(tick / size) + (letter if tick else "") for tick in ticks]
    small = any(0 < abs(tick) < 1e-3 for tick in ticks)
    return [_short(tick, small) for tick in ticks]


def _short(value: float, scientific: bool = False) -> str:
    if value and scientific:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", _MINUS)
    return f"{value:.6g}".replace("-", _MINUS)


def frame(x: Scale, y: Scale, x_label: str, x_ticks: int = 5) -> Markup:
    """Grid lines, ticks with their numbers, and the label of the horizontal axis.

    The vertical axis's label stands above the drawing, where it can be read.
    """
    parts = []
    for tick, label in _labelled(y.ticks(4)):
        at = y.position(tick)
        parts.append(
            Markup('<line class="rule" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, at, at
            )
        )
        parts.append(_text(LEFT - 6, at + 3.5, label, "end"))
    for tick, label in _labelled(x.ticks(x_ticks)):
        at = x.position(tick)
        parts.append(
            Markup('<line class="tick" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                at, at, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4
            )
        )
        parts.append(_text(at, HEIGHT - BOTTOM + 15, label, "middle"))
    parts.append(
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM
        )
    )
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, "middle"))
    return Markup("").join(parts)


def _labelled(ticks: list[float]) -> list[tuple[float, str]]:
    return list(zip(ticks, tick_labels(ticks), strict=True))


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def drawing(label: str, *parts: Markup, **attributes: object) -> Markup:
    """An SVG picture with a name for those who cannot see it."""
    extra = Markup("").join(
        Markup(' {}="{}"').format(name.replace("_", "-"), value)
        for name, value in attributes.items()
    )
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"{}>{}</svg>').format(
        WIDTH, HEIGHT, label, extra, Markup("").join(parts)
    )
