"""Junk among the training images: what gets into the samples, and whether it is named.

    python -m experiments.contamination

5 000 digits with 1, 5 and 10 % of outliers: images of another data set (scikit-learn's digits,
enlarged) and inverted digits; uniform noise and fixed-μ by flags (paper, section 5.2)."""

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from experiments import digit_images
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.digit_images import SCORES, TAU
from experiments.figures import COLOURS, LINES, MARKERS, label, new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras import costs, data
from uotm_keras.config.flags import Names, WholeNumber, WholeNumbers
from uotm_keras.utils.errors import InputError

KINDS = {"digits": "other digits", "inverted": "inverted", "noise": "noise"}
_SOURCES = {"digits": "digits", "inverted": "mnist5k:inverted", "noise": "noise"}
METHODS = {
    "otm": ("OTM", "balanced", "balanced"),
    "fixed_mu": ("fixed-μ", "balanced", "kl"),
    "uotm": ("UOTM", "kl", "kl"),
}
_NEIGHBOURS = 5
LEAST_SAMPLES = 500


class Judge:
    """Tells outlier-like images from digits, by the nearest real images of both kinds.

    Both kinds count alike: as many images of each, of which a fifth is kept for `errors`.
    """

    def __init__(self, clean: np.ndarray, outliers: np.ndarray):
        count = min(len(clean), len(outliers))
        rng = np.random.default_rng(0)
        sides = [
            images.reshape(len(images), -1)[rng.permutation(len(images))[:count]]
            for images in (clean, outliers)
        ]
        kept = count // 5
        self._model = KNeighborsClassifier(_NEIGHBOURS).fit(
            np.concatenate([side[kept:] for side in sides]),
            np.repeat([0, 1], count - kept),
        )
        self.errors = tuple(
            float((self._model.predict(side[:kept]) != kind).mean())
            for kind, side in enumerate(sides)
        )
        """Shares of real digits taken for outliers, and of outliers taken for digits."""

    def share(self, images: np.ndarray) -> float:
        """The share of outlier-like ones."""
        return float(self._model.predict(images.reshape(len(images), -1)).mean())


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=4_000, batch_size=64, width=256)
    c.add("kinds", Names(*KINDS), ["digits", "inverted"], "Of outliers.")
    c.add("percent", WholeNumbers(0), [0, 1, 5, 10], "Outliers over clean images.")
    c.add("methods", Names(*METHODS), ["otm", "uotm"], "Compared.")
    c.add("samples", WholeNumber(1, 1_000_000), 2_000, "Scored, of each run.")
    return c


def work(flags: dict, cases: Cases) -> Results | None:
    """All kinds, fractions, methods and seeds."""
    if flags["samples"] < LEAST_SAMPLES:
        raise InputError(
            f"flag --samples={flags['samples']}: the distance needs at least {LEAST_SAMPLES}."
        )
    if max(flags["percent"]) >= 100:
        raise InputError(f"flag --percent={max(flags['percent'])}: accepted are 0 to 99.")
    clean = data.get("mnist5k")
    scorer = digit_images.reference(clean)
    judges = {kind: _judge(clean, kind) for kind in flags["kinds"]}
    runs = []
    for kind in flags["kinds"]:
        for percent in flags["percent"]:
            source, names, used = clean, ["clean"], judges
            if percent:
                source = data.get("mnist5k", contaminate=f"{_SOURCES[kind]}:{percent / 100:g}")
                names, used = [kind, percent], {kind: judges[kind]}
            for method in flags["methods"]:
                for seed in cases.seeds:
                    # Without outliers a case is the same for all kinds, and done once.
                    found = cases.case(
                        (*names, method, seed), _case, method, source, seed, flags, scorer, used
                    )
                    row = {"kind": KINDS[kind], "percent": percent, **found["row"]}
                    runs.append(row | {"share": found["shares"][kind]})
                    say(
                        f"{kind} {percent} %, {method}, seed {seed}: {runs[-1]['share']:.2f} % "
                        f"like outliers, distance {row['distance']:.2f}, AUROC {row['auroc']:.3f}"
                    )
    if cases.is_part:
        return None
    columns = {
        "method": ("method", ""), "percent": ("outliers in the data, %", ".0f"),
        "share": ("samples like outliers, %", ".2f"), "auroc": ("AUROC of the weights", ".3f"),
        "found": ("outliers in as many lowest, %", ".0f"), **SCORES, "cpu": ("CPU s a run", ".0f"),
    }  # fmt: skip
    summary = over_seeds(runs, ["kind", "percent", "method"])
    tables = [
        Table(columns, [row for row in summary if row["kind"] == KINDS[kind]], KINDS[kind])
        for kind in flags["kinds"]
    ]
    return Results(
        "Junk among the training images", _text(flags, judges), tables, runs, _figure(summary),
        "Share of outlier-like samples against the share of outliers in the data; the dotted "
        "line is their equality.",
    )  # fmt: skip


def _judge(clean: "data.Dataset", kind: str) -> Judge:
    outliers = data.get(_SOURCES[kind], image_size=32)
    return Judge(*(source.take(np.arange(len(source))) for source in (clean, outliers)))


def _case(method, source, seed, flags, scorer, judges: dict[str, Judge]) -> dict:
    """One training: its row, and for each judge the share of samples like its outliers, in %."""
    label_, before, after = METHODS[method]
    arguments = {
        "cost": costs.Quadratic(TAU), "source_divergence": before, "target_divergence": after,
    }  # fmt: skip
    model = digit_images.build(arguments, flags["iterations"], flags["width"], seed)
    times = digit_images.train(model, source, flags["iterations"], flags["batch_size"], seed)
    row = {"method": label_, "seed": seed, **digit_images.score(model, scorer, flags["samples"])}
    samples = np.nan_to_num(model.generate(flags["samples"], seed=0, batch_size=500))
    row["auroc"] = row["found"] = float("nan")
    if len(source.outliers) and after != "balanced":
        weights = model.target_weights(source.take(np.arange(len(source))), batch_size=500)
        is_outlier = np.zeros(len(source), bool)
        is_outlier[source.outliers] = True
        if np.isfinite(weights).all():
            lowest = np.argsort(weights)[: is_outlier.sum()]
            row["auroc"] = float(roc_auc_score(is_outlier, -weights))
            row["found"] = 100 * float(is_outlier[lowest].mean())
    return {
        "row": {**row, "wall": times.wall, "cpu": times.cpu},
        "shares": {kind: 100 * judge.share(samples) for kind, judge in judges.items()},
    }


def _text(flags: dict, judges: dict[str, Judge]) -> str:
    judged = "; ".join(
        f"{KINDS[kind]}: {judge.errors[0]:.1%} of real digits and {judge.errors[1]:.1%} of real "
        "outliers judged wrongly"
        for kind, judge in judges.items()
    )
    return f"""
From Gaussian noise to the 5 000 digits of `mnist5k` with outliers added; without any, the runs
of all tables are the same ones. The same perceptrons
(width {flags["width"]}), {flags["iterations"]} iterations, batches of {flags["batch_size"]}, R1 of
0.2, τ = {TAU:g}, averaged generator, {flags["seeds"]} seeds (means ± standard deviations) for each
method; fixed before the first run, as in `images_methods.md`. Scores: {flags["samples"]} samples
against the *clean* images (see `images_methods.md`). Like outliers: most of the {_NEIGHBOURS}
nearest real images, of as many digits as outliers, are outliers ({judged}, held out).
AUROC: how well the lowest `target_weights` name the outliers, 0.5 is chance;
OTM gives all images the weight 1."""


def _figure(summary: list[dict]):
    kinds = list(dict.fromkeys(row["kind"] for row in summary))
    figure, axes = new_figure(1, len(kinds), width=4.0, height=3.4, sharey=True)
    for ax, kind in zip(axes[0], kinds, strict=True):
        rows = [row for row in summary if row["kind"] == kind]
        for i, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
            of_method = [row for row in rows if row["method"] == method]
            ax.errorbar(
                [row["percent"] for row in of_method], [row["share"] for row in of_method],
                [row.get("share_sd", 0.0) for row in of_method], color=COLOURS[i],
                linestyle=LINES[i], marker=MARKERS[i], capsize=2, label=method,
            )  # fmt: skip
        most = max(row["percent"] for row in rows)
        ax.plot([0, most], [0, most], ":", color="black", linewidth=0.8)
        label(ax, "outliers in the data, %", "samples like outliers, %" if ax is axes[0, 0] else "",
              kind)  # fmt: skip
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("contamination", command, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
