"""Reference statistics in other programs' files, read without executing what they contain."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uotm_keras.metrics.network import Network
from uotm_keras.metrics.statistics import check_moments
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import require_regular_file
from uotm_keras.utils.npz import read_arrays
from uotm_keras.utils.pickles import StandIn, read_pickle


@dataclass(frozen=True)
class Statistics:
    """What a reference file contains.

    Attributes:
        mean, covariance: (d,) and (d, d), float64.
        count: number of images, or None if the file does not say.
        network: the feature network, or None if the file does not say.
        features: (count, d), or None if there are none.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None
    network: Network | None
    features: np.ndarray | None


def read_statistics(path: str | os.PathLike) -> Statistics:
    """Read a mean and a covariance.

    Args:
        path: an `.npz` with `mu` and `sigma`, pytorch-fid's or ours, or an `.npy` that
            contains a pickled dict of the two, as the UOTM authors' reference files do.

    Raises:
        InputError: the file does not exist, is damaged, lacks one of the two arrays, or is a
            pickle of anything else.
    """
    path = Path(path)
    require_regular_file(path, "reference")
    if path.suffix not in (".npy", ".npz"):
        raise InputError(
            f"{path} is not a reference file: accepted are .npz and .npy files with mu and "
            "sigma, and folders of images."
        )
    arrays = read_pickled_dict(path) if path.suffix == ".npy" else read_arrays(path)
    return statistics_of(arrays, path)


def statistics_of(arrays: Mapping[str, Any], path: Path) -> Statistics:
    """Return the statistics among the arrays of a file.

    Raises:
        InputError: `mu` or `sigma` is missing, or one of the entries makes no sense.
    """
    missing = {"mu", "sigma"} - set(arrays)
    if missing:
        raise InputError(
            f"{path} lacks {' and '.join(sorted(missing))}: a reference file contains mu and sigma."
        )
    mean, covariance = check_moments(arrays["mu"], arrays["sigma"], str(path))
    try:
        count = int(arrays["count"]) if "count" in arrays else None
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} contains a count that is not a whole number.") from error
    return Statistics(
        mean, covariance, count, _network(arrays.get("network"), path), arrays.get("features")
    )


def _network(text: np.ndarray | None, path: Path) -> Network | None:
    if text is None:
        return None
    try:
        return Network(**json.loads(str(text)))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} describes its network in a way that cannot be read.") from error


# --- pickled dicts -------------------------------------------------------------------------


class _DType(StandIn):
    """A pickled numpy.dtype: a code and a byte order."""

    def __init__(self, code: str = "", *_ignored: Any):
        self.code, self.order = code, "="

    def build(self, state: Any) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        if self.code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            raise ValueError(f"an array of type {self.code!r}")
        return np.dtype(self.code).newbyteorder(">" if self.order == ">" else "<")


class _Array(StandIn):
    """A pickled numpy.ndarray, turned into an array once all of it is read."""

    def __init__(self, *_ignored: Any):
        self.shape: Any = ()
        self.dtype: Any = None
        self.fortran, self.data = False, b""

    def build(self, state: Any) -> None:
        _version, self.shape, self.dtype, self.fortran, self.data = state

    def value(self) -> np.ndarray:
        # Older pickles write bytes as latin-1 text.
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        array = np.frombuffer(data, self.dtype.numpy())
        return array.reshape(self.shape, order="F" if self.fortran else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.build((1, shape, dtype, order == "F", data))
    return array


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",  # which pickles name and never call
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): lambda text, *_ignored: text,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", lambda dtype, data: _from_buffer(data, dtype, (), "C")),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def read_pickled_dict(path: str | os.PathLike) -> dict[str, Any]:
    """Read an `.npy` file that contains one pickled dict of arrays, and nothing else.

    Raises:
        InputError: the file does not exist or contains anything else. Nothing in it is
            executed.
    """
    path = Path(path)
    require_regular_file(path, "reference")
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _fortran, dtype = read_header(file)
            if not dtype.hasobject or shape != ():
                raise InputError(
                    f"{path} contains an array of shape {shape} and type {dtype}: accepted is a "
                    "pickled dict with mu and sigma."
                )
            box = read_pickle(file, _KNOWN, path)
        if not (isinstance(box, _Array) and isinstance(box.data, list) and len(box.data) == 1):
            raise ValueError("not one object")
        content = box.data[0]
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__} instead of a dict")
        return {
            str(key): value.value() if isinstance(value, _Array) else value
            for key, value in content.items()
        }
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # altered bytes make NumPy and pickletools raise many kinds
        raise InputError(
            f"{path} is not a complete .npy file of a dict of arrays "
            f"({str(error).rstrip('.') or type(error).__name__})."
        ) from error
