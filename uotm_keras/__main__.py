"""`uotm COMMAND [--flag=value ...]`, or `python -m uotm_keras COMMAND`."""

import importlib
import sys
from collections.abc import Sequence

from uotm_keras.config.command_line import exit_code
from uotm_keras.utils.errors import unknown_name
from uotm_keras.version import __version__

COMMANDS = {
    "train": "train a model, or resume a run",
    "evaluate": "score a run, a folder or an .npz file of images",
    "generate": "write samples of a run, a preset or an export",
    "export": "write a run's generator as a SavedModel or as ONNX",
    "outliers": "rank the training data of a run, the least plausible first",
    "report": "write the page of a run again",
    "digits": "judge the samples of a run on digits",
    "presets": "list the presets",
}
_WIDTH = max(map(len, COMMANDS))
_LIST = "\n".join(f"  {name:<{_WIDTH}}  {does}" for name, does in COMMANDS.items())
_USAGE = f"""\
usage: uotm COMMAND [--flag=value ...]

{_LIST}

See uotm COMMAND --help. uotm --version prints the version."""


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
    if argv[0] == "--version":
        print(f"uotm_keras {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        print(f"error: {unknown_name('command', argv[0], COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"uotm_keras.cli.{argv[0]}").main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
