"""The one reader of NumPy's `.npz` files: no pickles, no unbounded work, one kind of error."""

import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import require_regular_file

__all__ = ["array_names", "iterate_arrays", "read_arrays"]


class Member(NamedTuple):
    """An array of a file; `array` is None if it contains pickled objects, which are not read."""

    name: str
    array: np.ndarray | None


def array_names(path: str | os.PathLike) -> list[str]:
    """Return the names of the arrays, without reading their data.

    Raises:
        InputError: the file does not exist or is not an `.npz` file.
    """
    path = Path(path)
    require_regular_file(path, str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # altered bytes make zipfile raise nearly any exception
        raise _unreadable(path, error) from error


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` file.

    Args:
        path: the file.

    Returns:
        The arrays by name.

    Raises:
        InputError: the file does not exist, is truncated or damaged, or contains pickled
            objects, which are never loaded.
    """
    arrays = {}
    for name, array in iterate_arrays(path):
        if array is None:
            raise InputError(f"{path}: {name} contains pickled objects, which are not loaded.")
        arrays[name] = array
    return arrays


def iterate_arrays(path: str | os.PathLike, first: tuple[str, ...] = ()) -> Iterator[Member]:
    """Yield the arrays of an `.npz` file one by one.

    Args:
        path: the file.
        first: names to start with; the others follow in the file's order.

    Raises:
        InputError: as `read_arrays`, but pickled objects are yielded as None.
    """
    path = Path(path)
    names = array_names(path)
    names.sort(key=lambda name: first.index(name) if name in first else len(first))
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:
        raise _unreadable(path, error) from error
    with archive:
        for name in names:
            try:
                array = _read_member(archive, name)
            except Exception as error:  # zlib, zipfile, tokenize and NumPy raise many kinds
                raise _unreadable(path, error) from error
            yield Member(name, array)


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray | None:
    member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
    length = archive.getinfo(member).file_size
    with archive.open(member) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's about headers of Python 2
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            return None
        count = int(np.prod(shape, dtype=object)) if shape else 1
        size = count * dtype.itemsize
        # Checked before anything is allocated: a header can claim any shape.
        if min(shape, default=0) < 0 or file.tell() + size != length:
            raise ValueError(f"{name} does not have the {size} bytes that its header declares")
        data = bytearray()
        while chunk := file.read(1 << 24):  # to the end, where the checksum is compared
            data += chunk
        array = np.frombuffer(data, dtype, count) if size else np.zeros(count, dtype)
        return array.reshape(shape, order="F" if fortran else "C")


def _unreadable(path: Path, error: Exception) -> InputError:
    try:
        with open(path, "rb") as file:
            start = file.read(6)
    except OSError as problem:
        return InputError(f"{path} cannot be read: {problem.strerror or problem}.")
    if start[:2] == b"\x1f\x8b":
        hint = "it is a gzip file; decompress it first"
    elif start == b"\x93NUMPY":
        hint = "it is a single .npy array; save it with numpy.savez"
    elif not start:
        hint = "it is empty"
    else:
        hint = str(error).strip().rstrip(".") or type(error).__name__
    return InputError(f"{path} is not a complete .npz file of arrays: {hint}.")
