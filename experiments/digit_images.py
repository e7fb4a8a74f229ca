"""Digits of 32 × 32 pixels, networks small enough for a CPU, and their scores."""

import time
from collections.abc import Callable

import keras
import numpy as np

from experiments.clouds import Times
from uotm_keras import UOTM, data, networks, penalties, schedules
from uotm_keras.metrics import Scorer
from uotm_keras.metrics.digit_quality import digit_quality
from uotm_keras.models.optimizers import Adam
from uotm_keras.training.scoring import ScoreGenerator

SHAPE = (32, 32, 1)
TAU = 0.002
"""Of `configs/mnist5k.flags`."""
SCORES = {
    "distance": ("digit Fréchet distance", ".2f"),
    "precision": ("precision", ".2f"),
    "recall": ("recall", ".2f"),
    "recognised": ("recognised, %", ".1f"),
    "smallest": ("smallest class, %", ".1f"),
}
"""Headings of `score`'s values."""


def build(arguments: dict, iterations: int, width: int, seed: int) -> UOTM:
    """A compiled model of perceptrons, whose weights depend on `seed` alone.

    Args:
        arguments: of `UOTM`: what a method changes; "model" is another class than that.
        iterations: after which the learning rates, 6e-4 and 3e-4, have fallen to 2.5e-5.
    """
    keras.utils.set_random_seed(seed)
    settings = {"model": UOTM, "gradient_penalty": penalties.R1(0.2), **arguments}
    model = settings.pop("model")(
        networks.ResMLPGenerator(SHAPE, 64, width=width, output_activation="tanh"),
        networks.ResMLPPotential(SHAPE, width),
        ema_decay=0.995,
        seed=seed,
        **settings,
    )
    rates = (schedules.CosineAnnealing(rate, 2.5e-5, iterations) for rate in (6e-4, 3e-4))
    model.compile(*map(Adam, rates))
    return model


def reference(source: "data.Dataset", metrics: tuple[str, ...] = ("fid", "pr")) -> Scorer:
    """Judges by the features of a classifier of real digits: FID's formula, not FID."""
    return Scorer(source, metrics, extractor="mnist5k")


def train(
    model: UOTM,
    source: "data.Dataset",
    iterations: int,
    batch_size: int,
    seed: int,
    scores: ScoreGenerator | None = None,
) -> Times:
    """`fit` on a source, as `train.py` does it; the seconds include the scoring."""
    batches = data.Batches(source, batch_size=batch_size, seed=seed)
    return fit(model, batches, iterations, [scores] if scores is not None else [])


def fit(model: UOTM, batches: "data.Batches", iterations: int, callbacks=()) -> Times:
    """So many iterations on batches or pairs of batches."""
    started = time.perf_counter(), time.process_time()
    model.fit(
        batches.stream(start=0, workers=0),
        steps_per_epoch=iterations,
        epochs=1,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return Times(time.perf_counter() - started[0], time.process_time() - started[1])


def score(model: UOTM, scorer: Scorer, count: int) -> dict[str, float]:
    """The values of `SCORES` of `count` samples; NaN where the model has diverged."""
    samples = model.generate(count, seed=0, batch_size=500)
    if not np.isfinite(samples).all():
        return dict.fromkeys(SCORES, float("nan"))
    found = scorer.score(lambda: [samples], (-1.0, 1.0))["metrics"]
    quality = digit_quality(samples, "mnist5k")
    return {
        "distance": found["fid"]["value"],
        "precision": found["precision"]["value"],
        "recall": found["recall"]["value"],
        "recognised": 100 * quality.confident,
        "smallest": 100 * quality.smallest_class,
    }


class _Curve(ScoreGenerator):
    def score(self, model: UOTM, step: int) -> dict[str, float]:
        if all(np.isfinite(weight).all() for weight in model.ema_generator.get_weights()):
            return super().score(model, step)
        model.stop_training = True
        self.history.append((step, {"fid": float("nan")}))
        return {"fid": float("nan")}


def curve(
    model: UOTM, scorer: Scorer, every: int, count: int
) -> tuple[ScoreGenerator, Callable[[], list[tuple[int, float]]]]:
    """A callback that scores every so many steps, and (step, distance) when it is done.

    It ends a training that has diverged, with a distance of NaN.
    """
    callback = _Curve(scorer, every, count, batch_size=500)
    return callback, lambda: [(step, values["fid"]) for step, values in callback.history]
