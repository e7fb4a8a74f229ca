"""Unbalanced transport between two finite clouds, against an exact solver.

    python -m experiments.discrete

Two clouds of 500 points of a plane: the marginals and the value that a trained map and
potential give, beside those of POT's solver without entropy."""

import keras
import numpy as np

from experiments import clouds, exact
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.figures import COLOURS, label, new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras import InputError, presets
from uotm_keras.config.flags import Number, Text, WholeNumber
from uotm_keras.data.toys import toy

LEAST_POINTS = 20


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=6_000)
    c.add("pairs", Text("SOURCE:TARGET of toy data sets, separated by commas"),
          "gaussian_2d:8gaussians,moons:spiral", "The clouds.")  # fmt: skip
    c.add("tau", Number(0, above=True), 0.05, "τ of the cost.")
    c.add("points", WholeNumber(1, 5_000), 500, "Of each cloud.")
    c.add("solver_iterations", WholeNumber(1), 4_000, "Of POT's mm_unbalanced.")
    return c


def dual_value(model, found: clouds.Readings, x: np.ndarray, y: np.ndarray, tau: float) -> float:
    """The dual value with the c-transform taken over the cloud itself, a strict lower bound."""
    v = -found.depth
    squared = np.sum((x[:, None].astype(float) - y[None].astype(float)) ** 2, axis=-1)
    transform = np.min(tau * squared - v, axis=1)
    return float(-np.mean(np.expm1(-transform)) - np.mean(np.expm1(-v)))


def case(pair: str, seed: int, flags: dict, solved: tuple) -> dict:
    """One training; (its row, the two weights that it found)."""
    x, y, plan, value = solved
    keras.utils.set_random_seed(seed)
    model = presets.point_cloud(
        x.shape[1], flags["tau"], source_divergence="kl", target_divergence="kl",
        iterations=flags["iterations"], width=flags["width"], latent_dim=2, seed=seed,
    )  # fmt: skip
    times = clouds.train(
        model, clouds.from_array(x), clouds.from_array(y),
        flags["iterations"], flags["batch_size"], seed,
    )  # fmt: skip
    # Several z for each x: the map is random.
    draws = 20
    found = clouds.read(model, np.repeat(x, draws, axis=0), y, seed)
    weights = found.source_weights.reshape(len(x), draws).mean(axis=1), found.target_weights
    row = {
        "pair": pair, "seed": seed, "value_exact": value, "value": found.value,
        "value_error": 100 * abs(found.value / value - 1),
        "lower": dual_value(model, found, x, y, flags["tau"]),
        "mass_exact": float(plan.sum()), "mass": found.mass,
        "mass_error": 100 * abs(found.mass / plan.sum() - 1),
    }  # fmt: skip
    for name, mine, right in zip(
        ("source", "target"), weights, (plan.sum(1) * len(x), plan.sum(0) * len(y)), strict=True
    ):
        row[f"{name}_error"] = float(100 * np.mean(np.abs(mine - right)) / right.mean())
        row[f"{name}_correlation"] = float(np.corrcoef(mine, right)[0, 1])
    say(f"{pair}, seed {seed}: value {found.value:.5f} of {value:.5f}, {times.wall:.0f} s")
    return {"row": {**row, "wall": times.wall, "cpu": times.cpu}, "weights": weights}


def work(flags: dict, cases: Cases) -> Results | None:
    """Every pair: solved exactly once, trained for each seed."""
    clouds.need_points(flags["points"], LEAST_POINTS, "points")
    runs, pictures = [], []
    for pair in flags["pairs"].split(","):
        source, separator, target = pair.partition(":")
        if not separator:
            raise InputError(f"flag --pairs={pair}: accepted is SOURCE:TARGET, as moons:spiral.")
        x, y = (toy(name, flags["points"]).points for name in (source, target))
        if x.shape != y.shape:
            raise InputError(
                f"flag --pairs={pair}: the two have dimensions {x.shape[1]} and {y.shape[1]}, "
                "which must be the same."
            )
        plan, value = exact.unbalanced_plan(x, y, flags["tau"], flags["solver_iterations"])
        for seed in cases.seeds:
            found = cases.case((pair, seed), case, pair, seed, flags, (x, y, plan, value))
            runs.append(found["row"])
            if seed == 0:
                right = plan.sum(1) * len(x), plan.sum(0) * len(y)
                pictures.append((pair, found["weights"], right))
    if cases.is_part:
        return None
    table = Table(
        {
            "pair": ("clouds", ""), "value_exact": ("exact value", ".4f"),
            "value": ("value", ".4f"), "value_error": ("off by, %", ".2f"),
            "lower": ("lower bound", ".4f"),
            "mass_exact": ("exact mass", ".4f"), "mass": ("mass", ".4f"),
            "mass_error": ("off by, %", ".2f"),
            "source_error": ("source weights off by, %", ".2f"),
            "target_error": ("target weights off by, %", ".2f"),
            "target_correlation": ("correlation of target weights", ".3f"),
            "wall": ("s a case", ".0f"), "cpu": ("CPU s", ".0f"),
        },
        over_seeds(runs, ["pair"]),
    )  # fmt: skip
    text = f"""
Two clouds of {flags["points"]} points, KL on both sides, τ = {flags["tau"]:g}. Exact: POT's
`ot.unbalanced.mm_unbalanced` (no entropy), {flags["solver_iterations"]} iterations. Trained:
`presets.point_cloud` with a latent of 2, so that a point's mass can be split,
{flags["iterations"]} iterations of {flags["batch_size"]} points drawn from the clouds;
{flags["seeds"]} seeds, means ± standard deviations. Weights are off by the mean absolute
difference, in % of the mean weight. The value is the dual objective at the trained map; the
lower bound is the same potential's with the exact minimum over the cloud's own points."""
    return Results(
        "Finite clouds: trained potentials against an exact solver", text, [table], runs,
        _figure(pictures),
        "Weights of the single points (markers; seed 0) against the exact plan's marginals; on the "
        "diagonal they are equal.",
    )  # fmt: skip


def _figure(pictures):
    figure, axes = new_figure(1, len(pictures), width=3.8, height=3.6)
    for ax, (pair, weights, right) in zip(axes[0], pictures, strict=True):
        for i, (name, marker) in enumerate((("source, dπ₀/dμ", "o"), ("target, dπ₁/dν", "^"))):
            ax.plot(
                right[i], weights[i], marker, markersize=3.5, alpha=0.6,
                color=COLOURS[3 * i], markeredgewidth=0, label=name,
            )  # fmt: skip
        both = np.concatenate([*right, *weights])
        ends = [both.min(), both.max()]
        ax.plot(ends, ends, color="black", linewidth=0.8)
        label(ax, "exact weight of a point", "trained", pair.replace(":", " → "))
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("discrete", command, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
