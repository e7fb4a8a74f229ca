"""The configs that come with the package: `configs/*.flags`, by name."""

from pathlib import Path

from uotm_keras.utils.errors import unknown_name

# In an installed package, configs/ is a folder of the package; in a checkout, it is beside it.
_PACKAGE = Path(__file__).parents[1]
FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def names() -> list[str]:
    """Return the names of the shipped configs."""
    return sorted(path.stem for path in _folder().glob("*.flags"))


def find(name: str) -> Path:
    """Return the path of a shipped config's flagfile.

    Args:
        name: one of `names()`.

    Raises:
        InputError: there is no such config.
    """
    if name not in names():
        raise unknown_name("config", name, names())
    return _folder() / f"{name}.flags"


def description(name: str) -> str:
    """Return the sentence with which a config's header begins.

    Raises:
        InputError: there is no such config.
    """
    lines = []
    for line in find(name).read_text(encoding="utf-8").splitlines():
        if not line.lstrip("# "):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def _folder() -> Path:
    return next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])
