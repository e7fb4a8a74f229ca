"""Files are written whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from uotm_keras.utils.errors import InputError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, suffix: str | None = None) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`, moved onto it on success.

    The data are flushed to disk before the move, so that after a crash `path` holds
    either its old content or all of the new. `suffix` is for writers that choose a
    format by the file name's ending (default: the ending of `path`).

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    suffix = path.suffix if suffix is None else suffix
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        if temporary is not None and temporary.exists():
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, put in its place on success.

    A folder that is there already is moved aside first and removed last.

    Raises:
        InputError: the place cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        yield new
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def require_writable(folder: str | os.PathLike, given: str) -> None:
    """Finds out before long work whether its results can be written; makes nothing.

    Args:
        folder: where they go, if need be to be made.
        given: what the user said, as `--out=here`.

    Raises:
        InputError: what there is of the folder's path is a file, or may not be written to.
    """
    path = Path(folder).expanduser()
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise InputError(f"flag {given} cannot be written: {nearest} is not a folder to write in.")
