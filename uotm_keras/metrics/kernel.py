"""Kernel Inception Distance: the unbiased cubic-polynomial MMD between two sets of features.

(Bińkowski et al. 2018, arXiv 1801.01401.) Unlike FID its expectation does not depend on the
number of samples.
"""

from typing import NamedTuple

import numpy as np

from uotm_keras.metrics.features import FeatureMetric
from uotm_keras.metrics.statistics import check_features
from uotm_keras.utils.errors import InputError


class KernelDistance(NamedTuple):
    """Mean and standard deviation over the subsets."""

    mean: float
    std: float


def polynomial_mmd(
    x: np.ndarray, y: np.ndarray, degree: int = 3, gamma: float | None = None, coef0: float = 1.0
) -> float:
    """Return the unbiased estimate of MMD² under the kernel (γ·⟨x, y⟩ + c₀)^degree.

    Args:
        x, y: features, (n, d) and (m, d), n and m at least 2.
        degree: degree of the polynomial. Defaults to 3.
        gamma: γ. Defaults to 1/d.
        coef0: c₀. Defaults to 1.

    Returns:
        The estimate, which may be negative. Computed in float64.
    """
    x, y = np.asarray(x, "float64"), np.asarray(y, "float64")
    gamma = 1.0 / x.shape[1] if gamma is None else gamma

    def total(a: np.ndarray, b: np.ndarray) -> float:
        kernel = (gamma * a) @ b.T
        kernel += coef0
        power = np.ones_like(kernel) if degree == 1 else kernel
        for _ in range(degree - 2):
            power = power * kernel
        return float(np.vdot(power, kernel))

    def between_others(a: np.ndarray) -> float:
        """The mean over pairs of different samples."""
        itself = (gamma * np.einsum("ij,ij->i", a, a) + coef0) ** degree
        return (total(a, a) - itself.sum()) / (len(a) * (len(a) - 1))

    return float(between_others(x) + between_others(y) - 2 * total(x, y) / (len(x) * len(y)))


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    subsets: int = 100,
    subset_size: int = 1000,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    seed: int = 2020,
) -> KernelDistance:
    """Return KID between features, with torch-fidelity's defaults.

    Args:
        real, fake: features, (n, d) and (m, d).
        subsets: number of pairs of subsets. Defaults to 100.
        subset_size: samples per subset, drawn without replacement. Defaults to 1000.
        degree, gamma, coef0: see `polynomial_mmd`.
        seed: seed of the subsets. Defaults to 2020.

    Returns:
        (mean, std) of the MMD² over the subsets; std is the population's.

    Raises:
        InputError: there are fewer samples than `subset_size`, the dimensions differ, or there
            are NaN values.
    """
    real, fake = check_features(real, "real features"), check_features(fake, "fake features")
    if real.shape[1] != fake.shape[1]:
        raise InputError(
            f"real features have {real.shape[1]} dimensions and fake features {fake.shape[1]}."
        )
    if subsets < 1 or subset_size < 2:
        raise InputError(
            f"subsets={subsets}, subset_size={subset_size}: the least accepted values are 1 and 2."
        )
    if min(len(real), len(fake)) < subset_size:
        raise InputError(
            f"subset_size={subset_size} is more than the {min(len(real), len(fake))} samples "
            "available: KID needs that many real and fake samples, or a smaller subset_size."
        )
    rng = np.random.RandomState(seed)  # noqa: NPY002 (torch-fidelity's generator)
    values = [
        polynomial_mmd(
            real[rng.choice(len(real), subset_size, replace=False)],
            fake[rng.choice(len(fake), subset_size, replace=False)],
            degree,
            gamma,
            coef0,
        )
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


class KernelInceptionDistance(FeatureMetric):
    """KID as a Keras metric. All features are kept, 8 kB per sample for Inception.

    Args:
        extractor: see `FeatureMetric`.
        subsets, subset_size, seed: see `kernel_distance`.
        value_range, name: see `FeatureMetric`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> kid = KernelInceptionDistance("features", subsets=5, subset_size=20)
        >>> kid.update_state(rng.normal(size=(50, 8)), rng.normal(size=(50, 8)) + 1)
        >>> bool(kid.result() > 0.1)
        True
    """

    def __init__(
        self,
        extractor: object = "fid",
        subsets: int = 100,
        subset_size: int = 1000,
        seed: int = 2020,
        value_range: tuple[float, float] | None = None,
        name: str = "kid",
    ):
        super().__init__(extractor, value_range, name)
        self.options = {"subsets": subsets, "subset_size": subset_size, "seed": seed}

    def compute(self) -> KernelDistance:
        """Return (mean, std) over the subsets."""
        return kernel_distance(self.real_features(), self.fake_features(), **self.options)

    def value(self) -> float:
        return self.compute().mean
