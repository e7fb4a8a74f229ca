"""The marginals' error against its bound: D_Ψ1(π₀|μ) + D_Ψ2(π₁|ν) ≤ τ·W₂²(μ, ν).

    python -m experiments.bound

Measures the left side by trained potentials, over τ from 1e-3 to 1, for three divergences
(UOTM, theorem 3.3). The right side is exact."""

import keras
import numpy as np

from experiments import clouds
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.figures import COLOURS, MARKERS, label, new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras import InputError, presets
from uotm_keras.config.flags import Names, Text, WholeNumber
from uotm_keras.objectives import oracles

DIVERGENCES = ("kl", "chi2", "softplus")
LEAST_POINTS = 1_000
PAIRS = {
    # dimension: a, A, b, B
    1: ([0.0], [[1.0]], [1.5], [[0.25]]),
    2: ([0.0, 0.0], [[1.0, 0.5], [0.5, 0.8]], [1.2, -0.9], [[0.4, -0.2], [-0.2, 0.6]]),
}


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=1_500, seeds=1)
    c.add("taus", Text("positive numbers separated by commas"),
          "0.001,0.005,0.03,0.2,1", "τ of the cost.")  # fmt: skip
    c.add("divergences", Names(*DIVERGENCES), list(DIVERGENCES), "Of both marginals.")
    c.add("dims", Names("1", "2"), ["1", "2"], "Dimensions.")
    c.add("points", WholeNumber(1, 100_000_000), 200_000, "To measure on, of each marginal.")
    return c


def numbers(text: str, flag: str) -> list[float]:
    """Positive numbers of a flag.

    Raises:
        InputError: one is not a positive number.
    """
    values = []
    for part in text.split(","):
        try:
            values.append(float(part))
        except ValueError:
            values.append(float("nan"))
        if not 0 < values[-1] < float("inf"):
            raise InputError(
                f"flag --{flag}={text}: accepted are positive numbers separated by commas."
            )
    return values


def case(dim: int, divergence: str, tau: float, seed: int, flags: dict) -> dict:
    """The two sides of the bound for one τ."""
    a, A, b, B = PAIRS[dim]
    keras.utils.set_random_seed(seed)
    model = presets.point_cloud(
        dim, tau, source_divergence=divergence, target_divergence=divergence,
        iterations=flags["iterations"], width=flags["width"], seed=seed,
    )  # fmt: skip
    source, target = clouds.gaussian(a, A), clouds.gaussian(b, B)
    times = clouds.train(model, source, target, flags["iterations"], flags["batch_size"], seed)
    rng = np.random.default_rng([seed, dim, 2])
    found = clouds.read(model, source(rng, flags["points"]), target(rng, flags["points"]))
    bound = oracles.gaussian_ot(a, A, b, B, tau).value
    row = {
        "dim": dim, "divergence": divergence, "tau": tau, "seed": seed,
        "source": found.divergences[0], "target": found.divergences[1],
        "left": sum(found.divergences), "bound": bound, "ratio": sum(found.divergences) / bound,
    }  # fmt: skip
    if divergence == "kl":
        exact = oracles.gaussian_kl_uot(a, A, b, B, tau)
        row["exact"] = exact.relaxation
    say(f"{dim}-D, {divergence}, τ {tau:g}: {row['left']:.3g} of {bound:.3g}, {times.wall:.0f} s")
    return {**row, "wall": times.wall, "cpu": times.cpu}


def work(flags: dict, cases: Cases) -> Results | None:
    """All τ, divergences and dimensions."""
    clouds.need_points(flags["points"], LEAST_POINTS, "points")
    taus = numbers(flags["taus"], "taus")
    runs = [
        cases.case(
            (f"{dim}d", divergence, f"{tau:g}", seed), case, int(dim), divergence, tau, seed, flags
        )
        for dim in flags["dims"]
        for divergence in flags["divergences"]
        for tau in taus
        for seed in cases.seeds
    ]
    if cases.is_part:
        return None
    summary = over_seeds(runs, ["dim", "divergence", "tau"])
    broken = [r for r in runs if r["left"] > r["bound"]]
    verdict = (
        f"The left side stays below the bound in all {len(runs)} runs."
        if not broken
        else f"The measured left side is above the bound in {len(broken)} of {len(runs)} runs."
    )
    columns = {
        "divergence": ("Ψ1 = Ψ2", ""), "tau": ("τ", "g"),
        "source": ("D(π₀ given μ)", ".2e"), "target": ("D(π₁ given ν)", ".2e"),
        "left": ("sum", ".2e"), "exact": ("exact sum", ".2e"),
        "bound": ("bound τ·W₂²", ".2e"), "ratio": ("sum / bound", ".4f"),
    }  # fmt: skip
    tables = [
        Table(columns, [row for row in summary if row["dim"] == dim], f"{dim}-D")
        for dim in sorted({row["dim"] for row in summary})
    ]
    text = f"""
μ and ν are Gaussians (`experiments/bound.py`), of which W₂² is known in closed form. The
potential of each setting is trained by `presets.point_cloud` for {flags["iterations"]}
iterations of {flags["batch_size"]} points; the two divergences are means over
{flags["points"]} other points of each marginal of s·Ψ*'(s) − Ψ*(s), which is Ψ(dπ/dμ). For KL
the exact sum is known too. {flags["seeds"]} seeds, means ± standard deviations.

{verdict} The sum falls as τ² where τ is small, faster than the bound, which is of first order."""
    return Results(
        "The bound on the marginals' error", text, tables, runs, _figure(summary),
        "Measured sums (markers) and the bound (line); for KL also the exact sum (crosses).",
    )  # fmt: skip


def _figure(summary: list[dict]):
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
                color=COLOURS[i], markersize=5, linewidth=1, label=f"measured, {name}",
            )  # fmt: skip
            exact = [(r["tau"], r["exact"]) for r in rows if "exact" in r]
            if exact:
                ax.plot(*zip(*exact, strict=True), "x", color="black", label=f"exact, {name}")
        ax.set_xscale("log")
        ax.set_yscale("log")
        label(ax, "τ", "D(π₀|μ) + D(π₁|ν)", f"Gaussians in {dim}-D")
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("bound", command, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
