"""Where downloaded and computed files are kept, and how content is named."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def cache_folder(*parts: str) -> Path:
    """The folder of kept files: $UOTM_KERAS_HOME, by default ~/.cache/uotm_keras."""
    home = os.environ.get("UOTM_KERAS_HOME") or Path.home() / ".cache" / "uotm_keras"
    return Path(home).joinpath(*parts)


def array_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, shapes, types and values, the order of the names aside."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        digest.update(f"{name}{array.shape}{array.dtype.str}".encode())
        digest.update(memoryview(array.reshape(-1)).cast("B") if array.size else b"")
    return digest.hexdigest()


def text_hash(*texts: object) -> str:
    """SHA-256 of a sequence of texts."""
    return hashlib.sha256("\0".join(map(str, texts)).encode()).hexdigest()
