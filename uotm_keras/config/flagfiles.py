"""Files of flags: `--flagfile=PATH`, and `--config=NAME` for those that are shipped."""

from collections.abc import Iterable
from pathlib import Path

from uotm_keras.config import catalog
from uotm_keras.config.parsers import near_matches
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path

NAMES = ("flagfile", "config")


def expand(arguments: Iterable[str]) -> list[str]:
    """Return the arguments with each flagfile replaced by the flags in it.

    A flagfile has one flag per line; blank lines and lines that start with # or // are
    skipped. It may name further flagfiles, relative to its own folder.

    Raises:
        InputError: a file cannot be read, or includes itself.
    """
    return _expand(list(arguments), None, ())


def without(arguments: Iterable[str]) -> list[str]:
    """Return the arguments that are given on the command line itself, not by a flagfile."""
    return [argument for argument, file in _split(arguments) if file is None]


def _expand(arguments: list[str], folder: Path | None, stack: tuple[Path, ...]) -> list[str]:
    expanded = []
    for argument, file in _split(arguments):
        if file is None:
            expanded.append(argument)
            continue
        path = file if folder is None else folder / file
        if path.resolve() in stack:
            raise InputError(f"flag --flagfile={path} includes itself: remove that line.")
        lines = [line.strip() for line in _read(path).splitlines()]
        lines = [line for line in lines if line and not line.startswith(("#", "//"))]
        expanded += _expand(lines, path.parent, (*stack, path.resolve()))
    return expanded


def _split(arguments: Iterable[str]) -> list[tuple[str, Path | None]]:
    """Pairs of an argument and, if it is a flagfile, its path."""
    pairs: list[tuple[str, Path | None]] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        kind = name.lstrip("-")
        if not name.startswith("-") or kind not in NAMES:
            pairs.append((argument, None))
            continue
        value = value if equals else next(rest, "")
        if not value:
            wanted = "the path of a file of flags" if kind == "flagfile" else "a name"
            raise InputError(f"flag --{kind} needs {wanted}: --{kind}=….")
        path = local_path(value) if kind == "flagfile" else catalog.find(value)
        pairs.append((argument, path))
    return pairs


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        names = []
        if path.parent.is_dir():
            names = sorted(p.stem for p in path.parent.glob("*.flags"))
        hint = near_matches(path.stem, names)
        listed = f"{path.parent} has {', '.join(names)}." if names else "give an existing file."
        raise InputError(
            f"flag --flagfile={path} cannot be read ({error.strerror}){hint}: {listed}"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"flag --flagfile={path} is not a text file in UTF-8.") from None
