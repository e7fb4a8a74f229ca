"""Histograms of weights and scatter plots of data, as SVG."""

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
    value_scale,
)

_BINS = 40
_LEAST = 2.5  # so high is a bar of a single example, beside one of thousands
_DOTS = 1500  # points of a scatter plot besides those that are marked


def draw_weights(weights: np.ndarray, known: np.ndarray) -> Markup:
    """How many examples have which weight; known outliers in a colour of their own.

    Args:
        weights: (n,), finite, at least 0.
        known: bool (n,), whether an example is known to be an outlier.
    """
    x = value_scale(weights, LEFT, WIDTH - RIGHT)
    if x.log:
        edges = np.geomspace(x.lower, x.upper, _BINS + 1)
    else:
        # None is left out here, however far out it is.
        room = 0.02 * (float(weights.max() - weights.min()) or 1.0)
        lower = max(0.0, float(weights.min()) - room)
        x = Scale(lower, float(weights.max()) + room, LEFT, WIDTH - RIGHT)
        edges = np.linspace(x.lower, x.upper, _BINS + 1)
    clean, mixed_in = (np.histogram(weights[part], edges)[0] for part in (~known, known))
    y = Scale(0, 1.05 * float((clean + mixed_in).max()), HEIGHT - BOTTOM, TOP)
    bars = []
    for left, right, below, above in zip(
        x.position(edges[:-1]), x.position(edges[1:]), clean, mixed_in, strict=True
    ):
        for kind, start, stop in (("clean", 0, below), ("known", below, below + above)):
            if stop > start:
                bottom = y.position(start)
                top = min(y.position(stop), bottom - _LEAST)
                bars.append(
                    Markup(
                        '<rect class="bar bar-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" '
                        'height="{:.1f}"/>'
                    ).format(kind, left + 0.5, top, max(right - left - 1, 0.5), bottom - top)
                )
    label = (
        f"Histogram of the weights of {len(weights)} training examples: lowest "
        f"{number(weights.min())}, median {number(np.median(weights))}, highest "
        f"{number(weights.max())}."
    )
    return drawing(label, frame(x, y, "weight"), *bars)


def draw_points(points: np.ndarray, weights: np.ndarray, lowest: int) -> Markup:
    """Data points, those with the lowest weights marked.

    Points of one dimension are drawn over their weight; of more, the first two are shown.

    Args:
        points: (n, d), in the ascending order of their weights.
        weights: (n,).
        lowest: how many are marked.
    """
    horizontal = points[:, 0]
    vertical = weights if points.shape[1] == 1 else points[:, 1]
    x = _around(horizontal, LEFT, WIDTH - RIGHT)
    y = _around(vertical, HEIGHT - BOTTOM, TOP)
    if points.shape[1] > 1:
        x, y = _of_one_unit(x, y)
    places = np.stack([x.position(horizontal), y.position(vertical)], axis=1)
    every = max(1, -(-len(points) // _DOTS))
    dots = [_dot(place, "data", 1.5) for place in places[lowest::every]]
    dots += [_dot(place, "lowest", 3) for place in places[:lowest]]
    label = f"{len(points)} training points; the {lowest} of the lowest weights are marked."
    x_label = "y" if points.shape[1] == 1 else "y₁"
    return drawing(label, frame(x, y, x_label), *dots)


def _around(values: np.ndarray, start: float, stop: float) -> Scale:
    lower, upper = float(values.min()), float(values.max())
    room = 0.04 * (upper - lower) or 1.0
    return Scale(lower - room, upper + room, start, stop)


def _of_one_unit(*scales: Scale) -> list[Scale]:
    """The scales with the same length for the same number, none of them with less on it."""
    unit = max((s.upper - s.lower) / abs(s.stop - s.start) for s in scales)
    widened = []
    for s in scales:
        middle, half = (s.lower + s.upper) / 2, unit * abs(s.stop - s.start) / 2
        widened.append(s._replace(lower=middle - half, upper=middle + half))
    return widened


def _dot(place: np.ndarray, kind: str, radius: float) -> Markup:
    return Markup('<circle class="dot dot-{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(
        kind, *place, radius
    )
