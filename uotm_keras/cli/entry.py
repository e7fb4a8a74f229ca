"""What every command does around its work: help, one sentence for a mistake, exit codes."""

import sys
from collections.abc import Callable, Sequence

from uotm_keras.config.flags import Command
from uotm_keras.utils.environment import check_backend
from uotm_keras.utils.errors import InputError

BAD_INPUT, INTERRUPTED = 2, 130
_HELP = ("--help", "-help", "-h", "--helpfull")


def run_command(
    argv: Sequence[str] | None,
    command: Callable[[], Command],
    work: Callable[[list[str]], int],
    interrupted: str = "nothing was written.",
) -> int:
    """Does the work of a command.

    Args:
        argv: the flags; None takes those of the command line.
        command: gives the flags, for --help.
        work: from the flags to the exit code.
        interrupted: what Ctrl-C leaves behind.

    Returns:
        The exit code: the work's own; 2 after one sentence on stderr; 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if any(argument in _HELP for argument in arguments):
        print(command().help())
        return 0
    try:
        check_backend()
        return work(arguments)
    except (InputError, KeyboardInterrupt) as error:
        return tell(error, interrupted)


def tell(error: InputError | KeyboardInterrupt, interrupted: str) -> int:
    """Says on stderr what ended the work, and gives the exit code."""
    if isinstance(error, InputError):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    print(f"interrupted: {interrupted}", file=sys.stderr)
    return INTERRUPTED
