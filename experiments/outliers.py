"""One-dimensional outliers: how much of what is generated lies at the outliers of the data.

    python -m experiments.outliers

μ = N(0, 1), ν = 0.99 N(1, 0.1²) + 0.01 N(−1, 0.1²), 4 000 points (UOTM, figures 2 and 3)."""

import numpy as np

from experiments import clouds, methods
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.figures import COLOURS, GREY, label, new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras.cli.parsing import Names, Number, WholeNumber
from uotm_keras.data.toys import toy

LEAST_POINTS = 500
"""Of the data: fewer hold less than five outliers."""
_SHOWN = 3_000
BORDER = 0.0
"""Halfway between the data and the outliers."""


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=2_000)
    c.add("methods", Names(*methods.METHODS), ["otm", "fixed_mu", "uotm"], "Compared.")
    c.add("tau", Number(0, above=True), 0.1, "τ of the cost.")
    c.add("data_points", WholeNumber(1, 10_000_000), 4_000, "Of the data.")
    c.add("points", WholeNumber(1, 100_000_000), 100_000, "Generated, to measure on.")
    return c


def case(method: str, seed: int, flags: dict) -> dict:
    """One training: its row, and x and T(x, z) for the picture."""
    data = toy("outliers_1d", flags["data_points"], seed)
    model = methods.build(
        method, 1, flags["tau"], flags["iterations"], width=flags["width"],
        potential_steps=5, seed=seed,
    )  # fmt: skip
    source = clouds.gaussian([0.0], [[1.0]])
    times = clouds.train(
        model, source, clouds.from_array(data.points),
        flags["iterations"], flags["batch_size"], seed,
    )  # fmt: skip
    x = source(np.random.default_rng([seed, 2]), flags["points"]).astype("float32")
    found = clouds.read(model, x, data.points, seed)
    wrong = found.moved[:, 0] < BORDER
    row = {
        "method": methods.METHODS[method].label, "seed": seed,
        "data": 100 * len(data.outliers) / len(data),
        "generated": 100 * float(wrong.mean()),
        "gap": 100 * float(np.mean(np.abs(found.moved[:, 0]) < 0.5)),
        "weight": float(found.target_weights[data.outliers].mean()),
        "others": float(np.delete(found.target_weights, data.outliers).mean()),
        "mean": float(found.moved[~wrong].mean()), "deviation": float(found.moved[~wrong].std()),
    }  # fmt: skip
    say(f"{method}, seed {seed}: {row['generated']:.3f} % at the outliers, {times.wall:.0f} s")
    row |= {"wall": times.wall, "cpu": times.cpu}
    return {"row": row, "points": [x[:_SHOWN], found.moved[:_SHOWN]] if seed == 0 else None}


def work(flags: dict, cases: Cases) -> Results | None:
    """All methods and seeds."""
    clouds.need_points(flags["data_points"], LEAST_POINTS, "data_points")
    runs, pictures = [], []
    for method in flags["methods"]:
        for seed in cases.seeds:
            found = cases.case((method, seed), case, method, seed, flags)
            runs.append(found["row"])
            if found["points"]:
                pictures.append((found["row"]["method"], *map(np.array, found["points"])))
    if cases.is_part:
        return None
    table = Table(
        {
            "method": ("method", ""), "data": ("outliers in the data, %", ".2f"),
            "generated": ("generated at the outliers, %", ".3f"),
            "gap": ("generated in between, %", ".3f"),
            "weight": ("weight of outliers", ".3f"), "others": ("of the others", ".3f"),
            "mean": ("mean of the rest (1)", ".3f"),
            "deviation": ("deviation of the rest (0.1)", ".3f"),
            "wall": ("s a run", ".0f"), "cpu": ("CPU s", ".0f"),
        },
        over_seeds(runs, ["method"]),
    )  # fmt: skip
    text = f"""
μ = N(0, 1); the data are {flags["data_points"]} points of 0.99 N(1, 0.1²) + 0.01 N(−1, 0.1²);
τ = {flags["tau"]:g}. All methods: the same networks, {flags["iterations"]} iterations of 5
potential steps and a generator step, batches of {flags["batch_size"]}, the same seeds
({flags["seeds"]}; means ± standard deviations). "At the outliers" is T(x, z) < 0, "in between"
|T(x, z)| < ½, of {flags["points"]} samples; weights are Ψ2*'(−v(y)) over the data.

The maps start near the identity. In a first try with maps that did not (2 000 iterations), OTM
generated nothing at all at the outliers, in three seeds of three: its map had not got there, which
is no robustness. The setting was changed once for this, before any other method had been run."""
    return Results(
        "Outliers on a line", text, [table], runs, _figure(pictures),
        "Transport x ↦ T(x, z) of each method (seed 0), as in the paper's figure; beside it the "
        "share of what is generated, on a logarithmic scale.",
    )  # fmt: skip


def _figure(pictures):
    figure, axes = new_figure(
        1, 2 * len(pictures), width=2.2, height=3.2, width_ratios=[3, 1] * len(pictures)
    )
    bins = np.linspace(-1.5, 1.5, 61)
    for i, (name, x, moved) in enumerate(pictures):
        ax, side = axes[0, 2 * i : 2 * i + 2]
        ax.axhspan(-1.3, -0.7, color=GREY, alpha=0.25, linewidth=0)
        ax.text(-3.3, -0.66, "outliers", fontsize=8, color="#555555")
        ax.plot(x, moved, ".", markersize=2, color=COLOURS[i], alpha=0.5)
        ax.set(xlim=(-3.5, 3.5), ylim=(-1.5, 1.5))
        label(ax, "x of N(0, 1)", "T(x, z)" if i == 0 else "", name)
        share = np.histogram(moved, bins)[0] / len(moved)
        side.barh((bins[1:] + bins[:-1]) / 2, share, height=bins[1] - bins[0], color=COLOURS[i])
        side.set_xscale("log")
        side.set(ylim=(-1.5, 1.5), xlim=(2e-4, 1))
        side.tick_params(labelleft=False)
        label(side, "share")
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("outliers", command, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
