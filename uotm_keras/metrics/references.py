"""The real side of a score: computed once, kept, and never compared with what differs."""

import json
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uotm_keras.metrics.cache import cache_folder, text_hash
from uotm_keras.metrics.extractors import Extractor, as_extractor, to_uint8
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.reference_files import read_statistics
from uotm_keras.metrics.samples import ImageArray, ImageFolder, open_images
from uotm_keras.metrics.statistics import FeatureStatistics, read_npz
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path
from uotm_keras.version import __version__

# Raised when a kept file would no longer mean the same.
_FORMAT = 1


@dataclass
class Reference:
    """What a score is taken against.

    Attributes:
        mean, covariance: (d,) and (d, d), float64.
        count: images behind them; None if a file does not say.
        network: with which they were made; None if a file does not say.
        description: for people: the data, the file.
        features: (count, d) float32, for KID, precision and the rest; None if not kept.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None
    network: Network | None
    description: str
    features: np.ndarray | None = None

    def check(self, network: Network) -> None:
        """Refuses a comparison with features of another network or preprocessing.

        Raises:
            InputError: says which two differ.
        """
        differing = [] if self.network is None else self.network.differences(network)
        if differing:
            raise InputError(
                f"the reference {self.description} and the samples cannot be compared: they "
                f"differ in {'; '.join(differing)}."
            )

    def save(self, path: str | os.PathLike) -> None:
        """Writes an `.npz` that pytorch-fid reads too (`mu`, `sigma`)."""
        arrays = {"mu": self.mean, "sigma": self.covariance}
        if self.count is not None:
            arrays["count"] = np.array(self.count)
        if self.network is not None:
            arrays["network"] = np.array(json.dumps(self.network.as_dict()))
        if self.features is not None:
            arrays["features"] = self.features
        with atomic_path(path, suffix=".npz") as temporary:
            np.savez(temporary, **arrays)


def load_reference(path: str | os.PathLike) -> Reference:
    """Reads statistics from `.npz` (ours, pytorch-fid's) or `.npy` (the authors').

    Raises:
        InputError: see `read_statistics`.
    """
    path = Path(path)
    return Reference(description=path.name, **read_statistics(path))


def as_reference(reference: object) -> Reference:
    """A `Reference` from one, from `FeatureStatistics` or from a file of statistics."""
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
    """Statistics of real images, read from the cache if they were computed before.

    Kept files are named by content, network, its weights, preprocessing and the library's
    version, so that none of them can be mistaken for another.

    Args:
        batches: uint8 images (b, H, W, C), or a function that gives them, which is called
            only if it must be.
        extractor: see `as_extractor`.
        fingerprint: hash of the images' content; empty: nothing is kept.
        keep_features: also keep the features, which every metric but FID needs.
        progress: called with the number of images after each batch.

    Raises:
        InputError: fewer than two images, or images that do not fit the extractor.
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
        reference.save(kept)
    return reference


def kept_reference_path(fingerprint: str, network: Network) -> Path:
    """Where statistics of this content under this network are kept."""
    key = text_hash(
        fingerprint, network.name, network.weights, network.preprocessing, __version__, _FORMAT
    )
    return cache_folder("references", f"{key[:32]}.npz")


def _read_kept(path: Path, description: str) -> Reference | None:
    if not path.is_file():
        return None
    try:
        return Reference(description=description, **read_statistics(path))
    except InputError as error:
        warnings.warn(f"kept reference is computed again: {error}", stacklevel=3)
        return None


def _compute(batches, extractor: Extractor, description, keep_features, progress) -> Reference:
    statistics, features = None, []
    for batch in batches() if callable(batches) else batches:
        part = extractor(batch)["features"]
        statistics = statistics or FeatureStatistics(part.shape[1])
        statistics.update(part)
        if keep_features:
            features.append(np.asarray(part, "float32"))
        if progress is not None:
            progress(len(batch))
    count = 0 if statistics is None else statistics.count
    if count < 2:
        raise InputError(f"{description} has {count} images: a reference needs at least 2.")
    return Reference(
        statistics.mean,
        statistics.covariance,
        count,
        extractor.network,
        description,
        np.concatenate(features) if keep_features else None,
    )


def source_batches(source, indices: Iterable[int] | None = None, batch_size: int = 64):
    """Yields uint8 batches of a data source, whose images are floats in [−1, 1]."""
    indices = np.arange(len(source)) if indices is None else np.asarray(indices)
    for start in range(0, len(indices), batch_size):
        yield to_uint8(source.take(indices[start : start + batch_size]), (-1.0, 1.0))


def open_reference(
    reference: object,
    extractor: object = "fid",
    *,
    keep_features: bool = True,
    description: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Reference:
    """The reference that a user names, computed if need be.

    Args:
        reference: a `Reference`; `FeatureStatistics`; a folder of images; an `.npz` or
            `.npy` of statistics; an `.npz` of images; a uint8 array of images; or a data
            source with `len`, `take(indices)` and `fingerprint()`.
        extractor, keep_features, progress: see `compute_reference`.
        description: instead of the one found.

    Raises:
        InputError: none of these, or made with another network or preprocessing.
    """
    extractor = as_extractor(extractor)
    if isinstance(reference, np.ndarray):
        reference = ImageArray(reference)
    elif isinstance(reference, (str, os.PathLike)):
        path = Path(reference)
        if path.is_dir():
            reference = ImageFolder(path)
        elif path.suffix == ".npz" and path.is_file() and "mu" not in read_npz(path):
            reference = open_images(path)
    if hasattr(reference, "batches"):
        batches, found = reference.batches, reference.description()
    elif hasattr(reference, "take"):
        source = reference
        name = getattr(source, "name", type(source).__name__)
        batches, found = lambda: source_batches(source), f"{name} ({len(source)} images)"
    else:
        reference = as_reference(reference)
        reference.check(extractor.network)
        return reference
    return compute_reference(
        batches,
        extractor,
        fingerprint=reference.fingerprint(),
        description=description or found,
        keep_features=keep_features,
        progress=progress,
    )
