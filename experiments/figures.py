"""The common style of all figures: colors and markers that remain distinct without color vision."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# The palette of Okabe and Ito, ordered so that neighbors differ in lightness.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
GRAY = "#8C8C8C"


def new_figure(
    rows: int = 1, columns: int = 1, width: float = 3.6, height: float = 3.0, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, always a two-dimensional array.

    `width` and `height` are inches per panel; `options` are passed to `Figure.subplots`.
    """
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.tick_params(labelsize=8)
    return figure, axes


def label(ax: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Label the axes in the font size that all figures share."""
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    if title:
        ax.set_title(title, fontsize=10)
