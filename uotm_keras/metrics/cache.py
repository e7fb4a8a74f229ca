"""Where downloaded and computed files are cached, and how content is identified."""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path


def cache_folder(*parts: str) -> Path:
    """Return a folder of the cache: $UOTM_KERAS_HOME, by default ~/.cache/uotm_keras."""
    home = os.environ.get("UOTM_KERAS_HOME")
    if not home:
        user = os.path.expanduser("~")
        # Without a home directory, "~" stays as it is.
        base = Path(tempfile.gettempdir()) if user == "~" else Path(user) / ".cache"
        return base.joinpath("uotm_keras", *parts)
    return Path(home).joinpath(*parts)


def keep_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to the cache; a cache that cannot be written costs a warning, not the score."""
    try:
        with atomic_path(path, suffix=".npz") as temporary:
            np.savez(temporary, **dict(arrays))  # type: ignore[arg-type]
    except InputError as error:
        warnings.warn(f"the result is not cached: {error}", stacklevel=3)


def array_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, shapes, types and values, in any order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        digest.update(f"{name}{array.shape}{array.dtype.str}".encode())
        digest.update(array.reshape(-1).data.cast("B") if array.size else b"")
    return digest.hexdigest()


def text_hash(*texts: object) -> str:
    """Return the SHA-256 of a sequence of texts."""
    return hashlib.sha256("\0".join(map(str, texts)).encode()).hexdigest()
