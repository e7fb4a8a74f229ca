"""Standard streams of a command: closed ones, full ones, encodings that lack a character."""

import contextlib
import os
import sys
from collections.abc import Callable

BROKEN_PIPE = 141


def open_descriptors() -> None:
    """Connect those of the descriptors 0, 1 and 2 that are closed to the null device.

    Otherwise, the next file that is opened gets the number of a closed one, and with it the
    messages that libraries write to stdout and stderr.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def with_streams(work: Callable[[], int]) -> int:
    """Run the work of a command and write out all that it prints.

    Characters that the encoding of stdout lacks are printed as "?".

    Args:
        work: the work of the command. It returns the exit code.

    Returns:
        The exit code of `work`, or 141 if the reader of the output has gone away.

    Raises:
        OSError: stdout cannot be written for another reason, such as a full disk.
    """
    open_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif name == "stdout" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # stderr's own rule is backslashreplace
    try:
        code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except OSError:
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()
        raise


def _discard_output() -> None:
    """Send what is still in the buffer of stdout to the null device.

    Python would write it at exit, fail again, and print a traceback.
    """
    with contextlib.suppress(OSError, ValueError):
        stdout = sys.stdout.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stdout)
        os.close(null)
