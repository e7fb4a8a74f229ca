"""Check the bound on the relaxed marginals, D_Ψ1(π₀|μ) + D_Ψ2(π₁|ν) ≤ τ·W₂²(μ, ν).

    python -m experiments.bound

The left side is measured with trained potentials, for τ from 0.001 to 1 and three divergences; the
right side is exact (UOTM, theorem 3.3)."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from experiments import clouds
from experiments.cases import Cases
from experiments.command import Options, PositiveNumbers, new_command, run, say
from experiments.figures import COLORS, MARKERS, Figure, label, new_figure
from experiments.results import Results, Table, deviations, over_seeds
from uotm_keras import presets
from uotm_keras.config import Enums, Integer, flag
from uotm_keras.objectives import oracles

DIVERGENCES = ("kl", "chi2", "softplus")
PAIRS = {
    # dimension: (a, A, b, B) of N(a, A) and N(b, B)
    1: ([0.0], [[1.0]], [1.5], [[0.25]]),
    2: ([0.0, 0.0], [[1.0, 0.5], [0.5, 0.8]], [1.2, -0.9], [[0.4, -0.2], [-0.2, 0.6]]),
}


@dataclasses.dataclass(frozen=True)
class BoundOptions(Options):
    """The flags of this experiment."""

    taus: tuple[float, ...] = flag(
        (0.001, 0.005, 0.03, 0.2, 1.0), PositiveNumbers(), "Values of τ, the cost coefficient."
    )
    divergences: tuple[str, ...] = flag(
        DIVERGENCES, Enums(*DIVERGENCES), "Divergences, each used for both marginals."
    )
    dims: tuple[int, ...] = flag((1, 2), Enums(1, 2), "Dimensions.")
    points: int = flag(
        200_000, Integer(1_000, 100_000_000), "Number of evaluation points of each marginal."
    )


COMMAND = new_command(__doc__, BoundOptions, iterations=1_500, seeds=1)


def case(dim: int, divergence: str, tau: float, seed: int, options: BoundOptions) -> dict:
    """Return the two sides of the bound for one τ."""
    a, A, b, B = PAIRS[dim]
    keras.utils.set_random_seed(seed)
    model = presets.point_cloud(
        dim, tau, source_divergence=divergence, target_divergence=divergence,
        iterations=options.iterations, width=options.width, seed=seed,
    )  # fmt: skip
    source, target = clouds.gaussian(a, A), clouds.gaussian(b, B)
    times = clouds.train(model, source, target, options.iterations, options.batch_size, seed)
    rng = np.random.default_rng([seed, dim, 2])
    found = clouds.evaluate(model, source(rng, options.points), target(rng, options.points))
    bound = oracles.gaussian_ot(a, A, b, B, tau).value
    row = {
        "dim": dim, "divergence": divergence, "tau": tau, "seed": seed,
        "source": found.source.divergence, "target": found.target.divergence,
        "left": found.divergence, "bound": bound, "ratio": found.divergence / bound,
    }  # fmt: skip
    if divergence == "kl":
        exact = oracles.gaussian_kl_uot(a, A, b, B, tau)
        row["exact"] = exact.relaxation
    say(f"{dim}-D, {divergence}, τ {tau:g}: {row['left']:.3g} of {bound:.3g}, {times.wall:.0f} s")
    return {**row, "wall": times.wall, "cpu": times.cpu}


def work(options: BoundOptions, cases: Cases) -> Results | None:
    """Run all τ, divergences and dimensions and return the results."""
    runs = [
        cases.case(
            (f"{dim}d", divergence, f"{tau:g}", seed), case, dim, divergence, tau, seed, options
        )
        for dim in options.dims
        for divergence in options.divergences
        for tau in options.taus
        for seed in cases.seeds
    ]
    if cases.is_part:
        return None
    summary = over_seeds(runs, ["dim", "divergence", "tau"])
    broken = [r for r in runs if r["left"] > r["bound"]]
    verdict = (
        f"The sum is below the bound in all {len(runs)} runs."
        if not broken
        else f"The measured sum exceeds the bound in {len(broken)} of {len(runs)} runs."
    )
    columns = {
        "divergence": ("Ψ1 = Ψ2", ""), "tau": ("τ", "g"),
        "source": ("D(π₀ ‖ μ)", ".2e"), "target": ("D(π₁ ‖ ν)", ".2e"),
        "left": ("sum", ".2e"), "exact": ("exact sum", ".2e"),
        "bound": ("bound τ·W₂²", ".2e"), "ratio": ("sum / bound", ".4f"),
    }  # fmt: skip
    tables = [
        Table(columns, [row for row in summary if row["dim"] == dim], f"{dim}-D")
        for dim in sorted({row["dim"] for row in summary})
    ]
    text = f"""
μ and ν are the Gaussians of `experiments/bound.py`, for which W₂² is known in closed form. The
potential of each setting is trained with `presets.point_cloud` for {options.iterations:,}
iterations on batches of {options.batch_size} points. The divergence of each marginal is the mean of
s·Ψ*'(s) − Ψ*(s), which is Ψ of the relaxed marginal's density, over {options.points:,} other
points. For KL the exact sum is known as well. {deviations(options.seeds)}

{verdict} For small τ the sum decreases like τ², faster than the bound, which is linear in τ."""
    return Results(
        "The bound on the relaxed marginals", text, tables, runs, _figure(summary),
        "Measured sums (markers), the bound (line) and, for KL, the exact sums (crosses).",
    )  # fmt: skip


def _figure(summary: list[dict]) -> Figure:
    dims = sorted({row["dim"] for row in summary})
    figure, axes = new_figure(1, len(dims), width=4.0, height=3.6)
    for ax, dim in zip(axes[0], dims, strict=True):
        mine = [row for row in summary if row["dim"] == dim]
        taus = sorted({row["tau"] for row in mine})
        ax.plot(
            taus, [next(r["bound"] for r in mine if r["tau"] == tau) for tau in taus],
            color="black", linewidth=2, label="bound τ·W₂²(μ, ν)",
        )  # fmt: skip
        names = list(dict.fromkeys(row["divergence"] for row in mine))
        for i, name in enumerate(names):
            rows = sorted((r for r in mine if r["divergence"] == name), key=lambda r: r["tau"])
            ax.plot(
                [r["tau"] for r in rows], [r["left"] for r in rows], MARKERS[i] + "--",
                color=COLORS[i], markersize=5, linewidth=1, label=f"measured, {name}",
            )  # fmt: skip
            exact = [(r["tau"], r["exact"]) for r in rows if "exact" in r]
            if exact:
                ax.plot(*zip(*exact, strict=True), "x", color="black", label=f"exact, {name}")
        ax.set_xscale("log")
        ax.set_yscale("log")
        label(ax, "τ", "D(π₀|μ) + D(π₁|ν)", f"Gaussians in {dim}-D")
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("bound", COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
