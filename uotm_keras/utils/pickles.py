"""Reads pickles as data: a short list of names is known, everything else is refused."""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping

from uotm_keras.utils.errors import InputError

# What a truncated or altered file makes pickle, zipfile and NumPy raise.
DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    AssertionError,
)


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows the given names only and calls nothing else.

    A pickle is a small program that may call any function it can name. Here a name stands
    for one of ours or for nothing, so the worst that a hostile file can do is be refused.

    Args:
        file: binary stream.
        known: what each permitted (module, name) stands for.
        path: for the messages.
    """

    def __init__(self, file: io.BufferedIOBase, known: Mapping[tuple[str, str], object], path):
        # latin1 keeps the bytes of arrays that Python 2 pickled.
        super().__init__(file, encoding="latin1")
        self._known = known
        self._path = path

    def find_class(self, module: str, name: str) -> object:
        try:
            return self._known[module, name]
        except KeyError:
            raise InputError(
                f"{self._path} was refused: its pickle asks for {module}.{name}, and only "
                "tensors, arrays and plain containers are accepted."
            ) from None

    def persistent_load(self, identifier: object) -> object:
        raise pickle.UnpicklingError(f"unexpected persistent identifier {identifier!r}")
