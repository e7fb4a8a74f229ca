"""The real side of a score: computed once, cached, and compared only with what matches it."""

import json
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uotm_keras.metrics.cache import cache_folder, keep_arrays, text_hash
from uotm_keras.metrics.extractor import Extractor
from uotm_keras.metrics.extractors import as_extractor
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.reference_files import read_statistics
from uotm_keras.metrics.samples import image_set
from uotm_keras.metrics.statistics import FeatureStatistics
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path
from uotm_keras.version import __version__

# Increased when a cached file would no longer mean the same.
_FORMAT = 1


@dataclass
class Reference:
    """The statistics of real images that samples are compared with.

    Attributes:
        mean, covariance: (d,) and (d, d), float64.
        count: number of images, or None if a file does not say.
        network: the feature network, or None if a file does not say.
        description: the name of the data or file, for people.
        features: (count, d) float32, for all metrics but FID; None if they are not kept.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None
    network: Network | None
    description: str
    features: np.ndarray | None = None

    def check(self, network: Network) -> None:
        """Check that features of `network` can be compared with this reference.

        Raises:
            InputError: the network or the preprocessing differs; the message says how.
        """
        differing = [] if self.network is None else self.network.differences(network)
        if differing:
            raise InputError(
                f"the reference {self.description} and the samples cannot be compared: they "
                f"differ in {'; '.join(differing)}."
            )

    def save(self, path: str | os.PathLike) -> None:
        """Write an `.npz` file that pytorch-fid can read too (`mu`, `sigma`)."""
        with atomic_path(path, suffix=".npz") as temporary:
            np.savez(temporary, **self.arrays())  # type: ignore[arg-type]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that `save` writes."""
        arrays = {"mu": self.mean, "sigma": self.covariance}
        if self.count is not None:
            arrays["count"] = np.array(self.count)
        if self.network is not None:
            arrays["network"] = np.array(json.dumps(self.network.as_dict()))
        if self.features is not None:
            arrays["features"] = self.features
        return arrays


def load_reference(path: str | os.PathLike) -> Reference:
    """Read statistics from an `.npz` file (ours, pytorch-fid's) or `.npy` file (the authors').

    Raises:
        InputError: see `read_statistics`.
    """
    path = Path(path)
    return Reference(description=path.name, **vars(read_statistics(path)))


def as_reference(reference: object) -> Reference:
    """Return the `Reference` of a `Reference`, `FeatureStatistics` or a file of statistics."""
    if isinstance(reference, Reference):
        return reference
    if isinstance(reference, FeatureStatistics):
        return Reference(
            reference.mean, reference.covariance, reference.count, None, "statistics as given"
        )
    if isinstance(reference, (str, os.PathLike)):
        return load_reference(reference)
    raise InputError(
        f"reference={reference!r}: accepted are a Reference, FeatureStatistics and the path of "
        "an .npz or .npy file of statistics."
    )


def compute_reference(
    batches: Iterable[np.ndarray] | Callable[[], Iterable[np.ndarray]],
    extractor: object = "fid",
    *,
    fingerprint: str = "",
    description: str = "images as given",
    keep_features: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Reference:
    """Compute statistics of real images, or read them from the cache.

    Cached files are named by content, network, weights, preprocessing and the version of the
    library, so that none can be mistaken for another.

    Args:
        batches: uint8 images (b, H, W, C), or a function that returns them, which is called
            only if it is necessary.
        extractor: see `as_extractor`.
        fingerprint: hash of the images' content; if empty, nothing is cached.
        description: name of the data, for results.
        keep_features: also keep the features, which every metric but FID needs.
        progress: called with the number of images after each batch.

    Raises:
        InputError: there are fewer than two images, or they do not fit the extractor.
    """
    extractor = as_extractor(extractor)
    kept = None
    if fingerprint and extractor.network.weights:
        kept = kept_reference_path(fingerprint, extractor.network)
        reference = _read_kept(kept, description)
        if reference is not None and (reference.features is not None or not keep_features):
            return reference
    reference = _compute(batches, extractor, description, keep_features, progress)
    if kept is not None:
        keep_arrays(kept, reference.arrays())
    return reference


def kept_reference_path(fingerprint: str, network: Network) -> Path:
    """Return where statistics of this content and network are cached."""
    key = text_hash(
        fingerprint, network.name, network.weights, network.preprocessing, __version__, _FORMAT
    )
    return cache_folder("references", f"{key[:32]}.npz")


def _read_kept(path: Path, description: str) -> Reference | None:
    if not path.is_file():
        return None
    try:
        return Reference(description=description, **vars(read_statistics(path)))
    except InputError as error:
        warnings.warn(f"a cached reference is computed again: {error}", stacklevel=3)
        return None


def _compute(
    batches: Iterable[np.ndarray] | Callable[[], Iterable[np.ndarray]],
    extractor: Extractor,
    description: str,
    keep_features: bool,
    progress: Callable[[int], None] | None,
) -> Reference:
    statistics: FeatureStatistics | None = None
    features = []
    for batch in batches() if callable(batches) else batches:
        part = extractor(batch)["features"]
        statistics = statistics or FeatureStatistics(part.shape[1])
        statistics.update(part)
        if keep_features:
            features.append(np.asarray(part, "float32"))
        if progress is not None:
            progress(len(batch))
    if statistics is None or statistics.count < 2:
        count = 0 if statistics is None else statistics.count
        raise InputError(f"{description} has {count} images: a reference needs at least 2.")
    return Reference(
        statistics.mean,
        statistics.covariance,
        statistics.count,
        extractor.network,
        description,
        np.concatenate(features) if keep_features else None,
    )


def open_reference(
    reference: object,
    extractor: object = "fid",
    *,
    keep_features: bool = True,
    description: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Reference:
    """Open a reference, and compute its statistics if necessary.

    Args:
        reference: a `Reference`; `FeatureStatistics`; a folder of images; an `.npz` or
            `.npy` of statistics; an `.npz` of images; a uint8 array of images; or a dataset
            with `len`, `take(indices)` and `fingerprint()`.
        extractor, keep_features, progress: see `compute_reference`.
        description: name of the data, for results. Defaults to the name found.

    Raises:
        InputError: it is none of these, or was made with another network or preprocessing.
    """
    extractor = as_extractor(extractor)
    images = image_set(reference)
    if images is None:
        statistics = as_reference(reference)
        statistics.check(extractor.network)
        return statistics
    return compute_reference(
        images.batches,
        extractor,
        fingerprint=images.fingerprint(),
        description=description or images.description(),
        keep_features=keep_features,
        progress=progress,
    )
