"""Measure the effect of outliers among the training images, and whether their weights reveal them.

    python -m experiments.contamination

5,000 digits are mixed with 1, 5 and 10 % of outliers: images of another dataset (scikit-learn's
digits, enlarged) and inverted digits. Uniform noise and fixed-μ can be added by flags (UOTM,
section 5.2)."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from experiments import digit_images
from experiments.cases import Cases
from experiments.command import Options, new_command, run, say
from experiments.digit_images import SCORES, TAU
from experiments.figures import COLORS, LINES, MARKERS, Figure, label, new_figure
from experiments.results import Results, Table, deviations, over_seeds
from uotm_keras import InputError, costs, data
from uotm_keras.config import Enums, Integer, Integers, flag
from uotm_keras.metrics import Scorer

KINDS = {"digits": "other digits", "inverted": "inverted", "noise": "noise"}
_DATASETS = {"digits": "digits", "inverted": "mnist5k:inverted", "noise": "noise"}
METHODS = {
    "otm": ("OTM", "balanced", "balanced"),
    "fixed_mu": ("fixed-μ", "balanced", "kl"),
    "uotm": ("UOTM", "kl", "kl"),
}
_NEIGHBORS = 5


class Judge:
    """A nearest-neighbor classifier of images as digits or outliers.

    It uses equal numbers of both, a fifth of which is held out for `errors`.

    Args:
        clean, outliers: images of shape (n, H, W, C).

    Attributes:
        errors: the fraction of held-out digits classified as outliers, and the fraction of
            held-out outliers classified as digits.
    """

    def __init__(self, clean: np.ndarray, outliers: np.ndarray) -> None:
        count = min(len(clean), len(outliers))
        rng = np.random.default_rng(0)
        sides = [
            images.reshape(len(images), -1)[rng.permutation(len(images))[:count]]
            for images in (clean, outliers)
        ]
        kept = count // 5
        self._model = KNeighborsClassifier(_NEIGHBORS).fit(
            np.concatenate([side[kept:] for side in sides]),
            np.repeat([0, 1], count - kept),
        )
        self.errors = tuple(
            float((self._model.predict(side[:kept]) != kind).mean())
            for kind, side in enumerate(sides)
        )

    def share(self, images: np.ndarray) -> float:
        """Return the fraction of images classified as outliers."""
        return float(self._model.predict(images.reshape(len(images), -1)).mean())


@dataclasses.dataclass(frozen=True)
class ContaminationOptions(Options):
    """The flags of this experiment."""

    kinds: tuple[str, ...] = flag(("digits", "inverted"), Enums(*KINDS), "Kinds of outliers.")
    percent: tuple[int, ...] = flag(
        (0, 1, 5, 10), Integers(0), "Outliers in percent of the clean images, each below 100."
    )
    methods: tuple[str, ...] = flag(("otm", "uotm"), Enums(*METHODS), "Methods to compare.")
    # The distance needs at least 500 samples.
    samples: int = flag(2_000, Integer(500, 1_000_000), "Number of samples to score per run.")

    def check(self) -> None:
        """Check the largest percentage."""
        if max(self.percent) >= 100:
            raise InputError(f"--percent={max(self.percent)} is too large; use 0 to 99.")


COMMAND = new_command(__doc__, ContaminationOptions, iterations=4_000, batch_size=64, width=256)


def work(options: ContaminationOptions, cases: Cases) -> Results | None:
    """Run all kinds, percentages, methods and seeds and return the results."""
    clean = data.get("mnist5k")
    scorer = digit_images.reference(clean)
    judges = {kind: _judge(clean, kind) for kind in options.kinds}
    runs = []
    for kind in options.kinds:
        for percent in options.percent:
            dataset, used = clean, judges
            names: tuple = ("clean",)
            if percent:
                dataset = data.get("mnist5k", contaminate=f"{_DATASETS[kind]}:{percent / 100:g}")
                names, used = (kind, percent), {kind: judges[kind]}
            for method in options.methods:
                for seed in cases.seeds:
                    # Without outliers a case is the same for all kinds.
                    found = cases.case(
                        (*names, method, seed), _case, method, dataset, seed, options, scorer, used
                    )
                    row = {"kind": KINDS[kind], "percent": percent, **found["row"]}
                    runs.append(row | {"share": found["shares"][kind]})
                    say(
                        f"{kind} {percent} %, {method}, seed {seed}: {runs[-1]['share']:.2f} % "
                        f"outlier-like, distance {row['distance']:.2f}, AUROC {row['auroc']:.3f}"
                    )
    if cases.is_part:
        return None
    columns = {
        "method": ("method", ""), "percent": ("outliers in the data, %", ".0f"),
        "share": ("outlier-like samples, %", ".2f"), "auroc": ("AUROC of the weights", ".3f"),
        "found": ("outliers found, %", ".0f"), **SCORES, "cpu": ("CPU seconds per run", ".0f"),
    }  # fmt: skip
    summary = over_seeds(runs, ["kind", "percent", "method"])
    tables = [
        Table(columns, [row for row in summary if row["kind"] == KINDS[kind]], KINDS[kind])
        for kind in options.kinds
    ]
    return Results(
        "Outliers among the training images", _text(options, judges), tables, runs,
        _figure(summary),
        "Outlier-like samples against outliers in the data. The dotted line marks equality.",
    )  # fmt: skip


def _judge(clean: data.Dataset, kind: str) -> Judge:
    outliers = data.get(_DATASETS[kind], image_size=32)
    return Judge(*(dataset.take(np.arange(len(dataset))) for dataset in (clean, outliers)))


def _case(
    method: str,
    dataset: data.Dataset,
    seed: int,
    options: ContaminationOptions,
    scorer: Scorer,
    judges: Mapping[str, Judge],
) -> dict:
    """Train one method; return its row and, per kind, the outlier-like samples in %."""
    label_, before, after = METHODS[method]
    arguments = {
        "cost": costs.Quadratic(TAU), "source_divergence": before, "target_divergence": after,
    }  # fmt: skip
    model = digit_images.build(arguments, options.iterations, options.width, seed)
    times = digit_images.train(model, dataset, options.iterations, options.batch_size, seed)
    row = {"method": label_, "seed": seed, **digit_images.score(model, scorer, options.samples)}
    samples = np.nan_to_num(model.generate(options.samples, seed=0, batch_size=500))
    row["auroc"] = row["found"] = float("nan")
    if len(dataset.outliers) and after != "balanced":
        weights = model.target_weights(dataset.take(np.arange(len(dataset))), batch_size=500)
        is_outlier = np.zeros(len(dataset), bool)
        is_outlier[dataset.outliers] = True
        if np.isfinite(weights).all():
            lowest = np.argsort(weights)[: is_outlier.sum()]
            row["auroc"] = float(roc_auc_score(is_outlier, -weights))
            row["found"] = 100 * float(is_outlier[lowest].mean())
    return {
        "row": {**row, "wall": times.wall, "cpu": times.cpu},
        "shares": {kind: 100 * judge.share(samples) for kind, judge in judges.items()},
    }


def _text(options: ContaminationOptions, judges: Mapping[str, Judge]) -> str:
    judged = "; ".join(
        f"{KINDS[kind]}: {judge.errors[0]:.1%} of digits and {judge.errors[1]:.1%} of outliers"
        for kind, judge in judges.items()
    )
    return f"""
Gaussian noise is transported to the 5,000 digits of `mnist5k` with outliers added; the runs without
outliers are shared by all tables. Both methods use the same perceptrons of width {options.width},
{options.iterations:,} iterations on batches of {options.batch_size}, R1 with γ = 0.2, τ = {TAU:g}
and an averaged generator. {deviations(options.seeds)} The protocol was fixed before the first run,
as in `images_methods.md`.

{options.samples:,} samples are scored against the *clean* images; `images_methods.md` explains the
scores. A sample is outlier-like if most of its {_NEIGHBORS} nearest real images, among equal
numbers of digits and outliers, are outliers. This rule misclassifies the following fractions of
held-out images: {judged}. The AUROC measures how well low `target_weights` identify the outliers
(0.5 is chance). "Outliers found" is the fraction of outliers among as many images of lowest
weight. OTM gives all images the weight 1."""


def _figure(summary: list[dict]) -> Figure:
    kinds = list(dict.fromkeys(row["kind"] for row in summary))
    figure, axes = new_figure(1, len(kinds), width=4.0, height=3.4, sharey=True)
    for ax, kind in zip(axes[0], kinds, strict=True):
        rows = [row for row in summary if row["kind"] == kind]
        for i, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
            of_method = [row for row in rows if row["method"] == method]
            ax.errorbar(
                [row["percent"] for row in of_method], [row["share"] for row in of_method],
                [row.get("share_sd", 0.0) for row in of_method], color=COLORS[i],
                linestyle=LINES[i], marker=MARKERS[i], capsize=2, label=method,
            )  # fmt: skip
        most = max(row["percent"] for row in rows)
        ax.plot([0, most], [0, most], ":", color="black", linewidth=0.8)
        label(ax, "outliers in the data, %", "outlier-like samples, %" if ax is axes[0, 0] else "",
              kind)  # fmt: skip
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("contamination", COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
