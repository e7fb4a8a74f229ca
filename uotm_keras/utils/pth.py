"""Reads PyTorch's `.pth` files without PyTorch, and without executing what they contain.

Both of `torch.save`'s formats are read: the zip archive (PyTorch 1.6 and later) and the
older stream of pickles.
"""

import math
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import require_regular_file
from uotm_keras.utils.pickles import Name, StandIn, read_pickle

__all__ = ["read_state_dict"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Views may share a storage, as tied weights do; arrays do not. A small file of many views must
# not fill the memory.
_MOST_COPIES, _ALWAYS_ALLOWED = 16, 1 << 26


def _allowed(path: Path) -> int:
    """Bytes that the content of a file may take in memory."""
    return _MOST_COPIES * path.stat().st_size + _ALWAYS_ALLOWED


class _DType(NamedTuple):
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


class _Tensor(StandIn):
    """A view on a storage, not yet an array because the storage may still be empty."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ):
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.storage.array.itemsize

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


class _Namespace(StandIn):
    """Stands for argparse.Namespace, in which training scripts keep their flags."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("a namespace without names")
        self.values.update(state)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_ignored: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor without a storage")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_ignored: Any) -> Any:
    return tensor


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    if len(items):  # Python 2 wrote them here, and nobody else does
        raise ValueError("an ordered dict of another Python")
    return {}


def _size(items: Any = ()) -> tuple[int, ...]:
    if len(items) > 64:
        raise ValueError(f"a shape of {len(items)} axes")
    return tuple(items)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
    ("argparse", "Namespace"): _Namespace,
    **{("torch", f"{name}Storage"): dtype for name, dtype in _DTYPES.items()},
}


def read_state_dict(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `torch.save` wrote, without PyTorch.

    Only tensors and plain containers are read: a file that names any other object is
    refused, so that a hostile file cannot run code, and the memory used is proportional to
    the size of the file.

    Args:
        path: a `.pth` or `.pt` file in either of PyTorch's formats.

    Returns:
        The saved structure. Tensors become arrays of the same shape and type (bfloat16 is
        widened to float32), every mapping and argparse namespace a plain dict; a
        checkpoint like `{"model": state_dict, "step": 3}` keeps its nesting.

    Raises:
        InputError: the file does not exist, is truncated, damaged or not a PyTorch file, or
            asks for something other than tensors and containers.

    Example:
        >>> state = read_state_dict("inception.pth")  # doctest: +SKIP
        >>> state["fc.bias"].shape  # doctest: +SKIP
        (1008,)
    """
    path = Path(path)
    require_regular_file(path, str(path))
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
        content = _Plain(_allowed(path))(read(path))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # altered bytes make pickletools, zipfile and zlib raise many kinds
        raise InputError(
            f"{path} is not a complete PyTorch file (truncated, damaged or of another format): "
            f"{str(error).rstrip('.') or type(error).__name__}."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} contains a {type(content).__name__}; a dictionary of tensors is accepted."
        )
    return content


def _checked(identifier: Any) -> tuple[Any, ...]:
    """(type, key, device, count, …) of a persistent identifier."""
    if not isinstance(identifier, tuple) or identifier[0] not in ("storage", b"storage"):
        raise ValueError("unknown persistent identifier")
    dtype, key, _device, count = identifier[1:5]
    if not (isinstance(dtype, _DType) and isinstance(key, str | int) and isinstance(count, int)):
        raise ValueError("a storage without an element type, a key or a length")
    return identifier[1:]


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(names) != 1:
            raise ValueError("no data.pkl in the archive")
        if sum(member.file_size for member in archive.infolist()) > _allowed(path):
            raise ValueError("its content is many times larger than the file")
        folder = names[0].removesuffix("data.pkl")
        order: str = sys.byteorder
        if f"{folder}byteorder" in archive.namelist():
            order = _read_member(archive, f"{folder}byteorder", 16).decode()
        storages: dict[Any, _Storage] = {}

        def storage(identifier: Any) -> _Storage:
            dtype, key, _device, count = _checked(identifier)[:4]
            if key not in storages:
                size = count * dtype.stored.itemsize
                raw = _read_member(archive, f"{folder}data/{key}", size)
                array = np.frombuffer(raw, _ordered(dtype.stored, order))
                if array.size < count:
                    raise ValueError(f"storage {key} is shorter than it says")
                storages[key] = _Storage(dtype, array.astype(dtype.stored, copy=False))
            return storages[key]

        with archive.open(names[0]) as file:
            return read_pickle(file, _KNOWN, path, storage)  # type: ignore[arg-type]


def _read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A member of at most so many bytes; refused before it is inflated if it is longer."""
    length = archive.getinfo(name).file_size
    if length > most:
        raise ValueError(f"{name} has {length} bytes, but {most} are declared")
    return archive.read(name)


def _read_legacy(path: Path) -> Any:
    size = path.stat().st_size
    with open(path, "rb") as file:

        def load(storage: Callable[[Any], _Storage] | None = None) -> Any:
            return read_pickle(file, _KNOWN, path, storage)

        if load() != _LEGACY_MAGIC or load() != _LEGACY_PROTOCOL:
            raise ValueError("not PyTorch's signature")
        order = "little" if load().get("little_endian", True) else "big"
        storages: dict[Any, _Storage] = {}
        declared = 0

        def storage(identifier: Any) -> _Storage:
            nonlocal declared
            dtype, key, _device, count, *rest = _checked(identifier)
            if key not in storages:
                declared += count * dtype.stored.itemsize
                if count < 0 or declared > size:
                    raise ValueError("storages longer than the file")
                storages[key] = _Storage(dtype, np.zeros(count, dtype.stored))
            if not rest or rest[0] is None:
                return storages[key]
            _name, start, length = rest[0]
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
    return dtype.newbyteorder("<" if order == "little" else ">")


class _Plain:
    """Turns stand-ins into arrays and plain containers, each once however often it occurs."""

    def __init__(self, allowed: int):
        self.allowed = allowed
        self.done: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        if id(value) not in self.done:
            self.done[id(value)] = self.convert(value)
        return self.done[id(value)]

    def convert(self, value: Any) -> Any:
        if isinstance(value, _Tensor):
            self.allowed -= value.size
            if self.allowed < 0:
                raise ValueError("its tensors together are many times larger than the file")
            return value.array()
        if isinstance(value, _Namespace):
            return self(value.values)
        if isinstance(value, _Storage | _DType | Name):
            raise ValueError("a storage or a name outside a tensor")
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self(item) for item in value)
        return value
