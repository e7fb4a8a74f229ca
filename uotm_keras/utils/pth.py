"""Reads PyTorch's `.pth` files without PyTorch, and without executing what they hold.

Both of `torch.save`'s formats are read: the zip archive (PyTorch 1.6 and later) and the
older stream of pickles.
"""

import math
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pickles import DAMAGE, RestrictedUnpickler

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class _DType(NamedTuple):  # a tuple, because a pickle cannot alter it
    """The element type of a storage. bfloat16 is read as its 16 bits and widened later."""

    code: str
    bfloat16: bool = False

    @property
    def stored(self) -> np.dtype:
        return np.dtype(self.code)


_DTYPES = {
    "Double": _DType("f8"),
    "Float": _DType("f4"),
    "Half": _DType("f2"),
    "BFloat16": _DType("u2", bfloat16=True),
    "Long": _DType("i8"),
    "Int": _DType("i4"),
    "Short": _DType("i2"),
    "Char": _DType("i1"),
    "Byte": _DType("u1"),
    "Bool": _DType("?"),
    "ComplexFloat": _DType("c8"),
    "ComplexDouble": _DType("c16"),
}


class _Storage:
    """A flat buffer, filled after the pickle in the older format."""

    def __init__(self, dtype: _DType, array: np.ndarray):
        self.dtype = dtype
        self.array = array


class _Tensor:
    """A view on a storage, not yet an array because the storage may still be empty."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple):
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)

    def array(self) -> np.ndarray:
        flat, shape, strides = self.storage.array, self.shape, self.strides
        if len(shape) != len(strides) or min((self.offset, *shape, *strides)) < 0:
            raise ValueError("a tensor's shape and strides disagree")
        last = self.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if 0 in shape:
            view = np.empty(shape, flat.dtype)
        elif last >= flat.size or math.prod(shape) > flat.size:
            raise ValueError("a tensor reaches beyond its storage")
        else:
            view = np.lib.stride_tricks.as_strided(
                flat[self.offset :], shape, [s * flat.itemsize for s in strides], writeable=False
            )
        if self.storage.dtype.bfloat16:
            return (view.astype(np.uint32) << 16).view(np.float32)
        return np.array(view, order="C")


class _Namespace:
    """Stands for argparse.Namespace, in which training scripts keep their flags."""


def _rebuild_tensor(storage, offset, shape, strides, *_ignored) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor without a storage")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor, *_ignored) -> _Tensor:
    return tensor


_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("argparse", "Namespace"): _Namespace,
    **{("torch", f"{name}Storage"): dtype for name, dtype in _DTYPES.items()},
}


class _TorchUnpickler(RestrictedUnpickler):
    def __init__(self, file: BinaryIO, path: Path, storage: Callable[[tuple], _Storage]):
        super().__init__(file, _KNOWN, path)
        self._storage = storage

    def persistent_load(self, identifier: object) -> _Storage:
        if not isinstance(identifier, tuple) or identifier[0] not in ("storage", b"storage"):
            raise pickle.UnpicklingError("unknown persistent identifier")
        return self._storage(identifier[1:])


def read_state_dict(path: str | os.PathLike) -> dict[str, Any]:
    """Reads what `torch.save` wrote, PyTorch being neither needed nor used.

    Only tensors and plain containers are read: a file that names any other object is
    refused, so a hostile file cannot run code.

    Args:
        path: a `.pth` or `.pt` file in either of PyTorch's formats.

    Returns:
        The saved structure. Tensors become arrays of the same shape and type (bfloat16 is
        widened to float32), every mapping and argparse namespace a plain dict; a
        checkpoint like `{"model": state_dict, "step": 3}` keeps its nesting.

    Raises:
        InputError: the file is missing, truncated, damaged, not a PyTorch file, or asks
            for something else than tensors and containers.

    Examples:
        >>> state = read_state_dict("inception.pth")  # doctest: +SKIP
        >>> state["fc.bias"].shape  # doctest: +SKIP
        (1008,)
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
        content = _plain(read(path))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    except DAMAGE as error:
        raise InputError(
            f"{path} is not a whole PyTorch file (truncated, damaged or of another format): "
            f"{str(error).rstrip('.') or type(error).__name__}."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}, and a dictionary of tensors is accepted."
        )
    return content


def _read_zip(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(names) != 1:
            raise ValueError("no data.pkl in the archive")
        folder = names[0].removesuffix("data.pkl")
        order = sys.byteorder
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder").decode()
        storages: dict[str, _Storage] = {}

        def storage(identifier: tuple) -> _Storage:
            dtype, key, _device, count = identifier[:4]
            if not isinstance(dtype, _DType):
                raise ValueError("a storage without an element type")
            if key not in storages:
                raw = archive.read(f"{folder}data/{key}")
                array = np.frombuffer(raw, _ordered(dtype.stored, order))
                if array.size < count:
                    raise ValueError(f"storage {key} is shorter than it says")
                storages[key] = _Storage(dtype, array.astype(dtype.stored, copy=False))
            return storages[key]

        with archive.open(names[0]) as file:
            return _TorchUnpickler(file, path, storage).load()


def _read_legacy(path: Path) -> object:
    size = path.stat().st_size
    with open(path, "rb") as file:

        def no_storage(identifier: tuple) -> _Storage:
            raise pickle.UnpicklingError("a storage outside the object")

        def load(storage: Callable[[tuple], _Storage] = no_storage) -> Any:
            return _TorchUnpickler(file, path, storage).load()

        if load() != _LEGACY_MAGIC or load() != _LEGACY_PROTOCOL:
            raise ValueError("not PyTorch's signature")
        order = "little" if load().get("little_endian", True) else "big"
        storages: dict[str, _Storage] = {}

        def storage(identifier: tuple) -> _Storage:
            dtype, key, _device, count = identifier[:4]
            view = identifier[4] if len(identifier) > 4 else None
            if not isinstance(dtype, _DType):
                raise ValueError("a storage without an element type")
            if not 0 <= count * dtype.stored.itemsize <= size:
                raise ValueError("a storage longer than the file")
            if key not in storages:
                storages[key] = _Storage(dtype, np.zeros(count, dtype.stored))
            if view is None:
                return storages[key]
            _name, start, length = view
            return _Storage(dtype, storages[key].array[start : start + length])

        content = load(storage)
        for key in load():
            array = storages[key].array
            (count,) = struct.unpack(f"{'<' if order == 'little' else '>'}q", file.read(8))
            raw = file.read(array.nbytes)
            if count != array.size or len(raw) != array.nbytes:
                raise EOFError("the file ends within a storage")
            array[...] = np.frombuffer(raw, _ordered(array.dtype, order))
        return content


def _ordered(dtype: np.dtype, order: str) -> np.dtype:
    return dtype.newbyteorder({"little": "<", "big": ">"}[order])


def _plain(value: object) -> object:
    """Arrays and plain containers instead of the stand-ins."""
    if isinstance(value, _Tensor):
        return value.array()
    if isinstance(value, _Namespace):
        return _plain(vars(value))
    if isinstance(value, (_Storage, _DType)):
        raise ValueError("a storage outside a tensor")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value
