"""Runs programs where only chosen packages, with what they require, can be imported."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path


def requirements(
    name: str, found: dict | None = None
) -> dict[str, importlib.metadata.Distribution]:
    """The distributions that installing `name` would bring, without extras."""
    found = {} if found is None else found
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return found
    try:
        found[key] = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return found  # of another platform or Python
    for requirement in found[key].requires or ():
        if "extra ==" not in requirement:
            requirements(re.match(r"[\w.-]+", requirement)[0], found)
    return found


class BareEnvironment:
    """An interpreter without site-packages, beside a folder of links to some distributions."""

    def __init__(self, folder: Path, *packages: str):
        self.folder = folder
        folder.mkdir()
        tops = {}
        for package in packages:
            for distribution in requirements(package).values():
                for file in distribution.files or ():
                    if file.parts[0] not in ("..", "__pycache__"):
                        tops[file.parts[0]] = Path(distribution.locate_file(file.parts[0]))
        for name, target in tops.items():
            (folder / name).symlink_to(target.resolve())

    def run(self, program: str, *arguments: object) -> str:
        """What the program printed.

        Raises:
            AssertionError: it failed.
        """
        start = f"import sys; sys.path.insert(0, {str(self.folder)!r})\n"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KERAS", "PYTHON"))
        }
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", start + program, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
