"""One exception for everything a user can put right."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that the user can correct.

    The message is one sentence naming the argument or flag, the value given, and what
    is accepted. The commands print it alone and exit with code 2; in user code it is an
    ordinary `ValueError`.
    """


def unknown_name(kind: str, name: object, accepted: Iterable[str]) -> InputError:
    """The error for a name that is not one of `accepted`, with near matches first."""
    accepted = sorted(accepted)
    near = difflib.get_close_matches(str(name), accepted, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return InputError(f"unknown {kind} {name!r}: {hint}accepted are {', '.join(accepted)}.")
