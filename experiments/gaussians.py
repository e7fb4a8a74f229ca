"""Compare trained maps between Gaussians with the closed-form solutions.

    python -m experiments.gaussians

Several pairs of Gaussians with correlated covariances are drawn in each dimension. KL-unbalanced
and balanced transport are trained with the recommended setting for point clouds,
`presets.point_cloud`."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from experiments import clouds
from experiments.cases import Cases
from experiments.command import Options, new_command, run, say
from experiments.figures import COLORS, GRAY, MARKERS, Figure, label, new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras import InputError, presets
from uotm_keras.config import Enums, Float, Integer, Integers, flag
from uotm_keras.objectives import oracles

KINDS = {"kl": "KL-unbalanced", "balanced": "balanced"}
Pair = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class GaussianOptions(Options):
    """The flags of this experiment; --seeds is the number of pairs per dimension."""

    dims: tuple[int, ...] = flag(
        (1, 2, 4, 8, 16, 64), Integers(1), "Dimensions, each at most 1000."
    )
    kinds: tuple[str, ...] = flag(tuple(KINDS), Enums(*KINDS), "Kinds of transport.")
    tau: float = flag(0.8, Float(0, exclusive=True), "τ of the cost, multiplied by √dimension.")
    # Fewer points give a useless estimate of a covariance in 64 dimensions.
    points: int = flag(
        200_000, Integer(1_000, 100_000_000), "Number of evaluation points of each marginal."
    )

    def check(self) -> None:
        """Check the largest dimension."""
        if max(self.dims) > 1_000:
            raise InputError(f"--dims={max(self.dims)} is too large; use dimensions up to 1000.")


COMMAND = new_command(__doc__, GaussianOptions, iterations=8_000, width=96)


def pair(dim: int, seed: int) -> Pair:
    """Return (a, A, b, B): means from N(0, ¼), rotated covariances with eigenvalues in [¼, 2]."""
    rng = np.random.default_rng([seed, dim])

    def covariance() -> np.ndarray:
        basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        return (basis * np.exp(rng.uniform(np.log(0.25), np.log(2.0), dim))) @ basis.T

    return (
        0.5 * rng.standard_normal(dim), covariance(), 0.5 * rng.standard_normal(dim), covariance(),
    )  # fmt: skip


def case(dim: int, kind: str, seed: int, options: GaussianOptions) -> dict:
    """Train on one pair and evaluate the model at new points."""
    a, A, b, B = pair(dim, seed)
    tau = options.tau / np.sqrt(dim)
    exact = solution(dim, kind, seed, tau)
    keras.utils.set_random_seed(seed)
    model = presets.point_cloud(
        dim, tau, source_divergence=kind, target_divergence=kind,
        iterations=options.iterations, width=options.width, seed=seed,
    )  # fmt: skip
    source, target = clouds.gaussian(a, A), clouds.gaussian(b, B)
    times = clouds.train(model, source, target, options.iterations, options.batch_size, seed)

    x, y = evaluation_points(dim, seed, options.points)
    found = clouds.evaluate(model, x, y)
    row = {
        "dim": dim, "kind": kind, "seed": seed, "tau": tau,
        "uvp": clouds.l2_uvp(found.moved, exact.map(x), np.trace(B)),
        "value_exact": exact.value, "value": found.value,
        "value_error": 100 * abs(found.value / exact.value - 1),
    }  # fmt: skip
    if kind == "kl":
        row |= {
            "mass_exact": exact.mass, "mass": found.mass,
            "mass_error": 100 * abs(found.mass / exact.mass - 1),
        }  # fmt: skip
        sides = (
            ("source", x, found.source.weights, exact.source_mean, exact.source_covariance, a, A),
            ("target", y, found.target.weights, exact.target_mean, exact.target_covariance, b, B),
        )
        for name, points, weights, mean, covariance, given_mean, given in sides:
            row |= {
                f"{name}_{key}": value
                for key, value in moment_errors(points, weights, mean, covariance).items()
            }
            ratio = density_ratio(points, mean, covariance, given_mean, given)
            row |= {
                f"{name}_{key}_floor": value
                for key, value in moment_errors(points, ratio, mean, covariance).items()
            }
    say(f"{kind}, {dim}-D, pair {seed}: L2-UVP {row['uvp']:.4f} %, {times.wall:.0f} s")
    return {**row, "wall": times.wall, "cpu": times.cpu}


def moment_errors(
    points: np.ndarray, weights: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> dict[str, float]:
    """Return the errors of the weighted points' mean and covariance, in percent.

    The error of the mean is relative to √tr Σ, that of the covariance to the Frobenius norm of Σ.
    """
    weights = weights / weights.sum()
    found = weights @ points
    centered = points - found
    second = (centered * weights[:, None]).T @ centered
    return {
        "mean": float(100 * np.linalg.norm(found - mean) / np.sqrt(np.trace(covariance))),
        "covariance": float(
            100 * np.linalg.norm(second - covariance) / np.linalg.norm(covariance)
        ),
    }  # fmt: skip


def density_ratio(
    points: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
    given_mean: np.ndarray,
    given: np.ndarray,
) -> np.ndarray:
    """Return the density of N(mean, covariance) over that of N(given_mean, given)."""

    def quadratic(center: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        centered = points - center
        return np.sum(centered * np.linalg.solve(matrix, centered.T).T, axis=1) / 2

    volume = (np.linalg.slogdet(given)[1] - np.linalg.slogdet(covariance)[1]) / 2
    return np.exp(quadratic(given_mean, given) - quadratic(mean, covariance) + volume)


def solution(dim: int, kind: str, seed: int, tau: float) -> oracles.GaussianTransport:
    """Return the exact plan of a pair."""
    a, A, b, B = pair(dim, seed)
    solve = oracles.gaussian_kl_uot if kind == "kl" else oracles.gaussian_ot
    return solve(a, A, b, B, tau)


def evaluation_points(dim: int, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of both marginals at which a pair is evaluated."""
    a, A, b, B = pair(dim, seed)
    rng = np.random.default_rng([seed, dim, 2])
    return clouds.gaussian(a, A)(rng, count), clouds.gaussian(b, B)(rng, count)


def sampled_value(dim: int, kind: str, seed: int, tau: float, count: int) -> float:
    """Return the exact potential's dual value over the same points; its error is sampling error."""
    (a, A, b, B), exact = pair(dim, seed), solution(dim, kind, seed, tau)
    x, y = evaluation_points(dim, seed, count)
    if kind == "balanced":
        # v with ∇v(y) = 2τ(y − T⁻¹(y)), up to a constant, which cancels.
        inverse = np.linalg.inv(exact.matrix)

        def potential(points: np.ndarray) -> np.ndarray:
            centered = points - exact.target_mean
            form = np.sum(centered * (centered @ inverse), axis=1)
            return tau * (np.sum(points**2, axis=1) - 2 * points @ exact.source_mean - form)

        moved = exact.map(x)
        transform = tau * np.sum((x - moved) ** 2, axis=1) - potential(moved)
        return float(transform.mean() + potential(y).mean())
    # −Ψ*(s) = 1 − Ψ*'(s) for KL, and Ψ*'(s) is the exact weight.
    weights = (
        exact.mass * density_ratio(x, exact.source_mean, exact.source_covariance, a, A),
        exact.mass * density_ratio(y, exact.target_mean, exact.target_covariance, b, B),
    )
    return float(sum(1 - side.mean() for side in weights))


def work(options: GaussianOptions, cases: Cases) -> Results | None:
    """Run all cases and return the results."""
    runs = [
        cases.case((kind, f"{dim}d", seed), case, dim, kind, seed, options)
        for kind in options.kinds
        for dim in options.dims
        for seed in cases.seeds
    ]
    if cases.is_part:
        return None
    for row in runs:
        sampled = sampled_value(row["dim"], row["kind"], row["seed"], row["tau"], options.points)
        row["value_floor"] = 100 * abs(sampled / row["value_exact"] - 1)
        # On the same points, so that the sampling error cancels.
        row["value_learned"] = 100 * abs(row["value"] - sampled) / row["value_exact"]
    summary = over_seeds(runs, ["kind", "dim"])
    for row in summary:
        mine = [r for r in runs if (r["kind"], r["dim"]) == (row["kind"], row["dim"])]
        for key in ("uvp", "mass_error", "value_error", "value_floor", "value_learned"):
            if key in mine[0]:
                row[f"{key}_most"] = max(r[key] for r in mine)
    mass = {"mass_error_most": ("largest error of the mass, %", ".3f")}
    tables = [
        Table(
            {
                "dim": ("dimension", ""),
                "uvp": ("L2-UVP, %", ".4f"), "uvp_most": ("largest", ".4f"),
                **(mass if kind == "kl" else {}),
                "value_error_most": ("largest error of the value, %", ".3f"),
                "value_floor_most": ("… of the exact potential, %", ".3f"),
                "value_learned_most": ("largest difference of the two, %", ".3f"),
                "wall": ("seconds per run", ".0f"), "cpu": ("CPU seconds", ".0f"),
            },
            [row for row in summary if row["kind"] == kind],
            f"{KINDS[kind]} transport",
        )
        for kind in options.kinds
    ]  # fmt: skip
    if "kl" in options.kinds:
        tables.append(_moments([row for row in summary if row["kind"] == "kl"]))
    text = f"""
Each dimension has {options.seeds} pair{"" if options.seeds == 1 else "s"} of Gaussians N(a, A) and
N(b, B), with means drawn from N(0, ¼) and rotated covariances with eigenvalues between ¼ and 2. The
cost is τ‖x − y‖² with τ = {options.tau:g}/√d. The exact map, mass, relaxed marginals and value are
known in closed form (`uotm_keras.objectives.oracles`).

Every case is trained with `presets.point_cloud` for {options.iterations:,} iterations on batches of
{options.batch_size} new points, and evaluated at {options.points:,} other points. L2-UVP is
100·E‖T̂(x) − T(x)‖²/Var(ν) over the source. The tables show means ± standard deviations over the
pairs. The value is that of the dual objective, a mean over points. The exact potential has an
error on the same points too, which is sampling error alone; the difference between the two is
the error of training.

The map and the potential of this preset contain an affine map and a quadratic form besides their
networks. This makes Gaussians easy: the networks only have to vanish. `benchmark_pair.md` has a
harder problem.

Targets: L2-UVP at most 0.05 % up to 16-D and 0.3 % in 64-D; mass and value within 1 %."""
    return Results(
        "Gaussians: trained maps and closed-form solutions", text, tables, runs, _figure(runs),
        "L2-UVP of every pair by dimension. The gray line is the target.",
    )  # fmt: skip


def _moments(summary: list[dict]) -> Table:
    columns = {"dim": ("dimension", "")}
    for name in ("source", "target"):
        for key in ("mean", "covariance"):
            columns[f"{name}_{key}"] = (f"{name} {key}", ".2f")
            columns[f"{name}_{key}_floor"] = ("… by exact weights", ".2f")
    return Table(
        columns, summary,
        "Relaxed marginals: errors of the mean (in % of √tr Σ) and of the covariance (in % of "
        "‖Σ‖) by the learned weights, and by the exact weights on the same points (sampling "
        "error alone)",
    )  # fmt: skip


def _figure(runs: list[dict]) -> Figure:
    figure, axes = new_figure(width=5.2, height=3.4)
    ax = axes[0, 0]
    for i, (kind, name) in enumerate(KINDS.items()):
        mine = [r for r in runs if r["kind"] == kind]
        shift = 1.06 if i else 1 / 1.06
        if mine:
            ax.plot(
                [r["dim"] * shift for r in mine], [r["uvp"] for r in mine], MARKERS[i],
                color=COLORS[i], markersize=5, label=name, alpha=0.85,
            )  # fmt: skip
    ax.plot([0.8, 32, 32, 80], [0.05, 0.05, 0.3, 0.3], color=GRAY, linewidth=1.5, label="target")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    dims = sorted({r["dim"] for r in runs})
    ax.set_xticks(dims, [str(dim) for dim in dims])
    label(ax, "dimension", "error of the map, L2-UVP in %", "Maps between Gaussians")
    ax.legend(fontsize=8, frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("gaussians", COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
