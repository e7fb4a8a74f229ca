"""Draw the charts of the run page with matplotlib, as SVG that the page's style sheet colors.

matplotlib decides where everything is. Colors, line widths and fonts come from `page.css`, so
that a figure follows the dark mode and the print mode of the page, and the page's content
security policy, which forbids inline styles, holds.
"""

import contextlib
import functools
import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from uotm_keras.reporting.charts import Chart, Limits, value_limits
from uotm_keras.reporting.formatting import number

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 50, 18, 10, 34
"""Margins around the axes, in units of the view box (points, for matplotlib)."""
_FEW, _MANY = 40, 300  # Points up to which each has a mark; from which the line is thin.
_BINS = 40
_LOWEST_BAR = 3.0  # Height of the bar of a single example next to one of thousands.
_DOTS = 1500  # Points of a scatter plot, without the marked ones.
_CLASS = "class:"  # Prefix of our gids, which become classes; matplotlib's own are dropped.


@contextlib.contextmanager
def _default_style() -> Iterator[None]:
    """Set matplotlib's default parameters, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@_default_style()
def draw_curves(chart: Chart, last_step: int, key: str) -> Markup:
    """Draw a chart over the training steps.

    Args:
        chart: The lines.
        last_step: The end of the horizontal axis, which starts at step 0.
        key: Unique on the page; the ids inside the SVG derive from it.

    Returns:
        An `<svg>` element. Its `data-*` attributes give a script what it needs to find the
        step under the pointer: the columns and both axes as "lower upper start stop".
    """
    x, y = Limits(0, max(last_step, 1)), chart.limits()
    axes = _axes(x, y, "training step", integer=True)
    for index, line in enumerate(chart.lines):
        if line.spread is not None:
            steps, (low, high) = line.spread.steps, line.band()
            band = axes.fill(np.append(steps, steps[::-1]), np.append(low, high[::-1]), "k")
            _style(band[0], f"band line-{index}")
        count = len(line.curve.steps)
        (drawn,) = axes.plot(
            line.curve.steps,
            line.curve.values,
            "k",
            marker="o" if count <= _FEW else "",
            markersize=5.2,
        )
        _style(drawn, f"line line-{index}{' dense' if count > _MANY else ''}")
    names = " ".join(line.name for line in chart.lines)
    return _svg(axes, key, chart.title, chart.summary(), {
        "data-lines": names,
        "data-x": f"{x.lower:g} {x.upper:.9g} {LEFT} {WIDTH - RIGHT}",
        "data-y": f"{y.lower:.9g} {y.upper:.9g} {HEIGHT - BOTTOM} {TOP}",
        "data-log": str(int(y.log)),
    })  # fmt: skip


@_default_style()
def draw_weights(weights: np.ndarray, known: np.ndarray, key: str) -> Markup:
    """Draw a histogram of weights, in which known outliers have a color of their own.

    Args:
        weights: (n,), finite, at least 0.
        known: Bool (n,): whether an example is known to be an outlier.
        key: See `draw_curves`.
    """
    x = value_limits(weights)
    if not x.log:  # Every example is shown, however far it is from the others.
        low, high = float(weights.min()), float(weights.max())
        margin = 0.02 * (high - low or 1.0)
        x = Limits(max(0.0, low - margin) if low >= 0 else low - margin, high + margin)
    edges = (np.geomspace if x.log else np.linspace)(x.lower, x.upper, _BINS + 1)
    clean, outliers = (np.histogram(weights[part], edges)[0] for part in (~known, known))
    y = Limits(0, 1.05 * float((clean + outliers).max()))
    lowest = _LOWEST_BAR * y.upper / (HEIGHT - TOP - BOTTOM)
    axes = _axes(x, y, "weight")
    for kind, count, base in (("clean", clean, 0 * clean), ("known", outliers, clean)):
        some = count > 0
        bars = axes.bar(
            edges[:-1][some], np.maximum(count, lowest)[some], np.diff(edges)[some], base[some],
            align="edge", color="k",
        )  # fmt: skip
        for bar in bars:
            _style(bar, f"bar bar-{kind}")
    summary = (
        f"Histogram of the weights of {len(weights)} training examples: lowest "
        f"{number(weights.min())}, median {number(float(np.median(weights)))}, highest "
        f"{number(weights.max())}."
    )
    return _svg(axes, key, "Weights", summary)


@_default_style()
def draw_points(points: np.ndarray, weights: np.ndarray, lowest: int, key: str) -> Markup:
    """Draw a scatter plot of data points that marks those with the lowest weights.

    One-dimensional points are drawn over their weights; of others, the first two coordinates
    are shown.

    Args:
        points: (n, d), in ascending order of their weights.
        weights: (n,).
        lowest: The number of points to mark.
        key: See `draw_curves`.
    """
    flat = points.shape[1] == 1
    horizontal, vertical = points[:, 0], weights if flat else points[:, 1]
    x, y = _around(horizontal), _around(vertical)
    if not flat:  # One unit has the same length on both axes.
        box = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)
        unit = max((x.upper - x.lower) / box[0], (y.upper - y.lower) / box[1])
        x, y = (_widened(limits, unit * length) for limits, length in zip((x, y), box, strict=True))
    axes = _axes(x, y, "y" if flat else "y₁")
    every = max(1, -(-len(points) // _DOTS))
    for name, size, shown in (
        ("data", 3, slice(lowest, None, every)),
        ("lowest", 6, slice(lowest)),
    ):
        (dots,) = axes.plot(horizontal[shown], vertical[shown], "ok", markersize=size)
        _style(dots, f"dot dot-{name}")
    summary = f"{len(points)} training points; the {lowest} with the lowest weights are marked."
    return _svg(axes, key, "Points of lowest weight", summary)


def _around(values: np.ndarray) -> Limits:
    lower, upper = float(values.min()), float(values.max())
    margin = 0.04 * (upper - lower) or 1.0
    return Limits(lower - margin, upper + margin)


def _widened(limits: Limits, span: float) -> Limits:
    middle = (limits.lower + limits.upper) / 2
    return Limits(middle - span / 2, middle + span / 2)


class _TickLabels(Formatter):
    """Short labels: 0.25, 2e−5, and 20k on an axis that reaches ten thousand."""

    def __call__(self, value: float, pos: int | None = None) -> str:
        sizes = np.abs(self.locs)
        largest = sizes.max(initial=0)
        if abs(value) <= 1e-9 * largest:  # Zero, but for rounding.
            return "0"
        if 1e4 <= largest < 1e15 and abs(value) >= 1e3:
            return str(EngFormatter(sep="")(value))
        if largest >= 1e15 or ((sizes > 1e-9 * largest) & (sizes < 1e-3)).any():
            return number(value, exponent_below=1)
        return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


@functools.cache
def _shared_axes() -> Axes:
    """Return axes that all figures share: making them takes longer than drawing them."""
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    width, height = 1 - (LEFT + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / HEIGHT
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, width, height))
    axes.spines[["left", "top", "right"]].set_visible(False)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(axis="x", labelsize=11, length=4)
    axes.tick_params(axis="y", labelsize=11, length=0)
    axes.xaxis.label.set_fontsize(11)
    axes.xaxis.set_label_coords(0.5, -0.128)
    axes.xaxis.grid(False)
    axes.yaxis.grid(True)
    axes.set_axisbelow(True)
    for artist, name in ((axes.xaxis, "x-axis"), (axes.yaxis, "y-axis")):
        _style(artist, name)
    _style(axes.spines["bottom"], "axis")
    return axes


def _axes(x: Limits, y: Limits, x_label: str, integer: bool = False) -> Axes:
    """Return empty axes; the page writes the label of the vertical axis above the figure."""
    axes = _shared_axes()
    for artist in (*axes.lines, *axes.patches):
        artist.remove()
    for axis, limits, name, most in ((axes.xaxis, x, "x", 7), (axes.yaxis, y, "y", 6)):
        axes.set(**{f"{name}scale": "log" if limits.log else "linear"})
        if limits.log:
            axis.set_major_locator(LogLocator(numticks=most + 1))
            axis.set_minor_locator(NullLocator())
        else:
            axis.set_major_locator(
                MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=integer and name == "x")
            )
        axis.set_major_formatter(_TickLabels())
    axes.set(xlim=x[:2], ylim=y[:2], xlabel=x_label)
    return axes


def _style(artist: Artist, classes: str) -> None:
    artist.set_gid(_CLASS + classes)
    if artist.get_clip_on() and artist.get_clip_box() is not None:
        # Marks on the edge of the axes are drawn whole.
        room = ((LEFT - 4, BOTTOM - 4), (WIDTH - RIGHT + 4, HEIGHT - TOP + 4))
        artist.set_clip_box(Bbox(room))


def _svg(
    axes: Axes, key: str, title: str, summary: str, attributes: dict[str, str] | None = None
) -> Markup:
    """Return the figure as an `<svg>` element without styles, metadata and foreign ids."""
    buffer = io.StringIO()
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": key}
    FigureCanvasSVG(axes.get_figure(root=True)).print_svg(buffer, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    figure = next(element for element in root if element.get("id", "").startswith("figure"))
    clips = [element for element in root if element.find("*/{*}rect") is not None]
    svg = ElementTree.Element("svg", {
        "viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": title,
        **(attributes or {}),
    })  # fmt: skip
    ElementTree.SubElement(svg, "desc").text = summary
    svg.extend([*clips, figure])
    for element in [child for part in (*clips, figure) for child in part.iter()]:
        _simplify(element)
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _simplify(element: ElementTree.Element) -> None:
    """Keep what a browser needs: geometry, our classes, references, and the text's anchor."""
    element.tag = element.tag.rpartition("}")[2]
    if not (element.text or "").strip():
        element.text = None
    element.tail = None
    found, element.attrib = element.attrib, {}
    for name, value in found.items():
        name = name.rpartition("}")[2]
        if name == "id" and value.startswith(_CLASS):
            element.set("class", value.removeprefix(_CLASS))
        elif name == "d":
            element.set("d", re.sub(r"\s+(?:L\s+)?", " ", _rounded(value)).strip())
        elif name in ("x", "y", "width", "height"):
            element.set(name, _rounded(value))
        elif name in ("href", "clip-path") or name == "id" and element.tag != "g":
            element.set(name, value)
        elif name == "style" and (anchor := re.search(r"text-anchor: (\w+)", value)):
            element.set("text-anchor", anchor[1])


def _rounded(numbers: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), numbers)
