"""The exception for everything that a user can correct."""

import difflib
from collections.abc import Iterable


def printable(text: object) -> str:
    r"""Return text that UTF-8 can represent: undecodable bytes of file names become `\udcNN`."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


class InputError(ValueError):
    """Invalid input that the user can correct.

    The message is one sentence that names the argument or flag, the value given, and what is
    accepted. The commands print it alone and exit with code 2; in user code it is an ordinary
    `ValueError`.
    """

    def __init__(self, message: object = ""):
        super().__init__(printable(message))


def unknown_name(kind: str, name: object, accepted: Iterable[str]) -> InputError:
    """Return the error for a name that is not one of `accepted`, near matches first.

    Args:
        kind: what the name stands for, such as `"metric"`.
        name: the name that was given.
        accepted: the names that are accepted.
    """
    accepted = sorted(accepted)
    near = difflib.get_close_matches(str(name), accepted, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return InputError(f"unknown {kind} {name!r}: {hint}accepted are {', '.join(accepted)}.")
