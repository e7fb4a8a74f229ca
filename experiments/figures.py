"""One look for all figures: colours and markers that stay apart without colour vision."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# Okabe and Ito's palette, in an order whose lightness differs between neighbours.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
GREY = "#8C8C8C"


def new_figure(rows: int = 1, columns: int = 1, width: float = 3.6, height: float = 3.0, **options):
    """A figure and its axes (always a two-dimensional array)."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False,
        layout="constrained", **options,
    )  # fmt: skip
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.tick_params(labelsize=8)
    return figure, axes


def label(ax, x: str = "", y: str = "", title: str = "") -> None:
    """Names of the axes, in the size that all figures have."""
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    if title:
        ax.set_title(title, fontsize=10)
