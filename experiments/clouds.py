"""Training a UOTM between two distributions of points, and evaluating the trained model."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from uotm_keras import UOTM

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""A function of a random generator and n that returns n points of shape (n, d)."""


def from_array(points: np.ndarray) -> Draw:
    """Return a `Draw` from a finite set of points, with replacement."""
    points = np.asarray(points, "float32")
    return lambda rng, count: points[rng.integers(len(points), size=count)]


def gaussian(mean: Any, covariance: Any) -> Draw:
    """Return a `Draw` from N(mean, covariance)."""
    mean = np.asarray(mean, "float64")
    root = np.linalg.cholesky(np.asarray(covariance, "float64"))
    return lambda rng, count: mean + rng.standard_normal((count, len(mean))) @ root.T


class _Batches(keras.utils.PyDataset):
    """New points for each iteration; a batch depends only on the seed and its number."""

    def __init__(
        self, source: Draw | None, target: Draw, iterations: int, batch: int, seed: int
    ) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.iterations, self.batch, self.seed = iterations, batch, seed

    @property
    def num_batches(self) -> int:
        return self.iterations

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng([self.seed, index])
        real = self.target(rng, self.batch).astype("float32")
        if self.source is None:
            return (real,)
        return self.source(rng, self.batch).astype("float32"), real


class Times(NamedTuple):
    """Wall-clock seconds, and CPU seconds of all threads together."""

    wall: float
    cpu: float


def train(
    model: UOTM,
    source: Draw | None,
    target: Draw,
    iterations: int,
    batch_size: int,
    seed: int,
    callbacks: list[keras.callbacks.Callback] | None = None,
) -> Times:
    """Fit a model to new points in each iteration; a source of None is N(0, I)."""
    started = time.perf_counter(), time.process_time()
    batches = _Batches(source, target, iterations, batch_size, seed)
    model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    return Times(time.perf_counter() - started[0], time.process_time() - started[1])


class Side(NamedTuple):
    """One marginal of the dual objective, at n points.

    Attributes:
        argument: s, the argument of Ψ*, float64 (n,): v(T(x, z)) − c(x, T(x, z)) for the source
            and −v(y) for the target.
        weights: Ψ*'(s), the density of the relaxed marginal, float64 (n,).
        divergence: the mean of s·Ψ*'(s) − Ψ*(s), which estimates the divergence of the relaxed
            marginal from the given one, for any Ψ.
        value: minus the mean of Ψ*(s), this marginal's share of the dual value.
    """

    argument: np.ndarray
    weights: np.ndarray
    divergence: float
    value: float


class Evaluation(NamedTuple):
    """A trained model at points x of the source and y of the target.

    `moved` is T(x, z) of the averaged map.
    """

    moved: np.ndarray
    source: Side
    target: Side

    @property
    def mass(self) -> float:
        """Mass of the plan, estimated from its source marginal."""
        return float(self.source.weights.mean())

    @property
    def value(self) -> float:
        """Value of the dual objective."""
        return self.source.value + self.target.value

    @property
    def divergence(self) -> float:
        """D_Ψ1(π₀|μ) + D_Ψ2(π₁|ν)."""
        return self.source.divergence + self.target.divergence


def evaluate(model: UOTM, x: np.ndarray, y: np.ndarray, seed: int = 0) -> Evaluation:
    """Estimate the relaxed marginals and the dual value by means over x (n, d) and y (m, d)."""
    moved = transport(model, x, seed)
    cost = keras.ops.convert_to_numpy(model.cost(np.asarray(x, "float32"), moved))
    divergences = [model.source_divergence, model.target_divergence]
    if model.divergence_schedule is not None:
        alpha = float(model.divergence_schedule(int(model.step)))
        divergences = [divergence.scaled(alpha) for divergence in divergences]
    arguments = potential(model, moved) - cost, -potential(model, y)
    sides = (_side(*each) for each in zip(divergences, arguments, strict=True))
    return Evaluation(moved, *sides)


def _side(divergence: Any, s: np.ndarray) -> Side:
    weights, conjugate = (
        keras.ops.convert_to_numpy(function(s)).astype("float64")
        for function in (divergence.conjugate_derivative, divergence.conjugate)
    )
    return Side(s, weights, float(np.mean(s * weights - conjugate)), -float(conjugate.mean()))


def transport(model: UOTM, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return T(x, z) of the averaged map, with z drawn from `seed`."""
    inputs: Any = np.asarray(x, "float32")
    if model.latent_dim is not None:
        rng = np.random.default_rng([seed, 1])
        inputs = [inputs, rng.standard_normal((len(x), model.latent_dim)).astype("float32")]
    return model.ema_generator.predict(inputs, batch_size=8192, verbose=0)


def potential(model: UOTM, points: np.ndarray) -> np.ndarray:
    """Return v at points (n, d) as float64 of shape (n,)."""
    values = model.potential.predict(np.asarray(points, "float32"), batch_size=8192, verbose=0)
    return values[:, 0].astype("float64")


def l2_uvp(moved: np.ndarray, exact: np.ndarray, variance: float) -> float:
    """Return the unexplained variance of a map, 100·E‖T̂(x) − T(x)‖²/Var(ν), in percent."""
    return float(100 * np.mean(np.sum((moved - exact) ** 2, axis=1)) / variance)
