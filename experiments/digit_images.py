"""Digits of 32 × 32 pixels: networks small enough for a CPU, training and scores."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

import uotm_keras as uk
from experiments.clouds import Times
from uotm_keras import data, networks, penalties, schedules
from uotm_keras.metrics import Scorer
from uotm_keras.metrics.digit_quality import digit_quality
from uotm_keras.training import ScoreGenerator

SHAPE = (32, 32, 1)
TAU = 0.002
"""τ of `configs/mnist5k.flags`."""
SCORES = {
    "distance": ("digit Fréchet distance", ".2f"),
    "precision": ("precision", ".2f"),
    "recall": ("recall", ".2f"),
    "recognised": ("recognized, %", ".1f"),
    "smallest": ("smallest class, %", ".1f"),
}
"""Headings and number formats of the values that `score` returns."""


def build(arguments: dict[str, Any], iterations: int, width: int, seed: int) -> uk.UOTM:
    """Return a compiled model of perceptrons whose initial weights depend only on `seed`.

    Args:
        arguments: arguments of the model; "model" is its class if it is not `UOTM`.
        iterations: int, the number of iterations over which the learning rates, 6e-4 and 3e-4,
            decay to 2.5e-5.
        width: int, the width of both networks.
        seed: int, the random seed.
    """
    keras.utils.set_random_seed(seed)
    settings = {"model": uk.UOTM, "gradient_penalty": penalties.R1(0.2), **arguments}
    model = settings.pop("model")(
        networks.ResMLPGenerator(SHAPE, 64, width=width, output_activation="tanh"),
        networks.ResMLPPotential(SHAPE, width),
        ema_decay=0.995,
        seed=seed,
        **settings,
    )
    rates = (schedules.CosineAnnealing(rate, 2.5e-5, iterations) for rate in (6e-4, 3e-4))
    model.compile(*map(uk.optimizers.Adam, rates))
    return model


def reference(dataset: data.Dataset, metrics: tuple[str, ...] = ("fid", "pr")) -> Scorer:
    """Return a scorer in the features of a digit classifier: FID's formula, but not FID."""
    return Scorer(dataset, metrics, extractor="mnist5k")


def train(
    model: uk.UOTM,
    dataset: data.Dataset,
    iterations: int,
    batch_size: int,
    seed: int,
    scores: ScoreGenerator | None = None,
) -> Times:
    """Fit a model to a dataset as `train.py` does; the times include the scoring."""
    batches = data.Batches(dataset, batch_size=batch_size, seed=seed)
    return fit(model, batches, iterations, [scores] if scores is not None else [])


def fit(
    model: uk.UOTM,
    batches: data.Batches | data.PairBatches,
    iterations: int,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> Times:
    """Fit a model for a number of iterations."""
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


def score(model: uk.UOTM, scorer: Scorer, count: int) -> dict[str, float]:
    """Return the scores of `count` samples by the keys of `SCORES`; NaN if it has diverged."""
    samples = model.generate(count, seed=0, batch_size=500)
    if not np.isfinite(samples).all():
        return dict.fromkeys(SCORES, math.nan)
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
    """A `ScoreGenerator` that stops a training run that has diverged."""

    def score(self, model: uk.UOTM, step: int) -> dict[str, float]:
        if all(np.isfinite(weight).all() for weight in model.ema_generator.get_weights()):
            return super().score(model, step)
        model.stop_training = True
        self.history.append((step, {"fid": math.nan}))
        return {"fid": math.nan}


def curve(
    model: uk.UOTM, scorer: Scorer, every: int, count: int
) -> tuple[ScoreGenerator, Callable[[], list[tuple[int, float]]]]:
    """Return a callback that scores `count` samples every so many steps, and its curve.

    The second value is a function that returns the (step, distance) pairs after training. The
    callback stops a training run that has diverged and records the distance as NaN.
    """
    callback = _Curve(scorer, every, count, batch_size=500)
    return callback, lambda: [(step, values["fid"]) for step, values in callback.history]
