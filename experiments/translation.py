"""Image to image: thin digits become bold ones, beside the exact discrete plan.

    python -m experiments.translation

No image has a partner: the two sets are made of different halves of mnist5k."""

import numpy as np
from sklearn.svm import SVC

from experiments import digit_images, exact
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.figures import new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras import costs, data
from uotm_keras.config.flags import Text, WholeNumber
from uotm_keras.metrics import Scorer
from uotm_keras.utils.errors import InputError

LEAST_SAMPLES = 100
_SHOWN = 12


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=3_000, batch_size=64, width=256)
    c.add("taus", Text("positive numbers separated by commas"), "0.0005,0.002,0.008", "τ.")
    c.add("samples", WholeNumber(1, 2_500), 1_000, "Transported, and matched exactly.")
    return c


def parse_taus(text: str) -> list[float]:
    """Positive numbers of a text.

    Raises:
        InputError: something else is among them.
    """
    try:
        taus = [float(part) for part in text.split(",")]
    except ValueError:
        taus = [0.0]
    if not all(0 < tau < float("inf") for tau in taus):
        raise InputError(f"flag --taus={text} must be positive numbers separated by commas.")
    return taus


class Classes:
    """A classifier of real bold digits, and its accuracy on thin ones made bold."""

    def __init__(self, bold: np.ndarray):
        # Classes take turns in mnist5k, and each half holds 250 of each.
        labels = np.arange(len(bold)) % 10
        rng = np.random.default_rng(0)
        order = rng.permutation(len(bold))
        kept, used = np.split(order, [len(bold) // 5])
        flat = bold.reshape(len(bold), -1)
        self.accuracy = float(np.mean(SVC(C=5).fit(flat[used], labels[used])
                                      .predict(flat[kept]) == labels[kept]))  # fmt: skip
        self._model = SVC(C=5).fit(flat, labels)

    def of(self, images: np.ndarray) -> np.ndarray:
        """The class of each."""
        return self._model.predict(images.reshape(len(images), -1))


def work(flags: dict, cases: Cases) -> Results | None:
    """All τ and seeds."""
    count = flags["samples"]
    if count < LEAST_SAMPLES:
        raise InputError(f"flag --samples={count}: the plan needs at least {LEAST_SAMPLES}.")
    taus = parse_taus(flags["taus"])
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
    judges = classes, scorer, labels
    for tau in taus:
        for seed in cases.seeds:
            found = cases.case((f"{tau:g}", seed), _case, tau, seed, flags, thin, bold, judges)
            row = found["row"]
            say(f"{row['how']}, seed {seed}: cost {row['cost']:.1f}, {row['kept']:.1f} % kept")
            runs.append(row)
            if found["images"]:
                rows[row["how"]] = np.array(found["images"])
    if cases.is_part:
        return None
    columns = {
        "how": ("map", ""), "cost": ("mean ‖x − T(x)‖²", ".1f"), "kept": ("class kept, %", ".1f"),
        "distance": ("digit Fréchet distance to bold digits", ".2f"), "cpu": ("CPU s a run", ".0f"),
    }  # fmt: skip
    text = f"""
From `mnist5k:thin` to `mnist5k:bold`: 2 500 digits with thinner and 2 500 others with bolder
strokes; no image of one has its counterpart in the other, and training sees no pairs and no
classes. UOTM (kl, kl, R1 of 0.2), perceptrons of width {flags["width"]}, {flags["iterations"]}
iterations of a potential and a generator step, batches of {flags["batch_size"]},
{flags["seeds"]} seeds. Cost and classes of {count} images, latent 0; exact plan: `ot.emd` of the
same images to {count} bold ones, which it can only permute, while a map may move less. Classes by
a support-vector classifier of bold digits ({classes.accuracy:.1%} right on held-out ones)."""
    return Results(
        "Thin digits to bold ones", text, [Table(columns, over_seeds(runs, ["how"]))], runs,
        _figure(rows),
        "Thin digits, what the exact discrete plan gives them, and what the maps do.",
    )  # fmt: skip


def _case(tau: float, seed: int, flags: dict, thin, bold, judges) -> dict:
    """One training: its row, and images for the picture."""
    classes, scorer, labels = judges
    model = digit_images.build(
        {"cost": costs.Quadratic(tau), "source": "data"}, flags["iterations"], flags["width"], seed
    )
    batches = data.PairBatches(thin, bold, batch_size=flags["batch_size"], seed=seed)
    times = digit_images.fit(model, batches, flags["iterations"])
    x = thin.take(np.arange(flags["samples"]))
    moved = model.transport(x, np.zeros((len(x), model.latent_dim)), batch_size=500)
    scores = scorer.score(lambda: [moved], (-1.0, 1.0))["metrics"]
    row = {
        "how": f"UOTM, τ = {tau:g}", "seed": seed, "cost": _cost(x, moved),
        "kept": 100 * float(np.mean(classes.of(moved) == labels)),
        "distance": scores["fid"]["value"], "wall": times.wall, "cpu": times.cpu,
    }  # fmt: skip
    return {"row": row, "images": moved[:_SHOWN] if seed == 0 else None}


def _cost(x: np.ndarray, moved: np.ndarray) -> float:
    return float(np.mean(np.sum((x.astype("float64") - moved) ** 2, axis=(1, 2, 3))))


def _figure(rows: dict[str, np.ndarray]):
    figure, axes = new_figure(len(rows), 1, width=7.0, height=0.75)
    for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        ax.imshow(np.concatenate(list(images[..., 0]), axis=1), cmap="gray", vmin=-1, vmax=1)
        ax.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("translation", command, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
