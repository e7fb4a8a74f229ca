"""The published Inception weights: found, downloaded, checked, kept."""

import hashlib
import os
import re
import shutil
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uotm_keras.metrics.cache import array_hash, cache_folder
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path
from uotm_keras.utils.pickles import DAMAGE
from uotm_keras.utils.pth import read_state_dict

FID_FILE = "pt_inception-2015-12-05-6726825d.pth"
FID_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FID_FILE}"
FID_SHA256_PREFIX = "6726825d"
_CHECKSUM = "sha256_of_arrays"  # entry of our own files


def load_inception_weights(
    weights: str | os.PathLike | Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The released arrays by name.

    Args:
        weights: `"fid"`, the path of a `.pth` or `.npz`, or the arrays themselves.

    Raises:
        InputError: no such file, a damaged or altered one, or no way to download it.
    """
    if isinstance(weights, Mapping):
        return dict(weights)
    if isinstance(weights, str) and weights == "fid":
        return _published_weights()
    path = Path(weights)
    if not path.is_file():
        raise InputError(
            f"weights={str(weights)!r} is not a file: accepted are 'fid', 'imagenet', the path "
            "of a .pth or .npz file, a dictionary of arrays, and None."
        )
    if path.suffix == ".npz":
        return _read_npz(path)
    _check_name(path)
    return _tensors(read_state_dict(path), path)


def is_published(weights: str | os.PathLike | Mapping[str, np.ndarray]) -> bool:
    """Whether `weights` names the published file, whose checksum was therefore checked."""
    if isinstance(weights, Mapping):
        return False
    name = Path(weights).name
    return name in ("fid", _kept_file().name) or name.endswith(f"-{FID_SHA256_PREFIX}.pth")


def weights_folder() -> Path:
    return cache_folder("inception")


def published_weights_at_hand() -> bool:
    """Whether `"fid"` can be had without a download."""
    return _kept_file().is_file() or (weights_folder() / FID_FILE).is_file()


def _kept_file() -> Path:
    return weights_folder() / f"fid-inception-{FID_SHA256_PREFIX}.npz"


def _published_weights() -> dict[str, np.ndarray]:
    kept = _kept_file()
    if kept.is_file():
        return _read_npz(kept)
    released = weights_folder() / FID_FILE
    downloaded = not released.is_file()
    if downloaded:
        _download(released)
    _check_name(released)
    state = _tensors(read_state_dict(released), released)
    with atomic_path(kept) as temporary:
        np.savez(temporary, **state, **{_CHECKSUM: np.array(array_hash(state))})
    if downloaded:
        released.unlink()
    return state


def _download(path: Path) -> None:
    try:
        with urllib.request.urlopen(FID_URL, timeout=30) as response:
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                shutil.copyfileobj(response, file)
                file.close()
                _check_name(temporary, FID_SHA256_PREFIX)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the FID Inception weights are not here and cannot be downloaded ({reason}): "
            f"download {FID_URL} elsewhere and put it into {path.parent}, "
            "or give its path as the weights."
        ) from error


def _check_name(path: Path, prefix: str | None = None) -> None:
    """Compares the file with the start of its SHA-256, which PyTorch files carry in the name."""
    if prefix is None:
        found = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
        if not found:
            return
        prefix = found[1]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(prefix):
        raise InputError(
            f"{path.name} is truncated or altered: its SHA-256 starts with {digest[:8]} "
            f"instead of {prefix}; delete it and download it again."
        )


def _tensors(state: Mapping, path: Path) -> dict[str, np.ndarray]:
    if not all(isinstance(value, np.ndarray) for value in state.values()):
        raise InputError(f"{path} is not a flat dictionary of tensors from released name to array.")
    return dict(state)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
    except (OSError, *DAMAGE) as error:
        raise InputError(f"{path} is truncated or damaged: delete it and make it again.") from error
    checksum = state.pop(_CHECKSUM, None)
    if checksum is not None and str(checksum) != array_hash(state):
        raise InputError(f"{path} was altered since it was written: delete it and make it again.")
    if not state:
        raise InputError(f"{path} holds no arrays.")
    return state
