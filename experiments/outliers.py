"""Measure how much each method generates at the outliers of one-dimensional data.

    python -m experiments.outliers

The source is N(0, 1) and the data are 4,000 points of 0.99 N(1, 0.1²) + 0.01 N(−1, 0.1²), as in
figures 2 and 3 of the UOTM paper, and the same with the outliers at 8. The results are shown beside
those of the exact solutions."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from experiments import clouds, exact, methods
from experiments.cases import Cases
from experiments.command import Options, new_command, run, say
from experiments.figures import COLORS, GRAY, Figure, label, new_figure
from experiments.results import Results, Table, deviations, over_seeds
from uotm_keras.config import Enums, Float, Integer, flag
from uotm_keras.data import toy

_SHOWN = 3_000
PLACES = {"published": -1.0, "behind": 8.0}
"""Positions of the outliers: the paper's, near the source's left end, and far beyond the data."""


@dataclasses.dataclass(frozen=True)
class OutlierOptions(Options):
    """The flags of this experiment."""

    methods: tuple[str, ...] = flag(
        ("otm", "fixed_mu", "uotm"), Enums(*methods.METHODS), "Methods to compare."
    )
    places: tuple[str, ...] = flag(
        tuple(PLACES), Enums(*PLACES), "Positions of the outliers: published is −1, behind is 8."
    )
    tau: float = flag(0.1, Float(0, exclusive=True), "τ, the cost coefficient.")
    # Fewer points contain fewer than five outliers.
    data_points: int = flag(4_000, Integer(500, 10_000_000), "Number of data points.")
    points: int = flag(100_000, Integer(1, 100_000_000), "Number of samples to generate.")


COMMAND = new_command(__doc__, OutlierOptions)


@functools.cache
def exact_solution(method: str, tau: float, place: float) -> tuple[float, float, float]:
    """Return the share of T(x) at the outliers, the outliers' weight, and the duality gap.

    The solution is a plan between fine grids; the values are NaN for a method whose exact
    solution is not computed. OTM does not change the marginal of the data.
    """
    if method == "otm":
        return 0.01, 1.0, 0.0
    if method not in exact.FIXED_SOURCE:
        return (float("nan"),) * 3

    def grid(mean: float, deviation: float, bins: int) -> tuple[np.ndarray, np.ndarray]:
        edges = np.linspace(mean - 4 * deviation, mean + 4 * deviation, bins + 1)
        shares = np.diff(ndtr((edges - mean) / deviation))
        return (edges[1:] + edges[:-1]) / 2, shares / shares.sum()

    (x, p), (outliers, q0), (others, q1) = grid(0, 1, 160), grid(place, 0.1, 40), grid(1, 0.1, 40)
    y, q = np.concatenate([outliers, others]), np.concatenate([0.01 * q0, 0.99 * q1])
    cost = tau * (x[:, None] - y) ** 2
    plan, _, gap = exact.relaxed_plan(p, q, cost, exact.FIXED_SOURCE[method])
    there = exact.generated(plan, p)[: len(outliers)].sum()
    return float(there), float(plan[:, : len(outliers)].sum() / 0.01), gap


def measure(moved: np.ndarray, place: float) -> dict[str, float]:
    """Return shares of samples (n, 1) in percent, and the moments of those at the data."""
    moved = moved[:, 0]
    wrong = np.abs(moved - place) < np.abs(moved - 1.0)
    near = moved[~wrong] if not wrong.all() else np.full(1, np.nan)
    return {
        "generated": 100 * float(wrong.mean()),
        "gap": 100 * float(np.mean(np.abs(moved - (1.0 + place) / 2) < 0.5)),
        "mean": float(near.mean()), "deviation": float(near.std()),
    }  # fmt: skip


def case(place: str, method: str, seed: int, options: OutlierOptions) -> dict:
    """Train one method; return its row, and x and T(x, z) for the figure."""
    data = toy("outliers_1d", options.data_points, seed)
    at, points = PLACES[place], data.points.copy()
    points[data.outliers] += at - PLACES["published"]
    model = methods.build(
        method, 1, options.tau, options.iterations, width=options.width, generator_steps=4,
        generator_rate=1e-4, potential_rate=1e-4, seed=seed,
    )  # fmt: skip
    source = clouds.gaussian([0.0], [[1.0]])
    times = clouds.train(
        model, source, clouds.from_array(points), options.iterations, options.batch_size, seed
    )
    x = source(np.random.default_rng([seed, 2]), options.points).astype("float32")
    found = clouds.evaluate(model, x, points, seed)
    measured = measure(found.moved, at)
    row = {
        "place": place, "method": methods.METHODS[method].label, "seed": seed,
        "data": 100 * len(data.outliers) / len(data),
        "generated": measured["generated"], "gap": measured["gap"],
        "weight": float(found.target.weights[data.outliers].mean()),
        "others": float(np.delete(found.target.weights, data.outliers).mean()),
        "mean": measured["mean"], "deviation": measured["deviation"],
    }  # fmt: skip
    say(
        f"{place}, {method}, seed {seed}: {row['generated']:.3f} % at the outliers, "
        f"{times.wall:.0f} s"
    )
    row |= {"wall": times.wall, "cpu": times.cpu}
    return {"row": row, "points": [x[:_SHOWN], found.moved[:_SHOWN]] if seed == 0 else None}


def work(options: OutlierOptions, cases: Cases) -> Results | None:
    """Run all methods and seeds and return the results."""
    # First, so that a missing solver is reported before hours of training.
    solutions = {}
    if not cases.is_part:
        solutions = {
            (place, methods.METHODS[method].label): exact_solution(
                method, options.tau, PLACES[place]
            )
            for place in options.places
            for method in options.methods
        }
    runs, pictures = [], []
    for place in options.places:
        for method in options.methods:
            for seed in cases.seeds:
                found = cases.case((place, method, seed), case, place, method, seed, options)
                runs.append(found["row"])
                if found["points"]:
                    name = found["row"]["method"]
                    pictures.append((place, name, *map(np.array, found["points"])))
    if cases.is_part:
        return None
    columns = {
        "method": ("method", ""), "data": ("outliers in the data, %", ".2f"),
        "generated": ("generated at the outliers, %", ".3f"), "exact": ("… exact solution", ".2f"),
        "gap": ("generated in between, %", ".3f"),
        "weight": ("weight of the outliers", ".3f"), "exact_weight": ("… exact solution", ".3f"),
        "others": ("weight of the other data", ".3f"),
        "mean": ("mean of the other samples (data: 1)", ".3f"),
        "deviation": ("their standard deviation (data: 0.1)", ".3f"),
        "cpu": ("CPU seconds per run", ".0f"),
    }  # fmt: skip
    summary = over_seeds(runs, ["place", "method"])
    for row in summary:
        share, row["exact_weight"], _ = solutions[row["place"], row["method"]]
        row["exact"] = 100 * share
    tables = [
        Table(columns, [row for row in summary if row["place"] == place],
              f"Outliers at a = {PLACES[place]:g}")
        for place in options.places
    ]  # fmt: skip
    largest_gap = np.nanmax([gap for *_, gap in solutions.values()])
    text = f"""
The source is N(0, 1) and the data are {options.data_points:,} points of
0.99 N(1, 0.1²) + 0.01 N(a, 0.1²), with a = −1 as in the paper or a = 8. The cost is τ‖x − y‖² with
τ = {options.tau:g}. All methods use the same networks, {options.iterations:,} iterations of one
potential step and four generator steps on batches of {options.batch_size}, and Adam(0.9, 0.999)
with learning rates that decay from 1e-4 to 0. {deviations(options.seeds)}

Of {options.points:,} samples, those "at the outliers" are closer to a than to 1, and those "in
between" are within ½ of the midpoint. The weights are Ψ2*'(−v(y)) over the data. The exact
solutions are plans between grids of 160 and 80 points, with duality gaps of at most
{largest_gap:.0e}. Since a generator draws x from μ, the distribution that it generates is not the
target marginal of the plan.

At a = −1 the exact solutions of the relaxed problems generate more outliers than the data have.
The outliers are the data closest to the part of μ left of −1, so relaxed marginals send more mass
there. Outliers are left out if reaching them costs more than omitting them, as at a = 8.

The paper's figure shows no outliers for UOTM at a = −1. It was made by the authors' training, whose
loss, cost, schedule, and penalty differ. `released_outliers.md` repeats that training, which
generates no outliers here either, and shows which of its settings make the difference.

Two settings were rejected after runs of OTM alone: maps that do not start near the identity (no
samples at the outliers), and 2,000 iterations of five potential steps per generator step at
learning rates of 1e-3 (no samples at the outliers and 1.5 times the correct standard deviation: not
converged). In the present setting OTM reaches its exact solution at a = −1. At a = 8 its map never
reaches the outliers and has not converged either."""
    return Results(
        "One-dimensional outliers", text, tables, runs, _figure(pictures),
        "Transport x ↦ T(x, z) of each method (seed 0), as in the paper's figure, and beside it "
        "the distribution of the generated samples on a logarithmic scale.",
    )  # fmt: skip


def _figure(pictures: list[tuple]) -> Figure:
    places = list(dict.fromkeys(place for place, *_ in pictures))
    names = list(dict.fromkeys(name for _, name, *_ in pictures))
    figure, axes = new_figure(
        len(places), 2 * len(names), width=2.2, height=3.2, width_ratios=[3, 1] * len(names)
    )
    for place, name, x, moved in pictures:
        i, at = names.index(name), PLACES[place]
        row, last = axes[places.index(place)], place == places[-1]
        ax, side = row[2 * i : 2 * i + 2]
        limits = min(at, 0.0) - 0.5, max(at, 1.0) + 0.5
        bins = np.linspace(*limits, 61)
        ax.axhspan(at - 0.3, at + 0.3, color=GRAY, alpha=0.25, linewidth=0)
        ax.text(-3.3, at + 0.34 if at < 0 else at - 0.5, "outliers", fontsize=8, color="#555555")
        ax.plot(x, moved, ".", markersize=2, color=COLORS[i], alpha=0.5)
        ax.set(xlim=(-3.5, 3.5), ylim=limits)
        label(ax, "x from N(0, 1)" if last else "", "T(x, z)" if i == 0 else "", name)
        share = np.histogram(moved, bins)[0] / len(moved)
        side.barh((bins[1:] + bins[:-1]) / 2, share, height=bins[1] - bins[0], color=COLORS[i])
        side.set_xscale("log")
        side.set(ylim=limits, xlim=(2e-4, 1))
        side.tick_params(labelleft=False)
        label(side, "share" if last else "")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("outliers", COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
