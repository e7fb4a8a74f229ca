"""Compare unbalanced transport between two finite point clouds with an exact solver.

    python -m experiments.discrete

For two clouds of 500 points in the plane, the marginals and the value of a trained map and
potential are compared with those of POT's solver without entropic regularization."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from experiments import clouds, exact
from experiments.cases import Cases
from experiments.command import Options, new_command, run, say
from experiments.figures import COLORS, Figure, label, new_figure
from experiments.results import Results, Table, deviations, over_seeds
from uotm_keras import InputError, presets
from uotm_keras.config import Float, Integer, Text, flag
from uotm_keras.data import toy


@dataclasses.dataclass(frozen=True)
class DiscreteOptions(Options):
    """The flags of this experiment."""

    pairs: str = flag(
        "gaussian_2d:8gaussians,moons:spiral",
        Text("SOURCE:TARGET pairs of toy datasets, separated by commas"),
        "Pairs of toy datasets from which the clouds are drawn.",
    )
    tau: float = flag(0.05, Float(0, exclusive=True), "τ, the cost coefficient.")
    points: int = flag(500, Integer(20, 5_000), "Number of points in each cloud.")
    solver_iterations: int = flag(4_000, Integer(1), "Iterations of POT's mm_unbalanced.")

    def names(self) -> list[tuple[str, str]]:
        """Return the pairs of dataset names."""
        return [(pair.partition(":")[0], pair.partition(":")[2]) for pair in self.pairs.split(",")]

    def check(self) -> None:
        """Check the pairs."""
        for source, target in self.names():
            if not target:
                raise InputError(f"--pairs={source} is not SOURCE:TARGET, such as moons:spiral.")
            dims = [toy(name, 1).points.shape[1] for name in (source, target)]
            if dims[0] != dims[1]:
                raise InputError(
                    f"--pairs={source}:{target} has dimensions {dims[0]} and {dims[1]}; use two "
                    "datasets of the same dimension."
                )


COMMAND = new_command(__doc__, DiscreteOptions)


def lower_bound(v: np.ndarray, x: np.ndarray, y: np.ndarray, tau: float) -> float:
    """Return the dual value of v at y with the exact c-transform over the cloud y."""
    squared = np.sum((x[:, None].astype(float) - y[None].astype(float)) ** 2, axis=-1)
    transform = np.min(tau * squared - v, axis=1)
    return float(-np.mean(np.expm1(-transform)) - np.mean(np.expm1(-v)))


def case(pair: str, seed: int, options: DiscreteOptions, solved: tuple) -> dict:
    """Train on one pair; return its row and the weights of both clouds."""
    x, y, plan, value = solved
    keras.utils.set_random_seed(seed)
    model = presets.point_cloud(
        x.shape[1], options.tau, source_divergence="kl", target_divergence="kl",
        iterations=options.iterations, width=options.width, latent_dim=2, seed=seed,
    )  # fmt: skip
    times = clouds.train(
        model, clouds.from_array(x), clouds.from_array(y),
        options.iterations, options.batch_size, seed,
    )  # fmt: skip
    # Several z per x, because the map is stochastic.
    draws = 20
    found = clouds.evaluate(model, np.repeat(x, draws, axis=0), y, seed)
    weights = found.source.weights.reshape(len(x), draws).mean(axis=1), found.target.weights
    row = {
        "pair": pair, "seed": seed, "value_exact": value, "value": found.value,
        "value_error": 100 * abs(found.value / value - 1),
        "lower": lower_bound(-found.target.argument, x, y, options.tau),
        "mass_exact": float(plan.sum()), "mass": found.mass,
        "mass_error": 100 * abs(found.mass / plan.sum() - 1),
    }  # fmt: skip
    exact_weights = plan.sum(1) * len(x), plan.sum(0) * len(y)
    for name, mine, right in zip(("source", "target"), weights, exact_weights, strict=True):
        row[f"{name}_error"] = float(100 * np.mean(np.abs(mine - right)) / right.mean())
        row[f"{name}_correlation"] = float(np.corrcoef(mine, right)[0, 1])
    say(f"{pair}, seed {seed}: value {found.value:.5f} of {value:.5f}, {times.wall:.0f} s")
    return {"row": {**row, "wall": times.wall, "cpu": times.cpu}, "weights": weights}


def work(options: DiscreteOptions, cases: Cases) -> Results | None:
    """Solve each pair exactly, train it with each seed, and return the results."""
    runs, pictures = [], []
    for names in options.names():
        pair = ":".join(names)
        x, y = (toy(name, options.points).points for name in names)
        plan, value = exact.unbalanced_plan(x, y, options.tau, options.solver_iterations)
        for seed in cases.seeds:
            found = cases.case((pair, seed), case, pair, seed, options, (x, y, plan, value))
            runs.append(found["row"])
            if seed == 0:
                right = plan.sum(1) * len(x), plan.sum(0) * len(y)
                pictures.append((pair, found["weights"], right))
    if cases.is_part:
        return None
    table = Table(
        {
            "pair": ("clouds", ""), "value_exact": ("exact value", ".4f"),
            "value": ("value", ".4f"), "value_error": ("error, %", ".2f"),
            "lower": ("lower bound", ".4f"),
            "mass_exact": ("exact mass", ".4f"), "mass": ("mass", ".4f"),
            "mass_error": ("error, %", ".2f"),
            "source_error": ("error of source weights, %", ".2f"),
            "target_error": ("error of target weights, %", ".2f"),
            "target_correlation": ("correlation of target weights", ".3f"),
            "wall": ("seconds per run", ".0f"), "cpu": ("CPU seconds", ".0f"),
        },
        over_seeds(runs, ["pair"]),
    )  # fmt: skip
    text = f"""
Each pair consists of two clouds of {options.points:,} points. Both divergences are KL and
τ = {options.tau:g}. The exact plan is computed with POT's `ot.unbalanced.mm_unbalanced`, without
entropic regularization, in {options.solver_iterations:,} iterations. The model is trained with
`presets.point_cloud` for {options.iterations:,} iterations on batches of {options.batch_size}
points drawn from the clouds; it has a latent vector of length 2, so that the map can split the mass
of a point. {deviations(options.seeds)}

The error of the weights is the mean absolute difference in % of the mean weight. The value is the
dual objective at the trained map; the lower bound is that of the same potential with the exact
minimum over the points of the cloud."""
    return Results(
        "Finite point clouds: trained potentials and an exact solver", text, [table], runs,
        _figure(pictures),
        "Weights of the points (markers; seed 0) against the exact plan's marginals. The line "
        "marks equality.",
    )  # fmt: skip


def _figure(pictures: list[tuple]) -> Figure:
    figure, axes = new_figure(1, len(pictures), width=3.8, height=3.6)
    for ax, (pair, weights, right) in zip(axes[0], pictures, strict=True):
        for i, (name, marker) in enumerate((("source, dπ₀/dμ", "o"), ("target, dπ₁/dν", "^"))):
            ax.plot(
                right[i], weights[i], marker, markersize=3.5, alpha=0.6,
                color=COLORS[3 * i], markeredgewidth=0, label=name,
            )  # fmt: skip
        both = np.concatenate([*right, *weights])
        ends = [both.min(), both.max()]
        ax.plot(ends, ends, color="black", linewidth=0.8)
        label(ax, "exact weight of a point", "trained", pair.replace(":", " → "))
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("discrete", COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
