"""Scores that rank the examples of a dataset by how unusual they are, without a trained model."""

from collections.abc import Callable, Iterator

import numpy as np

from uotm_keras.data import ArrayDataset, Dataset, PointDataset
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pixels import to_uint8

_REFERENCES = 10_000
"""Examples that the forests are grown on, and among which neighbors are sought."""
_TREES = 300
_CHUNK = 1_000
FEWEST = 10
"""The fewest examples among which one can be unusual."""
_LARGEST = 64
"""Pixels per side to which larger images are reduced."""
_LEAST_ENERGY = 1e-5
"""About that of rounding to 8 bits, so that a flat area is not infinitely unusual."""


def outlier_scores(
    data: np.ndarray | Dataset,
    seed: int = 0,
    neighbors: int = 5,
    advance: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Score how unusual each example is among the others; high for outliers.

    The score is the sum of three, each less its median and divided by its interquartile range:

    - an isolation forest on the values (Liu, Ting and Zhou 2008);
    - for images, an isolation forest on `image_statistics`, which tell textures apart;
    - the mean distance to the nearest neighbors, where it is above its median: a group of
      similar outliers is near to itself.

    The forests are grown on at most 10 000 examples, among which the neighbors are sought, too.
    Images of more than 64 pixels per side are reduced first.

    Args:
        data: Images in [−1, 1], float32 (n, H, W, C); points, (n, d); or a
            `uotm_keras.data.Dataset` of either. At least 10 examples.
        seed: Seed of the forests (int). Defaults to 0.
        neighbors: Number of nearest neighbors. Defaults to 5.
        advance: A function that is called with the number of examples that are done. Defaults
            to `None`.

    Returns:
        Float64 array (n,). Typical examples have a score near 0.

    Raises:
        InputError: If there are too few examples, or the array is neither images nor points.

    Example:

    >>> digits = uk.data.get("digits").take(np.arange(300))
    >>> noise = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype("float32")
    >>> scores = uk.metrics.outlier_scores(np.concatenate([digits, noise]))
    >>> sorted(int(i) for i in np.argsort(-scores)[:3])
    [300, 301, 302]
    """
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import NearestNeighbors

    dataset = data if isinstance(data, Dataset) else _as_dataset(np.asarray(data))
    count = len(dataset)
    if count < (fewest := max(FEWEST, neighbors + 2)):
        raise InputError(f"{dataset.name} has {count} examples: accepted are at least {fewest}.")
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:_REFERENCES])
    values, statistics = _features(dataset, chosen)
    nearest = NearestNeighbors(n_neighbors=neighbors + 1).fit(values)
    forests = [IsolationForest(n_estimators=_TREES, random_state=seed).fit(values)]
    if statistics is not None:
        forests.append(IsolationForest(n_estimators=_TREES, random_state=seed).fit(statistics))

    position = np.full(count, -1)
    position[chosen] = np.arange(len(chosen))
    parts = []
    for indices in _chunks(count):
        values, statistics = _features(dataset, indices)
        by_forest = [
            -forest.score_samples(features)
            for forest, features in zip(forests, (values, statistics), strict=False)
        ]
        distances, found = nearest.kneighbors(values)
        # An example is not its own neighbor.
        itself = found == position[indices][:, None]
        itself[~itself.any(axis=1), -1] = True
        others = distances[~itself].reshape(len(indices), neighbors)
        parts.append(np.stack([*by_forest, others.mean(axis=1)]))
        if advance is not None:
            advance(len(indices))
    *isolation, distance = map(standardized, np.concatenate(parts, axis=1))
    return np.sum(isolation, axis=0) + np.maximum(distance, 0)


def image_statistics(images: np.ndarray) -> np.ndarray:
    """Return statistics of the texture and the colors of images.

    These are, for brightness and two color differences, the logarithm of the mean energy of the
    Haar wavelets of each scale and orientation in each quarter of the image, and the mean value
    at the coarsest scale.

    Args:
        images: Float array (n, H, W, C) in [−1, 1]; images that do not have three channels
            keep their channels.

    Returns:
        Float32 array (n, d).
    """
    planes = _planes(np.asarray(images, "float32"))
    statistics = []
    while min(planes.shape[1:3]) >= 4:
        planes = planes[:, : planes.shape[1] // 2 * 2, : planes.shape[2] // 2 * 2]
        planes, *details = _haar(planes)
        for detail in details:
            for rows in np.array_split(np.square(detail), 2, axis=1):
                for quarter in np.array_split(rows, 2, axis=2):
                    statistics.append(np.log(quarter.mean(axis=(1, 2)) + _LEAST_ENERGY))
    statistics.append(planes.reshape(len(planes), -1))
    return np.concatenate(statistics, axis=1)


def _as_dataset(array: np.ndarray) -> Dataset:
    if array.ndim == 4:
        return ArrayDataset(to_uint8(array), "data")
    if array.ndim == 2:
        return PointDataset(array, "data")
    raise InputError(
        f"data of shape {array.shape}: accepted are images (n, H, W, C) and points (n, d)."
    )


def _chunks(count: int) -> Iterator[np.ndarray]:
    return (np.arange(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK))


def _features(dataset: Dataset, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the values of examples, (n, d), and the statistics of images."""
    parts = [indices[chunk] for chunk in _chunks(len(indices))]
    if not dataset.is_images:
        return np.concatenate([dataset.take(part) for part in parts]), None
    images = np.concatenate([_reduced(dataset.take(part)) for part in parts])
    return images.reshape(len(images), -1), image_statistics(images)


def _reduced(images: np.ndarray) -> np.ndarray:
    """Average blocks of pixels of images larger than `_LARGEST`."""
    count, height, width, channels = images.shape
    block = -(-max(height, width) // _LARGEST)
    if block == 1:
        return images
    rows, columns = height // block, width // block
    cut = images[:, : rows * block, : columns * block]
    return cut.reshape(count, rows, block, columns, block, channels).mean(axis=(2, 4))


def _planes(images: np.ndarray) -> np.ndarray:
    """Return the brightness and two differences of colors, for images with three channels."""
    if images.shape[-1] != 3:
        return images
    red, green, blue = np.moveaxis(images, -1, 0)
    return np.stack([images.mean(axis=-1), red - green, (red + green) / 2 - blue], axis=-1)


def _haar(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return one level of the Haar transform of (n, H, W, C): means, and three details."""
    means, details = planes[:, ::2] + planes[:, 1::2], planes[:, ::2] - planes[:, 1::2]
    return (
        (means[:, :, ::2] + means[:, :, 1::2]) / 4,
        (means[:, :, ::2] - means[:, :, 1::2]) / 4,
        (details[:, :, ::2] + details[:, :, 1::2]) / 4,
        (details[:, :, ::2] - details[:, :, 1::2]) / 4,
    )


def standardized(scores: np.ndarray) -> np.ndarray:
    """Subtract the median and divide by the interquartile range."""
    low, median, high = np.percentile(scores, [25, 50, 75])
    return (scores - median) / (high - low + 1e-12)
