"""Reference statistics in other programs' files, read without executing what they hold."""

import json
import os
from pathlib import Path

import numpy as np

from uotm_keras.metrics.network import Network
from uotm_keras.metrics.statistics import check_moments, read_npz
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pickles import DAMAGE, RestrictedUnpickler


def read_statistics(path: str | os.PathLike) -> dict:
    """Reads a mean and a covariance.

    Args:
        path: an `.npz` with `mu` and `sigma`, pytorch-fid's or ours, or an `.npy` that
            holds a pickled dict of the two, as the UOTM authors' reference files do.

    Returns:
        `mean`, `covariance` (float64), `count` (None if the file does not say), `network`
        (None if it does not say), `features` (None if there are none).

    Raises:
        InputError: missing, damaged, without the two arrays, or a pickle of anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no reference file {path}.")
    if path.suffix == ".npy":
        arrays = read_pickled_dict(path)
    elif path.suffix == ".npz":
        arrays = read_npz(path)
    else:
        raise InputError(
            f"{path} is not a reference file: accepted are .npz and .npy files with mu and "
            "sigma, and folders of images."
        )
    missing = {"mu", "sigma"} - set(arrays)
    if missing:
        raise InputError(
            f"{path} lacks {' and '.join(sorted(missing))}: a reference file holds mu and sigma."
        )
    mean, covariance = check_moments(arrays["mu"], arrays["sigma"], str(path))
    return {
        "mean": mean,
        "covariance": covariance,
        "count": int(arrays["count"]) if "count" in arrays else None,
        "network": _network(arrays.get("network"), path),
        "features": arrays.get("features"),
    }


def _network(text: np.ndarray | None, path: Path) -> Network | None:
    if text is None:
        return None
    try:
        return Network(**json.loads(str(text)))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} describes its network in a way that cannot be read.") from error


class _DType:
    """A pickled numpy.dtype: a code and a byte order, numbers only."""

    def __init__(self, code: str = "", *_ignored):
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        if self.code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            raise ValueError(f"an array of type {self.code!r}")
        return np.dtype(self.code).newbyteorder(self.order if self.order in "<>" else "=")


class _Array:
    """A pickled numpy.ndarray, turned into an array once all of it is read."""

    def __setstate__(self, state: tuple) -> None:
        _version, self.shape, self.dtype, self.fortran, self.data = state

    def value(self) -> object:
        if self.dtype.code == "O8":
            return [_value(item) for item in self.data]
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        array = np.frombuffer(data, self.dtype.numpy())
        return array.reshape(self.shape, order="F" if self.fortran else "C")


def _reconstruct(*_ignored) -> _Array:
    return _Array()


def _from_buffer(data: bytes, dtype: _DType, shape: tuple, order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(data)))
    return array


def _scalar(dtype: _DType, data: bytes) -> _Array:
    return _from_buffer(data, dtype, (), "C")


def _encode(text: str, *_ignored) -> bytes:
    return text.encode("latin1")


class _NdArray:
    """The type itself, which pickles name and never call."""


_KNOWN: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): _NdArray,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,  # how older pickles write bytes
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def _value(item: object) -> object:
    if isinstance(item, _Array):
        return item.value()
    if isinstance(item, dict):
        return {key: _value(value) for key, value in item.items()}
    return item


def read_pickled_dict(path: str | os.PathLike) -> dict:
    """Reads an `.npy` that holds one pickled dict of arrays, and nothing else.

    Raises:
        InputError: no such file, or anything else in it; nothing in the file is executed.
    """
    path = Path(path)
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
                    f"{path} holds an array of shape {shape} and type {dtype}: accepted is a "
                    "pickled dict with mu and sigma."
                )
            content = _value(RestrictedUnpickler(file, _KNOWN, path).load())
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    except DAMAGE as error:
        raise InputError(
            f"{path} is not a whole .npy file of a dict of arrays "
            f"({str(error).rstrip('.') or type(error).__name__})."
        ) from error
    if not (isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict)):
        raise InputError(f"{path} does not hold a dict of arrays.")
    return content[0]
