"""Training a UOTM between two distributions of points, and reading it off afterwards."""

import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from uotm_keras import UOTM, InputError

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Gives n points (n, d) of a distribution."""


def from_array(points: np.ndarray) -> Draw:
    """Draws points of a finite set, with replacement."""
    points = np.asarray(points, "float32")
    return lambda rng, count: points[rng.integers(len(points), size=count)]


def gaussian(mean, covariance) -> Draw:
    """Draws from N(mean, covariance)."""
    mean = np.asarray(mean, "float64")
    root = np.linalg.cholesky(np.asarray(covariance, "float64"))
    return lambda rng, count: mean + rng.standard_normal((count, len(mean))) @ root.T


class _Batches(keras.utils.PyDataset):
    """Fresh points for each iteration, a function of (seed, number) alone."""

    def __init__(self, source: Draw | None, target: Draw, iterations: int, batch: int, seed: int):
        super().__init__()
        self.source, self.target = source, target
        self.iterations, self.batch, self.seed = iterations, batch, seed

    @property
    def num_batches(self) -> int:
        return self.iterations

    def __getitem__(self, index: int):
        rng = np.random.default_rng([self.seed, index])
        real = self.target(rng, self.batch).astype("float32")
        if self.source is None:
            return (real,)
        return self.source(rng, self.batch).astype("float32"), real


class Times(NamedTuple):
    """Seconds: of the clock, and of the processor (all threads together)."""

    wall: float
    cpu: float


def train(
    model: UOTM,
    source: Draw | None,
    target: Draw,
    iterations: int,
    batch_size: int,
    seed: int,
    callbacks: list | None = None,
) -> Times:
    """`fit` on fresh batches; a source of None is N(0, I), drawn by the model."""
    started = time.perf_counter(), time.process_time()
    batches = _Batches(source, target, iterations, batch_size, seed)
    model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    return Times(time.perf_counter() - started[0], time.process_time() - started[1])


class Readings(NamedTuple):
    """What a trained model says of points x of the source and y of the target.

    `moved` is T(x, z) of the averaged map; `excess` is v(T(x, z)) − c(x, T(x, z)) and `depth`
    −v(y), the arguments of Ψ1* and Ψ2*.
    """

    moved: np.ndarray
    excess: np.ndarray
    depth: np.ndarray
    source_weights: np.ndarray
    target_weights: np.ndarray
    divergences: tuple[float, float]
    value: float

    @property
    def mass(self) -> float:
        """Of the plan, by its source marginal."""
        return float(self.source_weights.mean())


def read(model: UOTM, x: np.ndarray, y: np.ndarray, seed: int = 0) -> Readings:
    """Weights, divergences D_Ψ1(π₀|μ) and D_Ψ2(π₁|ν), and the dual value, by averages.

    With r = Ψ*'(s) the divergence's integrand is Ψ(r) = s·r − Ψ*(s), for any Ψ.
    """
    moved = transport(model, x, seed)
    cost = keras.ops.convert_to_numpy(model.cost(np.asarray(x, "float32"), moved))
    excess = potential(model, moved) - cost
    depth = -potential(model, y)
    pair = model.source_divergence, model.target_divergence
    if model.divergence_schedule is not None:
        alpha = float(model.divergence_schedule(int(model.step)))
        pair = tuple(divergence.scaled(alpha) for divergence in pair)
    numpy = keras.ops.convert_to_numpy
    sides = []
    for divergence, s in zip(pair, (excess, depth), strict=True):
        weights = numpy(divergence.conjugate_derivative(s)).astype("float64")
        sides.append((weights, numpy(divergence.conjugate(s)).astype("float64"), s))
    spent = tuple(float(np.mean(s * weights - conjugate)) for weights, conjugate, s in sides)
    value = -sum(float(conjugate.mean()) for _, conjugate, _ in sides)
    return Readings(moved, excess, depth, sides[0][0], sides[1][0], spent, value)


def transport(model: UOTM, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """T(x, z) of the averaged map, z drawn by `seed`."""
    x = np.asarray(x, "float32")
    inputs = x
    if model.latent_dim is not None:
        rng = np.random.default_rng([seed, 1])
        inputs = [x, rng.standard_normal((len(x), model.latent_dim)).astype("float32")]
    return model.ema_generator.predict(inputs, batch_size=8192, verbose=0)


def potential(model: UOTM, points: np.ndarray) -> np.ndarray:
    """v of points, float64 (n,)."""
    values = model.potential.predict(np.asarray(points, "float32"), batch_size=8192, verbose=0)
    return values[:, 0].astype("float64")


def l2_uvp(moved: np.ndarray, exact: np.ndarray, variance: float) -> float:
    """Unexplained variance of a map, 100·E‖T̂(x) − T(x)‖²/Var(ν), in percent."""
    return float(100 * np.mean(np.sum((moved - exact) ** 2, axis=1)) / variance)


def need_points(count: int, least: int, flag: str) -> None:
    """Refuses a sample that is too small for the estimate made of it."""
    if count < least:
        raise InputError(f"flag --{flag}={count}: the estimate needs at least {least} points.")
