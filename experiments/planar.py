"""Toy data sets of the plane, for the whole family of methods.

    python -m experiments.planar

Modes found, share of good samples and the exact W₂² to held-out data (UOTM-SD, figure 3)."""

import numpy as np

from experiments import clouds, exact, methods, planar_sets
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.figures import COLOURS, GREY, label, new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras.config.flags import Names, Number, WholeNumber
from uotm_keras.data.toys import toy

TASKS = {
    # name: (source, target)
    "8gaussians": ("gaussian_2d", "8gaussians"),
    "25gaussians": ("gaussian_2d", "25gaussians"),
    "spiral": ("gaussian_2d", "spiral"),
    "checkerboard": ("gaussian_2d", "checkerboard"),
    "moons_to_spiral": ("moons", "spiral"),
}
LEAST_POINTS = 200
_SHOWN = 2_000
STEPS = {"wgan_gp": (5, 1)}
"""Of the potential and the map an iteration; (1, 4) for all others."""
HELD_OUT = 1_000_000
"""Added to the seed of the data that is not trained on."""


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=6_000)
    c.add("tasks", Names(*TASKS), list(TASKS), "Data sets.")
    c.add("methods", Names(*methods.METHODS), list(methods.METHODS), "Compared.")
    c.add("tau", Number(0, above=True), 0.02, "τ of the cost; WGAN-GP has none.")
    c.add("points", WholeNumber(1, 1_000_000), 10_000, "Generated, for modes and shares.")
    c.add("transport_points", WholeNumber(1, 10_000), 2_000, "Of them, and held out, for W₂².")
    return c


def case(task: str, method: str, seed: int, flags: dict) -> dict:
    """One training: its row, and samples for the picture."""
    source, target = TASKS[task]
    potential_steps, generator_steps = STEPS.get(method, (1, 4))
    model = methods.build(
        method, 2, flags["tau"], flags["iterations"], width=flags["width"],
        potential_steps=potential_steps, generator_steps=generator_steps, seed=seed,
    )  # fmt: skip
    data = toy(target, seed=seed).points
    start = toy(source, seed=seed).points
    times = clouds.train(
        model, clouds.from_array(start), clouds.from_array(data),
        flags["iterations"], flags["batch_size"], seed,
    )  # fmt: skip
    x = toy(source, flags["points"], seed + HELD_OUT).points
    moved = clouds.transport(model, x, seed)
    row = {"task": task, "method": methods.METHODS[method].label, "seed": seed}
    row |= score(target, moved, seed, flags)
    say(
        f"{task}, {method}, seed {seed}: {row['found']} modes, {row['good']:.1f} % good, "
        f"W₂² {row['w2']:.3f}, {times.wall:.0f} s"
    )
    row |= {"wall": times.wall, "cpu": times.cpu}
    return {"row": row, "samples": moved[:_SHOWN] if seed == 0 else None}


def score(target: str, samples: np.ndarray, seed: int, flags: dict) -> dict:
    """Modes, good samples in %, W₂² to held-out data."""
    fit = planar_sets.fit(target, samples)
    count = min(flags["transport_points"], len(samples))
    held_out = toy(target, count, seed + HELD_OUT).points
    return {
        "found": fit.found, "modes": fit.modes, "good": 100 * fit.good,
        "w2": exact.squared_w2(samples[:count], held_out),
    }  # fmt: skip


def work(flags: dict, cases: Cases) -> Results | None:
    """All tasks, methods and seeds."""
    clouds.need_points(flags["points"], LEAST_POINTS, "points")
    clouds.need_points(flags["transport_points"], LEAST_POINTS, "transport_points")
    runs, pictures = [], {}
    for task in flags["tasks"]:
        for seed in cases.seeds:
            real = toy(TASKS[task][1], flags["points"], seed + 2 * HELD_OUT).points
            row = {"task": task, "method": "real data", "seed": seed}
            runs.append(row | score(TASKS[task][1], real, seed, flags))
        pictures[task, "real data"] = real
        for method in flags["methods"]:
            for seed in cases.seeds:
                found = cases.case((task, method, seed), case, task, method, seed, flags)
                runs.append(found["row"])
                if found["samples"]:
                    pictures[task, found["row"]["method"]] = np.array(found["samples"])
    if cases.is_part:
        return None
    columns = {
        "method": ("method", ""), "found": ("modes found", ".1f"), "modes": ("of", ".0f"),
        "good": ("good samples, %", ".1f"), "w2": ("W₂² to held-out data", ".3f"),
        "wall": ("s a run", ".0f"), "cpu": ("CPU s", ".0f"),
    }  # fmt: skip
    summary = over_seeds(runs, ["task", "method"])
    for row in summary:
        row.pop("modes_sd", None)
    tables = [
        Table(columns, [row for row in summary if row["task"] == task], task.replace("_", " "))
        for task in flags["tasks"]
    ]
    text = f"""
From N(0, I), or from moons, to toy data sets (`uotm_keras/data/toys.py`, 50 000 points to train
on). All methods: the same networks with a latent of 2, {flags["iterations"]} iterations of a
potential and four generator steps (WGAN-GP: five and one, as it is used), batches of
{flags["batch_size"]}, Adam(0.9, 0.999) with rates of 1e-3 that fall to 0, averaged generator,
{flags["seeds"]} seeds (means ± standard deviations); τ = {flags["tau"]:g}, no penalty but WGAN-GP's
(λ = 10, τ = 0). S-JKO has {methods.PHASES} equal phases, Ψ2 = kl, and h = 1/(2·τ·2), so that each
phase has the others' cost coefficient; the rates fall over all phases together, as everywhere. The
setting was chosen after looks at UOTM and WGAN-GP with another seed: at one step of each UOTM had
half of the modes, and at four generator steps WGAN-GP diverged. Nothing else was tuned.
Good: within 3 deviations of a centre or of the arm, or inside a black
square, of {flags["points"]} samples. A mode (a twelfth of the arm, a square) is found where it has
a quarter of its share or more. W₂²: exact, by `ot.emd2`, of {flags["transport_points"]} samples
to as many held-out points; real data show what sampling alone leaves."""
    return Results(
        "Toy data sets of the plane", text, tables, runs, _figure(pictures),
        "2 000 samples of each method (colour; seed 0) over real data (grey).",
    )  # fmt: skip


def _figure(pictures):
    tasks = list(dict.fromkeys(task for task, _ in pictures))
    names = [n for n in dict.fromkeys(name for _, name in pictures) if n != "real data"]
    figure, axes = new_figure(len(tasks), len(names), width=2.2, height=2.2, sharex=True)
    for row, task in zip(axes, tasks, strict=True):
        for i, (ax, name) in enumerate(zip(row, names, strict=True)):
            ax.plot(*pictures[task, "real data"][:_SHOWN].T, ".", markersize=1.5, color=GREY)
            ax.plot(*pictures[task, name][:_SHOWN].T, ".", markersize=1.5, color=COLOURS[i])
            ax.set(xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), aspect="equal")
            label(
                ax, "y₁" if task == tasks[-1] else "",
                f"{task.replace('_', ' ')}\ny₂" if i == 0 else "", name if task == tasks[0] else "",
            )  # fmt: skip
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("planar", command, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
