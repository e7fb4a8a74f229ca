"""What a flag accepts: absl's parsers, with bounds in words and near matches for names."""

import difflib
import math
import re
from collections.abc import Iterable
from typing import Any

from absl import flags


class _Stated(flags.ArgumentParser):
    """A parser whose every error says what is accepted (its `syntactic_help`)."""

    def parse(self, argument: Any) -> Any:
        try:
            return super().parse(argument)
        except (TypeError, ValueError):
            raise ValueError(f"must be {self.syntactic_help}") from None


class Integer(_Stated, flags.IntegerParser):
    """An integer from `lower` to `upper`, both included; no upper bound if None."""

    def __init__(self, lower: int, upper: int | None = None):
        super().__init__(lower, upper)
        if upper is None:
            self.syntactic_help = f"an integer of at least {lower}"
        else:
            self.syntactic_help = f"an integer from {lower} to {upper}"


class Float(_Stated, flags.FloatParser):
    """A finite number of at least `lower`, or above it if `exclusive`.

    It is below `below`, or at most `upper`, if these are given.
    """

    def __init__(
        self,
        lower: float,
        *,
        exclusive: bool = False,
        below: float | None = None,
        upper: float | None = None,
    ):
        super().__init__(lower, upper)
        self.exclusive, self.below = exclusive, below
        self.syntactic_help = f"a number {'above' if exclusive else 'of at least'} {lower:g}"
        if below is not None:
            self.syntactic_help += f" and below {below:g}"
        if upper is not None:
            self.syntactic_help += f" and at most {upper:g}"

    def is_outside_bounds(self, val: float) -> bool:
        return (
            not math.isfinite(val)
            or super().is_outside_bounds(val)
            or (self.exclusive and val == self.lower_bound)
            or (self.below is not None and val >= self.below)
        )


class Duration(flags.ArgumentParser):
    """A time such as 90s, 20m or 1.5h, of at least `lower` seconds; its text is kept."""

    _PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*([smh])")
    _SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

    def __init__(self, lower: float):
        super().__init__()
        self.lower = lower
        self.syntactic_help = f"a time of at least {lower:g} s, such as 90s, 20m or 1.5h"

    def parse(self, argument: Any) -> str:
        text = str(argument).strip().lower()
        if self._PATTERN.fullmatch(text) is None or self.seconds(text) < self.lower:
            raise ValueError(f"must be {self.syntactic_help}")
        return text

    @classmethod
    def seconds(cls, text: str) -> float:
        """Return the number of seconds of a text that `parse` returned."""
        match = cls._PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a time")
        return float(match[1]) * cls._SECONDS[match[2]]


class Boolean(_Stated, flags.BooleanParser):
    """A switch: `--name`, `--noname`, or `--name=true|false|on|off`."""

    syntactic_help = "on or off"

    def parse(self, argument: Any) -> bool:
        return super().parse({"on": True, "off": False}.get(argument, argument))


class Enum(flags.ArgumentParser):
    """One of some values, given by their text."""

    def __init__(self, *values: Any):
        super().__init__()
        self.values = {str(value): value for value in values}
        self.syntactic_help = f"one of {', '.join(self.values)}"

    def parse(self, argument: Any) -> Any:
        try:
            return self.values[str(argument)]
        except KeyError:
            hint = near_matches(str(argument), self.values)
            raise ValueError(f"must be {self.syntactic_help}{hint}") from None


class _Listed(flags.ArgumentParser):
    """Values separated by commas, each read by `item`; a tuple."""

    item: flags.ArgumentParser
    empty: bool

    def parse(self, argument: Any) -> tuple:
        parts = argument.split(",") if isinstance(argument, str) else argument
        parts = [part.strip() if isinstance(part, str) else part for part in parts]
        parts = [part for part in parts if part != ""]
        if not parts and not self.empty:
            raise ValueError(f"must be {self.syntactic_help}")
        return tuple(self._item(part) for part in parts)

    def _item(self, part: Any) -> Any:
        try:
            return self.item.parse(part)
        except ValueError:
            hint = near_matches(str(part), getattr(self.item, "values", ()))
            raise ValueError(f"must be {self.syntactic_help}{hint}") from None


class Integers(_Listed):
    """Integers of at least `lower`, separated by commas; a tuple."""

    def __init__(self, lower: int, *, empty: bool = False):
        super().__init__()
        self.item, self.empty = Integer(lower), empty
        self.syntactic_help = f"integers of at least {lower}, separated by commas"
        if empty:
            self.syntactic_help += ", or an empty text"


class Enums(_Listed):
    """One or more of some values, separated by commas; a tuple."""

    def __init__(self, *values: Any):
        super().__init__()
        item = Enum(*values)
        self.item, self.empty = item, False
        self.syntactic_help = f"one or more of {', '.join(item.values)}, separated by commas"


class Text(flags.ArgumentParser):
    """Any text that is not blank.

    Args:
        accepted: what the text is, for `--help` and for errors: "the path of a folder".
    """

    def __init__(self, accepted: str):
        super().__init__()
        self.syntactic_help = accepted

    def parse(self, argument: Any) -> str:
        if not str(argument).strip():
            raise ValueError(f"must be {self.syntactic_help}")
        return str(argument)


class Optional(flags.ArgumentParser):
    """What `parser` accepts, or the word that stands for None."""

    def __init__(self, parser: flags.ArgumentParser, none: str):
        super().__init__()
        self.parser, self.none = parser, none
        self.syntactic_help = f"{parser.syntactic_help}, or {none}"

    def parse(self, argument: Any) -> Any:
        return None if argument is None or argument == self.none else self.parser.parse(argument)


def near_matches(name: str, accepted: Iterable[str]) -> str:
    """Return " (did you mean 'a' or 'b'?)", or an empty text if no accepted name is close."""
    near = difflib.get_close_matches(name, list(accepted), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
