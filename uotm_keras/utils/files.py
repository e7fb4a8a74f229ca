"""Atomic file writing: a file is written completely or not at all."""

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from uotm_keras.utils.errors import InputError

_LONGEST_NAME = 255  # bytes, on most file systems
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}(\.[a-z0-9.]+)?")  # what `_temporary_name` returns


def local_path(path: str | os.PathLike) -> Path:
    """Return a path that a user gave, with a leading `~` or `~user` replaced by the home folder.

    Raises:
        InputError: there is no such user, or no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        home = Path(path).parts[0]
        raise InputError(f"path {path}: {home} is not the home folder of a user here.") from None


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, suffix: str | None = None) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path` and move it onto `path` on success.

    The data are flushed to disk before the move, so that after a crash `path` has either its
    old content or all of the new. A file that is replaced keeps its permissions; a new one gets
    those of the process's umask.

    Args:
        path: the file to write; missing folders are created.
        suffix: ending of the temporary name, for writers that choose a format by it.
            Defaults to the ending of `path`.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(path, path.suffix if suffix is None else suffix)
        # Unlike tempfile's files, this one gets the permissions of the umask.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        _keep_mode(path, temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder beside `path` and move it to `path` on success.

    An existing folder is moved aside first and removed last; its permissions are kept.

    Args:
        path: the folder to write; missing parents are created.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(path, "")
        temporary.mkdir(mode=0o700)
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        yield new
        _keep_mode(path, new)
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary_name(path: Path, suffix: str) -> Path:
    """A hidden name beside `path` that no other process takes and that is not too long."""
    end = f".{secrets.token_hex(6)}{suffix}"
    start = os.fsencode(f".{path.name}")[: _LONGEST_NAME - len(os.fsencode(end))]
    return path.parent / (os.fsdecode(start) + end)


def remove_leftovers(folder: Path, *names: str) -> None:
    """Remove the temporary files and folders that killed processes left in a folder.

    Call this only where no other process writes.

    Args:
        folder: the folder; a missing one has no leftovers.
        *names: patterns of the files that `atomic_path` and `atomic_folder` write there, such
            as `"step_*.png"`.
    """
    for name in names:
        for path in folder.glob(f".{name}.*"):
            if _LEFTOVER.fullmatch(path.name) is None:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()


def _keep_mode(old: Path, new: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        new.chmod(stat.S_IMODE(old.stat().st_mode))


def cannot_write(path: str | os.PathLike, error: OSError) -> InputError:
    """Return the `InputError` for a file that the system does not let us write."""
    return InputError(f"cannot write {path}: {error.strerror or error}.")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def require_regular_file(path: str | os.PathLike, what: str) -> None:
    """Check that a file exists and can be read to its end, unlike a pipe or a device.

    Args:
        path: the file.
        what: the start of the message, such as `"npz:data.npz"`.

    Raises:
        InputError: it does not exist, is not a regular file, or cannot be reached.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise InputError(f"{what}: there is no file {path}.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{what}: {path} cannot be read: {reason}.") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise InputError(f"{what}: {path} is {kind}; give a file.")


def require_writable(folder: str | os.PathLike, given: str) -> None:
    """Check before long work that its results can be written, without creating anything.

    Args:
        folder: where the results go; it need not exist yet.
        given: what the user wrote, such as `--out=here`.

    Raises:
        InputError: the nearest existing part of the path is a file or not writable.
    """
    path = local_path(folder)
    nearest = next(place for place in (path, *path.absolute().parents) if os.path.exists(place))
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise InputError(f"flag {given} cannot be written: {nearest} is not a writable folder.")
