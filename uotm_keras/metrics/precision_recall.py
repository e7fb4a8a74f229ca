"""Improved precision and recall, density and coverage: quality and diversity.

(Kynkäänniemi et al. 2019, arXiv 1904.06991; Naeem et al. 2020, arXiv 2002.09797.) Each set
of samples is represented by balls around them that reach to their k-th nearest neighbor.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from uotm_keras.metrics.features import FeatureMetric
from uotm_keras.metrics.statistics import check_features
from uotm_keras.utils.errors import InputError


class NeighbourScores(NamedTuple):
    """All four scores; precision, recall and coverage are in [0, 1], density may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(
    real: np.ndarray,
    fake: np.ndarray,
    k: int = 3,
    density_k: int = 5,
    block_bytes: int = 64 * 2**20,
) -> NeighbourScores:
    """Return precision, recall, density and coverage of features.

    A point on the surface of a ball is inside it. Distances are float64 and computed in blocks,
    so that memory is O(n) plus one block.

    Args:
        real, fake: features, (n, d) and (m, d), each more than k samples.
        k: neighbors for precision and recall. Defaults to 3.
        density_k: neighbors for density and coverage. Defaults to 5, the paper's value.
        block_bytes: approximate memory of the blocks. Defaults to 64 MiB.

    Returns:
        precision: the share of fake samples inside some real ball;
        recall: the share of real samples inside some fake ball;
        density: the mean number of real balls that contain a fake sample, over density_k;
        coverage: the share of real balls that contain a fake sample.

    Raises:
        InputError: there are too few samples, the dimensions differ, or there are NaN values.
    """
    real, fake = check_features(real, "real features"), check_features(fake, "fake features")
    if real.shape[1] != fake.shape[1]:
        raise InputError(
            f"real features have {real.shape[1]} dimensions and fake features {fake.shape[1]}."
        )
    if min(k, density_k) < 1:
        raise InputError(f"k={k}, density_k={density_k}: accepted are positive integers.")
    if len(real) <= max(k, density_k) or len(fake) <= k:
        raise InputError(
            f"{len(real)} real and {len(fake)} fake samples are too few for "
            f"{max(k, density_k)} nearest neighbors."
        )
    real_radii, density_radii = _radii(real, (k, density_k), block_bytes)
    (fake_radii,) = _radii(fake, (k,), block_bytes)

    precise = np.zeros(len(fake), bool)
    recalled = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    inside = 0
    for rows, columns, squares in _blocks(real, fake, block_bytes):
        precise[columns] |= (squares <= real_radii[rows, None]).any(axis=0)
        recalled[rows] |= (squares <= fake_radii[None, columns]).any(axis=1)
        dense = squares <= density_radii[rows, None]
        inside += int(dense.sum())
        covered[rows] |= dense.any(axis=1)
    return NeighbourScores(
        float(precise.mean()),
        float(recalled.mean()),
        inside / (density_k * len(fake)),
        float(covered.mean()),
    )


def _radii(features: np.ndarray, ks: tuple[int, ...], block_bytes: int) -> list[np.ndarray]:
    """Squared distance of each sample to its k-th neighbor, itself not counted."""
    most = max(ks)
    nearest = np.full((len(features), most), np.inf)

    def keep_nearest(part: slice, squares: np.ndarray) -> None:
        candidates = np.concatenate([nearest[part], squares], axis=1)
        nearest[part] = np.partition(candidates, most - 1, axis=1)[:, :most]

    for rows, columns, squares in _blocks(features, features, block_bytes, above_diagonal=True):
        if rows == columns:
            np.fill_diagonal(squares, np.inf)
        else:
            keep_nearest(columns, squares.T)
        keep_nearest(rows, squares)
    nearest.sort(axis=1)
    return [nearest[:, k - 1].copy() for k in ks]


def _blocks(
    x: np.ndarray, y: np.ndarray, block_bytes: int, above_diagonal: bool = False
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield (rows, columns, squared distances between them), in float64."""
    # A block's distances, a copy or two of them, and both sides in float64.
    side = int(np.sqrt(block_bytes / 8 / 4 + x.shape[1] ** 2 / 9) - x.shape[1] / 3)
    side = max(side, 64)
    # Near the origin, ‖x‖² + ‖y‖² − 2⟨x, y⟩ loses fewer digits.
    center = x.mean(axis=0, dtype="float64")
    for i in range(0, len(x), side):
        rows = slice(i, min(i + side, len(x)))
        left = x[rows] - center
        left_squares = np.einsum("ij,ij->i", left, left)
        for j in range(i if above_diagonal else 0, len(y), side):
            columns = slice(j, min(j + side, len(y)))
            right = y[columns] - center
            squares = left @ right.T
            squares *= -2.0
            squares += left_squares[:, None]
            squares += np.einsum("ij,ij->i", right, right)
            np.maximum(squares, 0.0, out=squares)
            yield rows, columns, squares


class PrecisionRecall(FeatureMetric):
    """Precision, recall, density or coverage as a Keras metric.

    All features are kept, 8 kB per sample for Inception.

    Args:
        extractor: see `FeatureMetric`.
        k, density_k: see `precision_recall`.
        score: which one `result` returns: `"precision"` (default), `"recall"`, `"density"` or
            `"coverage"`; `compute` returns all.
        value_range, name: see `FeatureMetric`.
    """

    def __init__(
        self,
        extractor: object = "fid",
        k: int = 3,
        density_k: int = 5,
        score: str = "precision",
        value_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        if score not in NeighbourScores._fields:
            raise InputError(f"score={score!r}: accepted are {', '.join(NeighbourScores._fields)}.")
        super().__init__(extractor, value_range, name or score)
        self.score = score
        self.options = {"k": k, "density_k": density_k}

    def compute(self) -> NeighbourScores:
        """Return all four scores."""
        return precision_recall(self.real_features(), self.fake_features(), **self.options)

    def value(self) -> float:
        return getattr(self.compute(), self.score)
