"""`python -m uotm_keras COMMAND [--flag=value ...]`."""

import importlib
import sys
from collections.abc import Sequence

from uotm_keras.config.command_line import exit_code
from uotm_keras.utils.errors import unknown_name

COMMANDS = ("digits", "evaluate", "export", "generate", "outliers", "report", "train")
_USAGE = f"""\
usage: python -m uotm_keras COMMAND [--flag=value ...]
commands: {", ".join(COMMANDS)}
See python -m uotm_keras COMMAND --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names with the remaining arguments.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code of the command; 2 if there is no such command.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    return exit_code(lambda: _run(argv), "nothing was written.")


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_USAGE)
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"error: {unknown_name('command', argv[0], COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"uotm_keras.cli.{argv[0]}").main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
