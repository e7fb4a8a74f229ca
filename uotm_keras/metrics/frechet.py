"""Fréchet Inception Distance as a Keras metric."""

import os

import numpy as np

from uotm_keras.metrics.features import FeatureMetric
from uotm_keras.metrics.references import Reference, as_reference
from uotm_keras.metrics.statistics import FeatureStatistics, frechet_distance, warn_if_few
from uotm_keras.utils.errors import InputError


class FrechetInceptionDistance(FeatureMetric):
    """FID as a Keras metric: streaming float64 means and covariances, memory O(d²).

    Args:
        extractor: see `FeatureMetric`.
        reference: statistics of the real images: a `FeatureStatistics`, or the path of an
            `.npz` with `mu` and `sigma`. Defaults to None: real images are passed to
            `update_state`.
        value_range, name: see `FeatureMetric`.

    Example:
        >>> fid = FrechetInceptionDistance("features")
        >>> x = np.random.default_rng(0).normal(size=(100, 4))
        >>> fid.update_state(real=x, fake=x + 2.0)
        >>> round(float(fid.result()), 6)
        16.0
    """

    def __init__(
        self,
        extractor: object = "fid",
        reference: FeatureStatistics | str | os.PathLike | None = None,
        value_range: tuple[float, float] | None = None,
        name: str = "fid",
    ):
        super().__init__(extractor, value_range, name)
        self._reference: Reference | None = None
        if reference is not None:
            self._reference = as_reference(reference)
            self._reference.check(self.extractor.network)
            self.uses_real = False
        self._statistics: dict[str, FeatureStatistics] = {}

    def add(self, side: str, features: np.ndarray) -> None:
        if side not in self._statistics:
            self._statistics[side] = FeatureStatistics(features.shape[1])
        self._statistics[side].update(features)

    def statistics(self, side: str) -> FeatureStatistics:
        """Return the statistics of `side`, `"real"` or `"fake"`, to save or merge."""
        if side not in self._statistics:
            raise InputError(f"{self.name} has received no {side} images.")
        return self._statistics[side]

    def reset_state(self) -> None:
        self._statistics = {}

    def value(self) -> float:
        fake = self.statistics("fake")
        warn_if_few(fake.count, fake.dim, self.name)
        if self._reference is not None:
            mean, covariance = self._reference.mean, self._reference.covariance
        else:
            real = self.statistics("real")
            mean, covariance = real.mean, real.covariance
        return frechet_distance(mean, covariance, fake.mean, fake.covariance)
