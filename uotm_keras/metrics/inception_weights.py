"""The published Inception weights: found, downloaded, and checked."""

import contextlib
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from uotm_keras.metrics.cache import cache_folder
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.npz import read_arrays
from uotm_keras.utils.pth import read_state_dict

FID_FILE = "pt_inception-2015-12-05-6726825d.pth"
FID_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FID_FILE}"
FID_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def load_inception_weights(
    weights: str | os.PathLike | Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Read the released arrays by name.

    Args:
        weights: `"fid"` (the published file, downloaded once), the path of a `.pth` or `.npz`
            file, or the arrays themselves.

    Raises:
        InputError: the file does not exist, is damaged or altered, or cannot be downloaded.
    """
    if isinstance(weights, Mapping):
        return dict(weights)
    if isinstance(weights, str) and weights == "fid":
        path = weights_folder() / FID_FILE
        if not path.is_file():
            _download(path)
    else:
        path = Path(weights)
        if not os.path.isfile(path):
            raise InputError(
                f"weights={str(weights)!r} is not a file: accepted are 'fid', 'imagenet', the path "
                "of a .pth or .npz file, a dictionary of arrays, and None."
            )
    if path.suffix == ".npz":
        state: Mapping[str, Any] = read_arrays(path)
    else:
        _check_hash(path)
        state = read_state_dict(path)
    if not state or not all(isinstance(value, np.ndarray) for value in state.values()):
        raise InputError(f"{path} is not a flat dictionary from released name to tensor.")
    return dict(state)


def is_published(weights: str | os.PathLike | Mapping[str, np.ndarray]) -> bool:
    """Return whether `weights` names the published file, whose hash is therefore checked."""
    if isinstance(weights, Mapping):
        return False
    name = Path(weights).name
    return name == "fid" or name.endswith(f"-{FID_SHA256[:8]}.pth")


def weights_folder() -> Path:
    """Return the folder of the cache in which the published file is kept."""
    return cache_folder("inception")


def published_weights_at_hand() -> bool:
    """Return whether `"fid"` is available without a download."""
    return (weights_folder() / FID_FILE).is_file()


def _download(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Keras checks the hash after the file has its name: an interrupted download must not
        # look like the file, so the name is given last.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download") as folder:
            with contextlib.redirect_stdout(io.StringIO()):  # its progress bar
                downloaded = keras.utils.get_file(
                    path.name, FID_URL, file_hash=FID_SHA256, hash_algorithm="sha256",
                    cache_dir=folder, cache_subdir="",
                )  # fmt: skip
            shutil.move(downloaded, path)
    except Exception as error:  # Keras raises plain exceptions for URL, HTTP and hash errors
        reason = " ".join(str(getattr(error, "reason", None) or error).split()).rstrip(".")
        raise InputError(
            f"the FID Inception weights are not in {path.parent} and cannot be downloaded "
            f"({reason}): download {FID_URL} on a computer with network access and save it as "
            f"{path}, or give its path as the weights."
        ) from error


def _check_hash(path: Path) -> None:
    """Compare the file with the start of its SHA-256, which PyTorch puts in the name."""
    found = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    if not found:
        return
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expected = FID_SHA256 if path.name == FID_FILE else found[1]
    if not digest.startswith(expected):
        raise InputError(
            f"{path.name} is truncated or altered: its SHA-256 is {digest} and should start with "
            f"{expected}; delete it and download it again."
        )
