"""Compare scores that name the junk among training images, by kind of junk.

    python -m experiments.junk --dataset=idx:train-images-idx3-ubyte.gz --name=fashion_mnist

Six kinds of junk are mixed with images of 32 × 32 pixels: photos, digits, pages of text, noise,
plain colors, and images whose lower part is gray. `metrics.outlier_scores` is compared with four
usual scores, with the weights of exact plans from two sources, and, where --trained says so, with
the weights of a trained model."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from keras import ops
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import uotm_keras as uk
from experiments import exact
from experiments.cases import Cases
from experiments.command import Options, PositiveNumbers, new_command, run, say
from experiments.results import Results, Table, deviations, over_seeds
from uotm_keras.config import Integer, Text, TrainConfig, flag, flags_of, updated
from uotm_keras.data import ArrayDataset
from uotm_keras.metrics import outlier_scores
from uotm_keras.metrics.isolation import standardized
from uotm_keras.models.fitted_source import FittedSource
from uotm_keras.training.auto import TRANSPORT

SIZE = 32
KINDS = ("photo", "digit", "text", "noise", "plain", "damaged")
SCORES = {
    "mean": "distance to the mean image",
    "neighbors": "distance to 5 neighbors",
    "pca": "error of 50 principal components",
    "forest": "isolation forest on pixels",
    "plan_gaussian": "weights of the exact plan, x ~ N(0, I)",
    "plan_fitted": "weights of the exact plan, fitted source",
    "weight": "weights of a trained model, fitted source",
    "score": "`metrics.outlier_scores`",
    "both": "`metrics.outlier_scores` and trained weights",
}


@dataclasses.dataclass(frozen=True)
class JunkOptions(Options):
    """The flags of this experiment."""

    dataset: str = flag("mnist5k", Text("the name of a dataset of images"), "The clean images.")
    name: str = flag("mnist5k", Text("a word"), "Name of the results files, after junk_.")
    percent: tuple[float, ...] = flag(
        (1.0, 3.0, 10.0), PositiveNumbers(), "Junk in percent of the images, all kinds together."
    )
    trained: tuple[float, ...] = flag(
        (3.0,), PositiveNumbers(), "Those of --percent at which a model is trained, too."
    )
    images: int = flag(4_000, Integer(100, 1_000_000), "The most clean images to use.")
    source_points: int = flag(1_500, Integer(50, 100_000), "Points of the source in exact plans.")


COMMAND = new_command(__doc__, JunkOptions, iterations=1_500, batch_size=64, width=16)


def work(options: JunkOptions, cases: Cases) -> Results | None:
    """Run all percentages and seeds and return the results."""
    clean = uk.data.get(options.dataset, image_size=SIZE)
    runs = []
    for percent in options.percent:
        for seed in cases.seeds:
            names = (options.name, percent, seed)
            trains = percent in options.trained
            found = cases.case(names, _case, clean, percent, seed, options, trains)
            for row in found["rows"]:
                runs.append({"percent": percent, "seed": seed, **row})
            best = next(row for row in found["rows"] if row["score"] == SCORES["score"])
            say(f"{percent:g} % of junk, seed {seed}: AUROC {best['auroc']:.3f}")
    if cases.is_part:
        return None
    columns = {
        "score": ("score", ""), "auroc": ("AUROC, all kinds", ".3f"),
        "found": ("precision at N, %", ".0f"), **{kind: (kind, ".2f") for kind in KINDS},
    }  # fmt: skip
    summary = over_seeds(runs, ["percent", "score"])
    tables = [
        Table(columns, [row for row in summary if row["percent"] == percent], f"{percent:g} %")
        for percent in options.percent
    ]
    return Results(f"Junk among the images of {options.name}", _text(options), tables, runs)


def make(clean: uk.data.Dataset, percent: float, seed: int, most: int) -> tuple:
    """Mix images with equal numbers of each kind of junk.

    Args:
        clean: The clean images, 32 × 32 pixels with 1 or 3 channels.
        percent: Junk in percent of the clean images.
        seed: The random seed.
        most: The most clean images to use.

    Returns:
        The images, float32 (n, 32, 32, C) in [−1, 1], and the kind of each, with "" for clean.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(clean))[:most]
    images = clean.take(np.sort(chosen))
    each = max(1, round(percent / 100 * len(images) / len(KINDS)))
    junk = [_MAKERS[kind](rng, each, images) for kind in KINDS[:-1]]
    if images.shape[-1] == 1:
        junk = [_gray(some) for some in junk]
    damaged = images[rng.choice(len(images), each, replace=False)]
    for image in damaged:
        image[rng.integers(8, 20) :] = 0.0
    kinds = np.repeat(["", *KINDS], [len(images), *[each] * len(KINDS)])
    return np.concatenate([images, *junk, damaged]).astype("float32"), kinds


def _photos(rng: np.random.Generator, count: int, _: np.ndarray) -> np.ndarray:
    """Crops of scikit-learn's two photos."""
    crops = []
    photos = load_sample_images().images
    for _i in range(count):
        photo, side = photos[rng.integers(2)], int(rng.integers(48, 200))
        y, x = (int(rng.integers(0, length - side)) for length in photo.shape[:2])
        crop = Image.fromarray(photo[y : y + side, x : x + side])
        crops.append(np.asarray(crop.resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
    return np.stack(crops) / 127.5 - 1


def _digits(rng: np.random.Generator, count: int, _: np.ndarray) -> np.ndarray:
    digits = uk.data.get("mnist5k", image_size=SIZE)
    return np.repeat(digits.take(rng.permutation(len(digits))[:count]), 3, axis=-1)


def _pages(rng: np.random.Generator, count: int, _: np.ndarray) -> np.ndarray:
    """Lines of letters, dark on white or light on black."""
    letters = list("abcdefghij klmnop qrstu {}();=")
    pages = []
    for _i in range(count):
        light = rng.random() < 0.5
        page = Image.new("RGB", (256, 256), (250, 250, 250) if light else (20, 20, 30))
        draw = ImageDraw.Draw(page)
        for y in range(4, 250, 12):
            color = (30, 30, 30) if light else (200, 220, 200)
            draw.text((6, y), "".join(rng.choice(letters, 38)), fill=color)
        pages.append(np.asarray(page.resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
    return np.stack(pages) / 127.5 - 1


def _noise(rng: np.random.Generator, count: int, _: np.ndarray) -> np.ndarray:
    return rng.uniform(-1, 1, (count, SIZE, SIZE, 3))


def _plain(rng: np.random.Generator, count: int, _: np.ndarray) -> np.ndarray:
    colors = rng.uniform(-1, 1, (count, 1, 1, 3))
    return np.clip(colors + 0.015 * rng.standard_normal((count, SIZE, SIZE, 3)), -1, 1)


_MAKERS: dict[str, Callable[[np.random.Generator, int, np.ndarray], np.ndarray]] = {
    "photo": _photos, "digit": _digits, "text": _pages, "noise": _noise, "plain": _plain,
}  # fmt: skip


def _gray(images: np.ndarray) -> np.ndarray:
    return images @ np.array([[0.299], [0.587], [0.114]])


def _case(
    clean: uk.data.Dataset, percent: float, seed: int, options: JunkOptions, trains: bool
) -> dict:
    """Return a row per score: AUROC of all junk and of each kind, and the precision at N."""
    images, kinds = make(clean, percent, seed, options.images)
    scores = unusual(images, seed, options.source_points)
    if trains:
        scores["weight"] = -np.log(_trained_weights(images, seed, options))
        scores["both"] = scores["score"] + np.maximum(standardized(scores["weight"]), 0)
    junk = kinds != ""
    rows = []
    for name, score in scores.items():
        first = np.argsort(-score, kind="stable")[: junk.sum()]
        row = {"auroc": roc_auc_score(junk, score), "found": 100 * junk[first].mean()}
        for kind in KINDS:
            some = (kinds == kind) | ~junk
            row[kind] = roc_auc_score(junk[some], score[some])
        rows.append({"score": SCORES[name], **row})
    return {"rows": rows}


def unusual(images: np.ndarray, seed: int, source_points: int) -> dict[str, np.ndarray]:
    """Return the scores that need no training; each is higher for what is more unusual."""
    flat = images.reshape(len(images), -1).astype("float64")
    pca = PCA(50, random_state=seed).fit(flat)
    error = flat - pca.inverse_transform(pca.transform(flat))
    forest = IsolationForest(n_estimators=300, random_state=seed).fit(flat)
    distances, _ = NearestNeighbors(n_neighbors=6).fit(flat).kneighbors(flat)
    return {
        "mean": np.square(flat - flat.mean(axis=0)).sum(axis=1),
        "neighbors": distances[:, 1:].mean(axis=1),
        "pca": np.square(error).sum(axis=1),
        "forest": -forest.score_samples(flat),
        **{
            f"plan_{source}": -plan_weights(images, source, seed, source_points)
            for source in ("gaussian", "fitted")
        },
        "score": outlier_scores(images, seed),
    }


def plan_weights(images: np.ndarray, source: str, seed: int, points: int) -> np.ndarray:
    """Return the weights of the images in the exact KL-unbalanced plan from a Gaussian source.

    τ is such that τ·Ŵ₂² is `auto.TRANSPORT`, with the distance between equal numbers of points.
    """
    noise = np.random.default_rng(seed).standard_normal((points, *images.shape[1:]))
    noise = noise.astype("float32")
    if source == "fitted":
        fitted = FittedSource(images.shape[1:], images.shape[1:])
        fitted.adapt(images)
        noise = ops.convert_to_numpy(fitted(noise))
    x, y = noise.reshape(points, -1), images.reshape(len(images), -1)
    some = np.random.default_rng(seed).permutation(len(y))[: min(points, len(y), 500)]
    tau = TRANSPORT / exact.squared_w2(x[: len(some)], y[some])
    plan, _ = exact.unbalanced_plan(x, y, tau, iterations=600)
    return len(y) * plan.sum(axis=0)


def _trained_weights(images: np.ndarray, seed: int, options: JunkOptions) -> np.ndarray:
    """Return the weights of the images by a model with the settings of `auto`."""
    left: dict[str, int | None] = {
        name: None for name, found in flags_of(TrainConfig).items() if found.automatic
    }
    left |= {"max_steps": options.iterations, "batch_size": options.batch_size}
    widths = {"width": options.width, "potential_width": options.width}
    config = updated(TrainConfig(), **{**left, **widths, "image_size": 0, "seed": seed})
    dataset = ArrayDataset(uk.metrics.to_uint8(images), "junk")
    model = uk.auto.configure(dataset, config=config).build_model()
    model.adapt_source(dataset)
    batches = uk.data.Batches(dataset, batch_size=options.batch_size, seed=seed)
    model.fit(
        batches.stream(start=0, workers=0), steps_per_epoch=options.iterations, epochs=1,
        shuffle=False, verbose=0,
    )  # fmt: skip
    order = np.random.default_rng(0).permutation(len(images))
    weights = np.empty(len(images))
    weights[order] = model.target_weights(images[order], batch_size=options.batch_size)
    return np.maximum(weights, 1e-30)


def _text(options: JunkOptions) -> str:
    return f"""
At most {options.images:,} images are mixed with equal numbers of six kinds of junk: crops of
scikit-learn's two photos, MNIST digits, pages of text, uniform noise, plain colors, and clean
images whose lower part is gray. The tables show the area under the ROC curve for all junk against
the clean images (0.5 is chance), the fraction of junk among as many images as there is junk, and
the area for each kind. {deviations(options.seeds)}

The exact plans are KL-unbalanced, between {options.source_points:,} points of the source and all
images, with τ·W₂² = {TRANSPORT:g}. With x ~ N(0, I) they rank the images by their norm
(`docs/outliers.md`). The trained model has the settings of `uk.auto` and
{options.iterations:,} steps; its weights drift in longer trainings."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("junk", COMMAND, work, argv, lambda options: f"junk_{options.name}")


if __name__ == "__main__":
    raise SystemExit(main())
