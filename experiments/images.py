"""The paper's comparisons on images: methods, divergences, τ, and R1, on 5 000 real digits.

    python -m experiments.images --part=methods
    python -m experiments.images --part=divergences
    python -m experiments.images --part=tau
    python -m experiments.images --part=r1

Writes images_PART.csv, .md and .png."""

import math

import numpy as np

from experiments import digit_images
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.digit_images import SCORES, TAU
from experiments.figures import COLOURS, LINES, MARKERS, label, new_figure
from experiments.methods import PHASES, sjko
from experiments.results import Results, Table, over_seeds
from uotm_keras import SJKO, costs, data, penalties, schedules
from uotm_keras.config.flags import Choice, WholeNumber
from uotm_keras.utils.errors import InputError

DIVERGENCES = ("kl", "chi2", "softplus", "balanced")
TAUS = (2e-5, 2e-4, 6e-4, 2e-3, 6e-3, 2e-2)
PARTS = ("methods", "divergences", "tau", "r1")
LEAST_SAMPLES = 500
_SAME = {
    "balanced, balanced": "OTM", "balanced, kl": "fixed-μ", "kl, kl": "UOTM", f"{TAU:g}": "UOTM",
    "OTM, with R1": "OTM", "fixed-μ, with R1": "fixed-μ", "UOTM, with R1": "UOTM",
}  # fmt: skip
"""Settings of several parts, which are trained once."""


def settings(part: str, iterations: int) -> dict[str, dict]:
    """What each setting of a part is called, and its arguments of `digit_images.build`."""

    def relaxed(source: str, target: str, tau: float = TAU, **more) -> dict:
        cost = costs.Quadratic(tau)
        return {
            "cost": cost, "source_divergence": source, "target_divergence": target, **more
        }  # fmt: skip

    methods = {
        "WGAN-GP": relaxed(
            "balanced", "balanced", 0.0, gradient_penalty=penalties.WassersteinGP(10.0)
        ),
        "OTM": relaxed("balanced", "balanced"),
        "fixed-μ": relaxed("balanced", "kl"),
        "UOTM": relaxed("kl", "kl"),
        "UOTM-SD": relaxed(
            "softplus", "softplus",
            divergence_schedule=schedules.LinearAlpha(0.2, 5.0, max(1, iterations * 3 // 4)),
        ),
        "S-JKO": {"model": SJKO, **sjko(TAU, iterations, math.prod(digit_images.SHAPE))},
    }  # fmt: skip
    if part == "methods":
        return methods
    if part == "divergences":
        return {f"{a}, {b}": relaxed(a, b) for a in DIVERGENCES for b in DIVERGENCES}
    if part == "tau":
        return {f"{tau:g}": relaxed("kl", "kl", tau) for tau in TAUS}
    return {
        f"{name}, {penalty}": {**methods[name], "gradient_penalty": value}
        for name in ("OTM", "fixed-μ", "UOTM")
        for penalty, value in (("with R1", penalties.R1(0.2)), ("without R1", None))
    }


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=4_000, batch_size=64, width=256)
    c.add("part", Choice(*PARTS), "methods", "What is compared.")
    c.add("samples", WholeNumber(1, 1_000_000), 2_000, "Scored, of each run.")
    c.add("curve_points", WholeNumber(1, 100), 6, "Scores on the way, for the curves.")
    return c


def work(flags: dict, cases: Cases) -> Results | None:
    """All settings of one part, with all seeds."""
    if flags["samples"] < LEAST_SAMPLES:
        raise InputError(
            f"flag --samples={flags['samples']}: the distance needs at least {LEAST_SAMPLES}."
        )
    part = flags["part"]
    source = data.get("mnist5k")
    scorers = digit_images.reference(source), digit_images.reference(source, ("fid",))
    runs, curves = [], {}
    for name, arguments in settings(part, flags["iterations"]).items():
        for seed in cases.seeds:
            names = _SAME.get(name, name), seed
            found = cases.case(names, _case, arguments, seed, flags, source, *scorers)
            say(f"{name}, seed {seed}: {found['row']['distance']:.2f}")
            runs.append({"setting": name, **found["row"]})
            curves.setdefault(name, []).append(found["curve"])
    if cases.is_part:
        return None
    columns = {"setting": (_HEADINGS[part], ""), **SCORES, "cpu": ("CPU s a run", ".0f")}
    summary = over_seeds(runs, ["setting"])
    if part == "divergences":
        figure = _table_figure(runs)
        caption = "Digit Fréchet distance at the end, mean over the seeds that did not diverge."
    else:
        figure, caption = _figure(curves), "Digit Fréchet distance by step, each curve a seed."
    return Results(
        f"Digits: {_TITLES[part]}", _text(flags), [Table(columns, summary)], runs, figure, caption
    )


def _case(arguments: dict, seed: int, flags: dict, source, scorer, curve_scorer) -> dict:
    """One training: its row, and (step, distance) on the way."""
    iterations = flags["iterations"]
    model = digit_images.build(arguments, iterations, flags["width"], seed)
    every = max(1, iterations // flags["curve_points"])
    callback, read = digit_images.curve(model, curve_scorer, every, flags["samples"])
    times = digit_images.train(model, source, iterations, flags["batch_size"], seed, callback)
    row = {"seed": seed, **digit_images.score(model, scorer, flags["samples"])}
    return {"row": {**row, "wall": times.wall, "cpu": times.cpu}, "curve": read()}


_TITLES = {
    "methods": "the family's methods",
    "divergences": "all pairs of divergences",
    "tau": "three decades of τ",
    "r1": "with and without R1",
}
_HEADINGS = {
    "methods": "method", "divergences": "Ψ1, Ψ2", "tau": "τ", "r1": "method, penalty"
}  # fmt: skip


def _text(flags: dict) -> str:
    return f"""
From Gaussian noise to the 5 000 digits of `mnist5k` (32 × 32). All settings: the same
perceptrons (width {flags["width"]}), {flags["iterations"]} iterations of a potential and a
generator step, batches of {flags["batch_size"]}, R1 of 0.2 and τ = {TAU:g} where nothing else is
said (those of `configs/mnist5k.flags`, found for UOTM with Ψ = kl: the others were not tuned),
averaged generator (0.995), {flags["seeds"]} seeds (means ± standard deviations). Fixed before
the first run of these seeds; with another one UOTM alone was seen at 1 500 iterations (35 %
recognised) and at 4 000 (65 %). WGAN-GP: λ = 10, τ = 0. S-JKO: {PHASES} phases, Ψ2 = kl, and
h = 1/(2·τ·1024), so that each phase has the others' cost coefficient. Scores: {flags["samples"]}
samples against all images, by FID's formula, precision and recall in the features of a classifier
of real digits (not FID); recognised: share that a second classifier gives a class with a
probability above 0.8 (real held-out digits: 88.7 %); the smallest class's share of the samples
(10 % in the data). A run that diverges is stopped; means are over the others, and say so."""


def _figure(curves: dict[str, list]):
    figure, axes = new_figure(width=6.4, height=4.0)
    ax = axes[0, 0]
    for i, (name, of_seeds) in enumerate(curves.items()):
        for j, points in enumerate(of_seeds):
            ax.plot(
                *zip(*points, strict=True), color=COLOURS[i % len(COLOURS)],
                linestyle=LINES[i // len(COLOURS) % len(LINES)], marker=MARKERS[i % len(MARKERS)],
                markersize=3.5, linewidth=1.2, label=name if j == 0 else None,
            )  # fmt: skip
    ax.set_yscale("log")
    ax.legend(fontsize=7, ncols=2, frameon=False)
    label(ax, "iteration", "digit Fréchet distance (lower is better)")
    return figure


def _table_figure(runs: list[dict]):
    """A square for each pair of divergences."""
    names = [f"{a}, {b}" for a in DIVERGENCES for b in DIVERGENCES]
    distances = {
        name: np.array([run["distance"] for run in runs if run["setting"] == name])
        for name in names
    }
    finite = {name: values[np.isfinite(values)] for name, values in distances.items()}
    means = [values.mean() if len(values) else np.nan for values in finite.values()]
    figure, axes = new_figure(width=4.6, height=3.8)
    ax = axes[0, 0]
    ax.grid(False)
    size = len(DIVERGENCES)
    squares = ax.imshow(np.reshape(means, (size, size)), norm="log", cmap="cividis_r")
    for i, (name, mean) in enumerate(zip(names, means, strict=True)):
        note = "diverged" if np.isnan(mean) else f"{mean:.1f}"
        lost = len(distances[name]) - len(finite[name])
        if lost and not np.isnan(mean):
            note += f"\n{lost} diverged"
        dark = not np.isnan(mean) and squares.norm(mean) > 0.5
        ax.text(i % size, i // size, note, ha="center", va="center", fontsize=8,
                color="white" if dark else "black")  # fmt: skip
    ax.set_xticks(range(size), DIVERGENCES)
    ax.set_yticks(range(size), DIVERGENCES)
    label(ax, "Ψ2, of the target", "Ψ1, of the source")
    bar = figure.colorbar(squares, ax=ax)
    bar.set_label("digit Fréchet distance (lower is better)", fontsize=9)
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("images", command, work, argv, lambda flags: f"images_{flags['part']}")


if __name__ == "__main__":
    raise SystemExit(main())
