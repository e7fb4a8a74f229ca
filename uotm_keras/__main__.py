"""`python -m uotm_keras COMMAND [--flag=value ...]`."""

import importlib
import sys
from collections.abc import Sequence

from uotm_keras.utils.errors import unknown_name

COMMANDS = {
    name: f"uotm_keras.cli.{name}"
    for name in ("digits", "evaluate", "export", "generate", "outliers", "train")
} | {"report": "uotm_keras.cli.report"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names; the rest are its flags."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(f"usage: python -m uotm_keras COMMAND [--flag=value ...]\ncommands: {_names()}")
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"error: {unknown_name('command', argv[0], COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(COMMANDS[argv[0]]).main(argv[1:])


def _names() -> str:
    return ", ".join(sorted(COMMANDS))


if __name__ == "__main__":
    sys.exit(main())
