"""Transport thin digits to bold ones and compare the maps with the exact discrete plan.

    python -m experiments.translation

No image has a counterpart: the two sets are made from different halves of mnist5k."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.svm import SVC

from experiments import digit_images, exact
from experiments.cases import Cases
from experiments.command import Options, PositiveNumbers, new_command, run, say
from experiments.figures import Figure, new_figure
from experiments.results import Results, Table, deviations, over_seeds
from uotm_keras import costs, data
from uotm_keras.config import Integer, flag
from uotm_keras.metrics import Scorer

_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class TranslationOptions(Options):
    """The flags of this experiment."""

    taus: tuple[float, ...] = flag(
        (0.0005, 0.002, 0.008), PositiveNumbers(), "Values of τ, the cost coefficient."
    )
    samples: int = flag(
        1_000, Integer(100, 2_500), "Number of images to transport and to match exactly."
    )


COMMAND = new_command(__doc__, TranslationOptions, iterations=3_000, batch_size=64, width=256)


class Classes:
    """A classifier of bold digits; `accuracy` is measured on held-out ones.

    Args:
        bold: images of shape (n, H, W, C) in the order of mnist5k.
    """

    def __init__(self, bold: np.ndarray) -> None:
        # The classes alternate in mnist5k, and each half has 250 images of each.
        labels = np.arange(len(bold)) % 10
        rng = np.random.default_rng(0)
        order = rng.permutation(len(bold))
        kept, used = np.split(order, [len(bold) // 5])
        flat = bold.reshape(len(bold), -1)
        self.accuracy = float(np.mean(SVC(C=5).fit(flat[used], labels[used])
                                      .predict(flat[kept]) == labels[kept]))  # fmt: skip
        self._model = SVC(C=5).fit(flat, labels)

    def of(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each image."""
        return self._model.predict(images.reshape(len(images), -1))


def work(options: TranslationOptions, cases: Cases) -> Results | None:
    """Run all τ and seeds and return the results."""
    count = options.samples
    thin, bold = data.get("mnist5k:thin"), data.get("mnist5k:bold")
    x, y = thin.take(np.arange(count)), bold.take(np.arange(count))
    labels = np.arange(count) % 10
    classes = Classes(bold.take(np.arange(len(bold))))
    scorer = Scorer(bold, ("fid",), extractor="mnist5k")
    flat_x, flat_y = x.reshape(count, -1), y.reshape(count, -1)
    best = exact.matching(flat_x, flat_y)
    runs = [
        {
            "how": "exact plan", "seed": 0, "cost": _cost(x, y[best]),
            "kept": 100 * float(np.mean(labels[best] == labels)),
        },
        {"how": "at random", "seed": 0, "cost": _cost(x, y[np.random.default_rng(0).permutation(
            count)]), "kept": 10.0},
    ]  # fmt: skip
    rows = {"thin": x[:_SHOWN], "exact plan": y[best][:_SHOWN]}
    for tau in options.taus:
        for seed in cases.seeds:
            found = cases.case(
                (f"{tau:g}", seed), _case, tau, seed, options, thin, bold, classes, scorer
            )
            row = found["row"]
            say(f"{row['how']}, seed {seed}: cost {row['cost']:.1f}, {row['kept']:.1f} % kept")
            runs.append(row)
            if found["images"]:
                rows[row["how"]] = np.array(found["images"])
    if cases.is_part:
        return None
    columns = {
        "how": ("map", ""), "cost": ("mean ‖x − T(x)‖²", ".1f"),
        "kept": ("class preserved, %", ".1f"),
        "distance": ("digit Fréchet distance to bold digits", ".2f"),
        "cpu": ("CPU seconds per run", ".0f"),
    }  # fmt: skip
    text = f"""
`mnist5k:thin` is transported to `mnist5k:bold`: 2,500 digits with thinner strokes and 2,500 others
with bolder strokes. No image of one set has its counterpart in the other, and training uses neither
pairs nor classes. The model is UOTM (kl, kl, R1 with γ = 0.2) with perceptrons of width
{options.width}, trained for {options.iterations:,} iterations of one potential step and one
generator step on batches of {options.batch_size}. {deviations(options.seeds)}

The cost and the classes are those of {count:,} images at latent 0. The exact plan is `ot.emd` from
the same images to {count:,} bold ones. It can only permute these images, while a map is free to
move less. The classes are assigned by a support-vector classifier of bold digits with an accuracy
of {classes.accuracy:.1%} on held-out ones."""
    return Results(
        "From thin to bold digits", text, [Table(columns, over_seeds(runs, ["how"]))], runs,
        _figure(rows),
        "Thin digits, their images under the exact discrete plan, and their images under the maps.",
    )  # fmt: skip


def _case(
    tau: float,
    seed: int,
    options: TranslationOptions,
    thin: data.Dataset,
    bold: data.Dataset,
    classes: Classes,
    scorer: Scorer,
) -> dict:
    """Train with one τ; return its row and images for the figure."""
    model = digit_images.build(
        {"cost": costs.Quadratic(tau), "source": "data"}, options.iterations, options.width, seed
    )
    batches = data.PairBatches(thin, bold, batch_size=options.batch_size, seed=seed)
    times = digit_images.fit(model, batches, options.iterations)
    x = thin.take(np.arange(options.samples))
    moved = model.transport(x, np.zeros((len(x), model.latent_dim or 0)), batch_size=500)
    scores = scorer.score(lambda: [moved], (-1.0, 1.0))["metrics"]
    row = {
        "how": f"UOTM, τ = {tau:g}", "seed": seed, "cost": _cost(x, moved),
        "kept": 100 * float(np.mean(classes.of(moved) == np.arange(len(x)) % 10)),
        "distance": scores["fid"]["value"], "wall": times.wall, "cpu": times.cpu,
    }  # fmt: skip
    return {"row": row, "images": moved[:_SHOWN] if seed == 0 else None}


def _cost(x: np.ndarray, moved: np.ndarray) -> float:
    return float(np.mean(np.sum((x.astype("float64") - moved) ** 2, axis=(1, 2, 3))))


def _figure(rows: dict[str, np.ndarray]) -> Figure:
    figure, axes = new_figure(len(rows), 1, width=7.0, height=0.75)
    for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        ax.imshow(np.concatenate(list(images[..., 0]), axis=1), cmap="gray", vmin=-1, vmax=1)
        ax.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("translation", COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
