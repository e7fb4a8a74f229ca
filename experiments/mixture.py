"""One-dimensional mixtures: D_KL of what is generated from the data.

    python -m experiments.mixture

μ = ½N(1, ½²) + ½N(−1, ½²), ν = ⅔N(2, ½²) + ⅓N(−1, ½²), 4 000 points of each, beside the
published numbers (UOTM, section 5.2)."""

import numpy as np
from scipy.special import ndtr

from experiments import clouds, methods
from experiments.bound import numbers
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.figures import COLOURS, GREY, label, new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras.cli.parsing import Names, Text, WholeNumber
from uotm_keras.data.toys import toy

PUBLISHED = {
    ("OTM", 0.1): 0.05, ("OTM", 0.02): 0.05, ("fixed-μ", 0.1): 0.02, ("fixed-μ", 0.02): 0.004,
    ("UOTM", 0.1): 0.02, ("UOTM", 0.02): 0.005,
}  # fmt: skip
LEAST_POINTS = 10_000
BINS = np.linspace(-6.0, 7.0, 261)


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=2_000)
    c.add("methods", Names(*methods.METHODS), ["otm", "fixed_mu", "uotm"], "Compared.")
    c.add("taus", Text("positive numbers separated by commas"), "0.1,0.02", "τ of the cost.")
    c.add("points", WholeNumber(1, 100_000_000), 200_000, "Generated, to measure on.")
    return c


def data_shares() -> np.ndarray:
    """ν of each bin, exactly."""
    cdf = 2 / 3 * ndtr((BINS - 2) / 0.5) + 1 / 3 * ndtr((BINS + 1) / 0.5)
    return np.maximum(np.diff(cdf), 1e-12)


def shares(samples: np.ndarray) -> np.ndarray:
    """The share of the samples in each bin."""
    return np.histogram(samples, BINS)[0] / len(samples)


def divergence(samples: np.ndarray) -> float:
    """D_KL(samples ‖ ν) over bins of 0.05; what lies outside counts into the outermost.

    Of n samples from ν itself it is about (bins − 1)/2n, the estimate's bias.
    """
    inside = np.clip(samples, BINS[0] + 1e-6, BINS[-1] - 1e-6)
    share = shares(inside)
    ratio = np.where(share > 0, share / data_shares(), 1.0)
    return float(np.sum(share * np.log(ratio)))


def case(method: str, tau: float, seed: int, flags: dict) -> dict:
    """One training: its row, and shares of the bins for the picture."""
    x, y = (toy(name, seed=seed).points for name in ("mixture_1d_source", "mixture_1d"))
    model = methods.build(
        method, 1, tau, flags["iterations"], width=flags["width"], potential_steps=5, seed=seed
    )
    times = clouds.train(
        model, clouds.from_array(x), clouds.from_array(y),
        flags["iterations"], flags["batch_size"], seed,
    )  # fmt: skip
    fresh = toy("mixture_1d_source", flags["points"], seed + 1_000_000).points
    moved = clouds.transport(model, fresh, seed)[:, 0]
    name = methods.METHODS[method].label
    row = {"method": name, "tau": tau, "seed": seed, "kl": divergence(moved)}
    say(f"{method}, τ {tau:g}, seed {seed}: D_KL {row['kl']:.4f}, {times.wall:.0f} s")
    row |= {"wall": times.wall, "cpu": times.cpu}
    return {"row": row, "shares": shares(moved) if seed == 0 else None}


def work(flags: dict, cases: Cases) -> Results | None:
    """All methods, τ and seeds."""
    clouds.need_points(flags["points"], LEAST_POINTS, "points")
    runs, pictures = [], {}
    for tau in numbers(flags["taus"], "taus"):
        for method in flags["methods"]:
            for seed in cases.seeds:
                found = cases.case((method, f"{tau:g}", seed), case, method, tau, seed, flags)
                runs.append(found["row"])
                if found["shares"]:
                    pictures[tau, found["row"]["method"]] = np.array(found["shares"])
    if cases.is_part:
        return None
    summary = over_seeds(runs, ["tau", "method"])
    for row in summary:
        row["published"] = PUBLISHED.get((row["method"], row["tau"]))
    table = Table(
        {
            "method": ("method", ""), "tau": ("τ", "g"), "kl": ("D_KL", ".4f"),
            "published": ("published", "g"), "wall": ("s a run", ".0f"), "cpu": ("CPU s", ".0f"),
        },
        summary,
    )  # fmt: skip
    real = divergence(toy("mixture_1d", flags["points"], 1_000_000).points[:, 0])
    text = f"""
μ = ½N(1, ½²) + ½N(−1, ½²), ν = ⅔N(2, ½²) + ⅓N(−1, ½²), 4 000 points of each to train on. All
methods: the same networks, {flags["iterations"]} iterations of 5 potential steps and a generator
step, batches of {flags["batch_size"]}, {flags["seeds"]} seeds (means ± standard deviations).
D_KL(generated ‖ ν) is by a histogram of {flags["points"]} samples in bins of 0.05 against ν's
exact shares; real samples score {real:.4f}. How the published figures were estimated is not said
in the paper; each seed has a training set of its own here."""
    return Results(
        "Mixtures on a line", text, [table], runs, _figure(pictures),
        "What each method generates (lines; seed 0) and ν (grey area).",
    )  # fmt: skip


def _figure(pictures):
    taus = list(dict.fromkeys(tau for tau, _ in pictures))
    names = list(dict.fromkeys(name for _, name in pictures))
    figure, axes = new_figure(len(taus), len(names), width=3.0, height=2.4, sharex=True)
    centres = (BINS[1:] + BINS[:-1]) / 2
    width = BINS[1] - BINS[0]
    for row, tau in zip(axes, taus, strict=True):
        for i, (ax, name) in enumerate(zip(row, names, strict=True)):
            ax.fill_between(centres, data_shares() / width, color=GREY, alpha=0.4, linewidth=0)
            ax.plot(centres, pictures[tau, name] / width, color=COLOURS[i], linewidth=1.5)
            ax.set_xlim(-4, 5)
            label(ax, "y" if tau == taus[-1] else "", "density" if i == 0 else "",
                  f"{name}, τ = {tau:g}")  # fmt: skip
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("mixture", command, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
