"""Compare all methods on two-dimensional toy datasets.

    python -m experiments.planar

The results are the modes found, the fraction of good samples and the exact W₂² to held-out data
(UOTM-SD, figure 3)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments import clouds, exact, methods, planar_sets
from experiments.cases import Cases
from experiments.command import Options, new_command, run, say
from experiments.figures import COLORS, GRAY, Figure, label, new_figure
from experiments.results import Results, Table, deviations, over_seeds
from uotm_keras.config import Enums, Float, Integer, flag
from uotm_keras.data import toy

TASKS = {
    # name: (source, target)
    "8gaussians": ("gaussian_2d", "8gaussians"),
    "25gaussians": ("gaussian_2d", "25gaussians"),
    "spiral": ("gaussian_2d", "spiral"),
    "checkerboard": ("gaussian_2d", "checkerboard"),
    "moons_to_spiral": ("moons", "spiral"),
}
_SHOWN = 2_000
STEPS = {"wgan_gp": (5, 1)}
"""Potential and generator steps per iteration; (1, 4) for all other methods."""
HELD_OUT = 1_000_000
"""Added to the seed for data that are not used in training."""


@dataclasses.dataclass(frozen=True)
class PlanarOptions(Options):
    """The flags of this experiment."""

    tasks: tuple[str, ...] = flag(tuple(TASKS), Enums(*TASKS), "Datasets.")
    methods: tuple[str, ...] = flag(
        tuple(methods.METHODS), Enums(*methods.METHODS), "Methods to compare."
    )
    tau: float = flag(
        0.02, Float(0, exclusive=True), "τ, the cost coefficient; WGAN-GP has no cost."
    )
    points: int = flag(
        10_000, Integer(200, 1_000_000), "Number of samples for the modes and the good samples."
    )
    transport_points: int = flag(
        2_000, Integer(200, 10_000), "Number of samples and of held-out points for W₂²."
    )


COMMAND = new_command(__doc__, PlanarOptions)


def case(task: str, method: str, seed: int, options: PlanarOptions) -> dict:
    """Train one method; return its row and samples for the figure."""
    source, target = TASKS[task]
    potential_steps, generator_steps = STEPS.get(method, (1, 4))
    model = methods.build(
        method, 2, options.tau, options.iterations, width=options.width,
        potential_steps=potential_steps, generator_steps=generator_steps, seed=seed,
    )  # fmt: skip
    data = toy(target, seed=seed).points
    start = toy(source, seed=seed).points
    times = clouds.train(
        model, clouds.from_array(start), clouds.from_array(data),
        options.iterations, options.batch_size, seed,
    )  # fmt: skip
    x = toy(source, options.points, seed + HELD_OUT).points
    moved = clouds.transport(model, x, seed)
    row = {"task": task, "method": methods.METHODS[method].label, "seed": seed}
    row |= score(target, moved, seed, options)
    say(
        f"{task}, {method}, seed {seed}: {row['found']} modes, {row['good']:.1f} % good, "
        f"W₂² {row['w2']:.3f}, {times.wall:.0f} s"
    )
    row |= {"wall": times.wall, "cpu": times.cpu}
    return {"row": row, "samples": moved[:_SHOWN] if seed == 0 else None}


def score(target: str, samples: np.ndarray, seed: int, options: PlanarOptions) -> dict:
    """Return the modes found, the good samples in % and W₂² to held-out data."""
    fit = planar_sets.fit(target, samples)
    count = min(options.transport_points, len(samples))
    held_out = toy(target, count, seed + HELD_OUT).points
    return {
        "found": fit.found, "modes": fit.modes, "good": 100 * fit.good,
        "w2": exact.squared_w2(samples[:count], held_out),
    }  # fmt: skip


def work(options: PlanarOptions, cases: Cases) -> Results | None:
    """Run all tasks, methods and seeds and return the results."""
    runs: list[dict] = []
    pictures: dict[tuple[str, str], np.ndarray] = {}
    for task in options.tasks:
        for seed in cases.seeds:
            real = toy(TASKS[task][1], options.points, seed + 2 * HELD_OUT).points
            row = {"task": task, "method": "real data", "seed": seed}
            runs.append(row | score(TASKS[task][1], real, seed, options))
        pictures[task, "real data"] = real
        for method in options.methods:
            for seed in cases.seeds:
                found = cases.case((task, method, seed), case, task, method, seed, options)
                runs.append(found["row"])
                if found["samples"]:
                    pictures[task, found["row"]["method"]] = np.array(found["samples"])
    if cases.is_part:
        return None
    columns = {
        "method": ("method", ""), "found": ("modes found", ".1f"), "modes": ("modes", ".0f"),
        "good": ("good samples, %", ".1f"), "w2": ("W₂² to held-out data", ".3f"),
        "wall": ("seconds per run", ".0f"), "cpu": ("CPU seconds", ".0f"),
    }  # fmt: skip
    summary = over_seeds(runs, ["task", "method"])
    for row in summary:
        row.pop("modes_sd", None)
    tables = [
        Table(columns, [row for row in summary if row["task"] == task], task.replace("_", " "))
        for task in options.tasks
    ]
    text = f"""
N(0, I) or moons is transported to toy datasets (`uotm_keras/data/toys.py`) with 50,000 training
points. All methods use the same networks with a latent vector of length 2, {options.iterations:,}
iterations of one potential step and four generator steps (WGAN-GP: five and one, as is usual) on
batches of {options.batch_size}, Adam(0.9, 0.999) with learning rates that decay from 1e-3 to 0, and
an averaged generator. τ = {options.tau:g}; only WGAN-GP has a penalty (λ = 10, τ = 0). S-JKO has
{methods.PHASES} equal phases, Ψ2 = kl and h = 1/(2·τ·2), which gives each phase the cost
coefficient of the other methods; its learning rates decay over all phases together.
{deviations(options.seeds)}

The setting was chosen after trial runs of UOTM and WGAN-GP with another seed: with one step of each
network UOTM found half of the modes, and with four generator steps WGAN-GP diverged. Nothing else
was tuned.

Of {options.points:,} samples, a good sample is within 3 standard deviations of a center or of the
spiral, or inside a black square. A mode (a center, a twelfth of the spiral or a square) is found if
it receives at least a quarter of its share. W₂² is computed exactly, by `ot.emd2`, between
{options.transport_points:,} samples and as many held-out points; the values for real data show the
contribution of sampling alone."""
    return Results(
        "Two-dimensional toy datasets", text, tables, runs, _figure(pictures),
        "2,000 samples of each method (color; seed 0) over real data (gray).",
    )  # fmt: skip


def _figure(pictures: dict[tuple[str, str], np.ndarray]) -> Figure:
    tasks = list(dict.fromkeys(task for task, _ in pictures))
    names = [n for n in dict.fromkeys(name for _, name in pictures) if n != "real data"]
    figure, axes = new_figure(len(tasks), len(names), width=2.2, height=2.2, sharex=True)
    for row, task in zip(axes, tasks, strict=True):
        for i, (ax, name) in enumerate(zip(row, names, strict=True)):
            ax.plot(*pictures[task, "real data"][:_SHOWN].T, ".", markersize=1.5, color=GRAY)
            ax.plot(*pictures[task, name][:_SHOWN].T, ".", markersize=1.5, color=COLORS[i])
            ax.set(xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), aspect="equal")
            label(
                ax, "y₁" if task == tasks[-1] else "",
                f"{task.replace('_', ' ')}\ny₂" if i == 0 else "", name if task == tasks[0] else "",
            )  # fmt: skip
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("planar", COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
