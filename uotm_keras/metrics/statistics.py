"""Mean and covariance in one pass, and the Fréchet distance between two of them."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path
from uotm_keras.utils.npz import read_arrays


def check_features(features: np.ndarray, what: str = "features") -> np.ndarray:
    """Return features as an (n, d) array of finite numbers.

    Raises:
        InputError: they have another rank, or NaN or infinite values.
    """
    features = np.asarray(features)
    if features.ndim != 2 or features.dtype.kind not in "fiub":
        raise InputError(
            f"{what} have shape {features.shape} and type {features.dtype}: "
            "accepted are numbers of shape (samples, dimensions)."
        )
    if features.dtype.kind == "f" and not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(axis=1)).sum())
        raise InputError(f"{what} have NaN or infinite values in {bad} of {len(features)} rows.")
    return features


class FeatureStatistics:
    """Mean and covariance of features that arrive in batches, in float64.

    Batches are collected into blocks of `dim` rows; the mean and centered scatter of each block
    are merged into the totals with the formula of Chan, Golub and LeVeque (1983), which is
    accurate even if the mean is large. Memory is O(dim²) for any number of samples.

    Args:
        dim: number of features.

    Attributes:
        count: number of samples so far.

    Example:
        >>> statistics = FeatureStatistics(2)
        >>> statistics.update([[0.0, 1.0], [2.0, 1.0]])
        >>> statistics.mean.tolist(), statistics.covariance.tolist()
        ([1.0, 1.0], [[2.0, 0.0], [0.0, 0.0]])
    """

    def __init__(self, dim: int):
        self.dim = int(dim)
        self._block = np.empty((max(min(self.dim, 2048), 64), self.dim))
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._merged = 0
        self._waiting = 0
        self._mean = np.zeros(self.dim)
        self._scatter = np.zeros((self.dim, self.dim))

    @property
    def count(self) -> int:
        """The number of samples so far."""
        return self._merged + self._waiting

    def update(self, features: np.ndarray) -> None:
        """Add features (n, dim).

        Raises:
            InputError: the number of features differs, or values are NaN or infinite.
        """
        features = check_features(features)
        if features.shape[1] != self.dim:
            raise InputError(
                f"features have {features.shape[1]} dimensions, and {self.dim} are expected."
            )
        while len(features):
            taken = min(len(features), len(self._block) - self._waiting)
            self._block[self._waiting : self._waiting + taken] = features[:taken]
            self._waiting += taken
            features = features[taken:]
            if self._waiting == len(self._block):
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            block = self._block[: self._waiting]
            mean = block.mean(axis=0)
            block -= mean
            self._merge(len(block), mean, block.T @ block)
            self._waiting = 0

    def _merge(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        total = self._merged + count
        shift = mean - self._mean
        self._scatter += scatter
        if self._merged:
            root = shift * np.sqrt(self._merged * count / total)
            np.multiply.outer(root, root, out=scatter)
            self._scatter += scatter
        self._mean = self._mean + shift * (count / total)
        self._merged = total

    def merge(self, other: "FeatureStatistics") -> None:
        """Add the samples of `other`."""
        if other.dim != self.dim:
            raise InputError(
                f"statistics of {other.dim} dimensions cannot be merged with {self.dim}."
            )
        self._flush()
        other._flush()
        if other._merged:
            self._merge(other._merged, other._mean, other._scatter.copy())

    @property
    def mean(self) -> np.ndarray:
        """The mean, float64 (dim,)."""
        self._flush()
        return self._mean.copy()

    @property
    def covariance(self) -> np.ndarray:
        """The covariance over count − 1, float64 (dim, dim).

        Raises:
            InputError: there are fewer than two samples.
        """
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 samples, and there are {self.count}.")
        self._flush()
        return self._scatter / (self._merged - 1)

    def save(self, path: str | os.PathLike, **extra: np.ndarray) -> None:
        """Write an `.npz` with `mu` and `sigma`, which pytorch-fid reads, and `count`."""
        with atomic_path(path, suffix=".npz") as temporary:
            np.savez(
                temporary,
                mu=self.mean,
                sigma=self.covariance,
                count=np.array(self.count),
                **extra,  # type: ignore[arg-type]
            )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "FeatureStatistics":
        """Read what `save` wrote, to add samples or to compare with it.

        Raises:
            InputError: the file does not exist, is damaged, or lacks `mu`, `sigma` or `count`.
        """
        path = Path(path)
        arrays = read_arrays(path)
        missing = {"mu", "sigma", "count"} - set(arrays)
        if missing:
            raise InputError(f"{path} lacks {', '.join(sorted(missing))}.")
        mean, covariance = check_moments(arrays["mu"], arrays["sigma"], str(path))
        statistics = cls(len(mean))
        statistics._merged = int(arrays["count"])
        statistics._mean = mean
        statistics._scatter = covariance * (statistics._merged - 1)
        return statistics


def check_moments(mean: Any, covariance: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a mean (d,) and a symmetric covariance (d, d) as finite float64 arrays.

    Raises:
        InputError: they have other shapes, are not finite, or are not symmetric.
    """
    try:
        mean, covariance = np.asarray(mean, "float64"), np.asarray(covariance, "float64")
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} contains a mean or covariance that are not numbers.") from error
    mean = np.atleast_1d(mean)
    covariance = np.atleast_2d(covariance)
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise InputError(
            f"{what} contains a mean of shape {mean.shape} and a covariance of shape "
            f"{covariance.shape}: accepted are (d,) and (d, d)."
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise InputError(f"{what} contains NaN or infinite values.")
    skew = covariance - covariance.T
    np.abs(skew, out=skew)
    if skew.max(initial=0.0) > 1e-5 * max(covariance.max(initial=0.0), 1e-300):
        raise InputError(f"{what} contains a covariance that is not symmetric.")
    return mean, covariance


def frechet_distance(
    mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray
) -> float:
    """Return the Fréchet distance between two Gaussians: ‖μ₁−μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½.

    With Σ₁ = L₁L₁ᵀ and Σ₂ = L₂L₂ᵀ the eigenvalues of Σ₁Σ₂ are the squares of the singular
    values of L₁ᵀL₂. So no square root of a matrix is needed, and covariances of less than
    full rank, as from fewer samples than dimensions, need no special treatment.

    Args:
        mu1, mu2: means (d,).
        sigma1, sigma2: covariances (d, d), symmetric and positive semi-definite.

    Returns:
        The squared distance, as in FID; at least 0.

    Raises:
        InputError: the shapes differ, values are NaN, or a covariance is not one.

    Reference:
        Dowson and Landau 1982; for Inception features, Heusel et al. 2017, arXiv 1706.08500.

    Example:
        >>> round(frechet_distance([0.0], [[1.0]], [3.0], [[4.0]]), 9)
        10.0
    """
    mu1, sigma1 = check_moments(mu1, sigma1, "the first statistics")
    mu2, sigma2 = check_moments(mu2, sigma2, "the second statistics")
    if len(mu1) != len(mu2):
        raise InputError(
            f"the first statistics have {len(mu1)} dimensions and the second {len(mu2)}: "
            "only features of one network can be compared."
        )
    difference = mu1 - mu2
    trace = np.trace(sigma1) + np.trace(sigma2)
    value = difference @ difference + trace - 2.0 * _trace_of_root(sigma1, sigma2)
    return max(float(value), 0.0)


def frechet_distance_of_features(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the Fréchet distance between Gaussians fitted to features (n, d) and (m, d).

    Raises:
        InputError: fewer than two samples, different dimensions, or NaN.
    """
    moments = []
    for what, features in (("real features", real), ("fake features", fake)):
        features = check_features(features, what)
        statistics = FeatureStatistics(features.shape[1])
        statistics.update(features)
        warn_if_few(statistics.count, statistics.dim, what)
        moments += [statistics.mean, statistics.covariance]
    return frechet_distance(*moments)


def _trace_of_root(sigma1: np.ndarray, sigma2: np.ndarray) -> float:
    from scipy.linalg import eigvalsh

    product = _factor(sigma1).T @ _factor(sigma2)
    if product.shape[0] > product.shape[1]:
        product = product.T
    # This takes a third of the time of singular values. Squaring costs no relevant accuracy,
    # because the factors are cut to their rank (docs/fid.md).
    squares = eigvalsh(product @ product.T, overwrite_a=True, check_finite=False)
    return float(np.sqrt(np.maximum(squares, 0.0)).sum())


def _factor(sigma: np.ndarray) -> np.ndarray:
    """L, (d, rank), with LLᵀ = Σ, by Cholesky's method."""
    from scipy.linalg.lapack import dpotrf, dpstrf

    lower, failed = dpotrf(sigma, lower=1, clean=1)
    if not failed and np.diagonal(lower).min() ** 2 > 1e-10 * np.diagonal(sigma).max():
        return lower
    # Near or below full rank: pivoting, three times as slow, finds the rank.
    lower, pivots, rank, _ = dpstrf(sigma, lower=1)
    lower = np.tril(lower)[:, :rank]
    total = np.trace(sigma)
    if np.diagonal(sigma).min() < 0 or abs(total - (lower**2).sum()) > 1e-4 * total:
        raise InputError("a covariance is not positive semi-definite.")
    unpivoted = np.empty_like(lower)
    unpivoted[pivots - 1] = lower
    return unpivoted


def warn_if_few(count: int, dim: int, what: str) -> None:
    """Warn if there are too few samples: FID is then defined, but strongly biased."""
    if 0 < count <= dim:
        warnings.warn(
            f"{what}: {count} samples for {dim} dimensions; the covariance has less than full "
            "rank and the distance is strongly biased.",
            stacklevel=3,
        )
