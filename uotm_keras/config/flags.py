"""Command-line flags: absl's, with one clear sentence for every mistake."""

import difflib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import flags

from uotm_keras.utils.errors import InputError


class WholeNumber(flags.ArgumentParser):
    """A whole number from `lower` to `upper`; "auto" for None where `optional`."""

    def __init__(self, lower: int, upper: int | None = None, optional: bool = False):
        super().__init__()
        self.lower, self.upper, self.optional = lower, upper, optional
        self.accepted = f"a whole number of at least {lower}"
        if upper is not None:
            self.accepted = f"a whole number from {lower} to {upper}"
        if optional:
            self.accepted += ", or auto"

    def parse(self, argument):
        if self.optional and argument == "auto":
            return None
        try:
            value = int(argument)
        except (TypeError, ValueError):
            raise ValueError(f"must be {self.accepted}") from None
        if value < self.lower or (self.upper is not None and value > self.upper):
            raise ValueError(f"must be {self.accepted}")
        return value


class Number(flags.ArgumentParser):
    """A finite number of at least `lower`, or above it; below `upper` where given."""

    def __init__(self, lower: float, above: bool = False, below: float | None = None):
        super().__init__()
        self.lower, self.above, self.below = lower, above, below
        self.accepted = f"a number {'above' if above else 'of at least'} {lower:g}"
        if below is not None:
            self.accepted += f" and below {below:g}"

    def parse(self, argument):
        try:
            value = float(argument)
        except (TypeError, ValueError):
            value = math.nan
        low = value > self.lower if self.above else value >= self.lower
        high = self.below is None or value < self.below
        if not (math.isfinite(value) and low and high):
            raise ValueError(f"must be {self.accepted}")
        return value


class WholeNumbers(flags.ArgumentParser):
    """Whole numbers of at least `lower`, separated by commas; a list of ints."""

    def __init__(self, lower: int, empty: bool = False):
        super().__init__()
        self.lower, self.empty = lower, empty
        self.accepted = f"whole numbers of at least {lower} separated by commas"
        if empty:
            self.accepted += ", or nothing"

    def parse(self, argument):
        if isinstance(argument, str):
            argument = [part for part in argument.split(",") if part.strip()]
        try:
            values = [int(part) for part in argument]
        except (TypeError, ValueError):
            raise ValueError(f"must be {self.accepted}") from None
        if (not values and not self.empty) or any(value < self.lower for value in values):
            raise ValueError(f"must be {self.accepted}")
        return values


class Choice(flags.ArgumentParser):
    """One of some names."""

    def __init__(self, *names: str):
        super().__init__()
        self.names = names
        self.accepted = "one of " + ", ".join(names)

    def parse(self, argument):
        if argument not in self.names:
            raise ValueError(near_matches(str(argument), self.names) + f"must be {self.accepted}")
        return argument


class Names(flags.ArgumentParser):
    """Some of some names, separated by commas; "auto" for None where `optional`."""

    def __init__(self, *names: str, optional: bool = False):
        super().__init__()
        self.names, self.optional = names, optional
        self.accepted = f"one or more of {', '.join(names)}, separated by commas"
        if optional:
            self.accepted += ", or auto"

    def parse(self, argument):
        if self.optional and argument == "auto":
            return None
        if isinstance(argument, str):
            argument = [part.strip() for part in argument.split(",") if part.strip()]
        unknown = [name for name in argument if name not in self.names]
        if unknown or not argument:
            hint = near_matches(unknown[0], self.names) if unknown else ""
            raise ValueError(hint + f"must be {self.accepted}")
        return list(argument)


class Text(flags.ArgumentParser):
    """Any text that is not empty."""

    def __init__(self, accepted: str):
        super().__init__()
        self.accepted = accepted

    def parse(self, argument):
        if not str(argument).strip():
            raise ValueError(f"must be {self.accepted}")
        return str(argument)


def near_matches(name: str, accepted: Iterable[str]) -> str:
    """ "did you mean 'a' or 'b'? ", or nothing where no name is near."""
    near = difflib.get_close_matches(name, list(accepted), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


class Command:
    """The flags of one command, in groups.

    Args:
        usage: the first lines of `--help`.
    """

    def __init__(self, usage: str):
        self.usage = usage
        self.groups: list[tuple[str, list[str]]] = []
        self._definitions: dict[str, tuple] = {}

    def group(self, title: str) -> None:
        """Starts a group of flags in `--help`."""
        self.groups.append((title, []))

    def add(self, name: str, parser: flags.ArgumentParser, default, description: str) -> None:
        """Defines --name; a default of None means that it has none."""
        self.groups[-1][1].append(name)
        self._definitions[name] = (parser, default, description)

    def default(self, name: str) -> object:
        """The default of --name as it was defined, not parsed."""
        return self._definitions[name][1]

    def accept(self, other: "Command") -> None:
        """Takes the flags of another command as well, without a place in `--help`."""
        for name, definition in other._definitions.items():
            self._definitions.setdefault(name, definition)

    def help(self) -> str:
        """What `--help` prints."""
        lines = [self.usage]
        for title, names in self.groups:
            lines += ["", f"{title}:"]
            for name in names:
                parser, default, description = self._definitions[name]
                shown = "no default" if default is None else f"default {_shown(default)}"
                lines.append(f"  --{name}  ({parser.accepted}; {shown})")
                lines += [f"      {line}" for line in description.splitlines()]
        return "\n".join(lines)

    def parse(self, arguments: Sequence[str]) -> dict:
        """The value of every flag, by name.

        Raises:
            InputError: an argument is not a flag, or a value is not accepted.
        """
        values = self._values(arguments)
        return {name: values[name].value for name in self._definitions}

    def given(self, arguments: Sequence[str]) -> dict:
        """The values of the flags that are among the arguments or in their flagfiles.

        Raises:
            InputError: as `parse`.
        """
        values = self._values(arguments)
        return {name: values[name].value for name in self._definitions if values[name].present}

    def _values(self, arguments: Sequence[str]) -> flags.FlagValues:
        values = flags.FlagValues()
        for name, (parser, default, description) in self._definitions.items():
            flags.DEFINE(parser, name, default, description, flag_values=values)
        arguments = expand_flagfiles(arguments)
        try:
            rest = values(["command", *arguments])[1:]
        except flags.UnrecognizedFlagError as error:
            hint = near_matches(error.flagname.lstrip("-"), self._definitions)
            raise InputError(f"unknown flag --{error.flagname}: {hint}see --help.") from None
        except (flags.Error, ValueError) as error:
            raise InputError(f"{error}.") from None
        if rest:
            raise InputError(f"unexpected argument {rest[0]!r}: accepted are flags, see --help.")
        return values


def _shown(value) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def expand_flagfiles(arguments: Iterable[str], read: bool = True) -> list[str]:
    """The arguments with each --flagfile=PATH replaced by the flags in it, or left out.

    A flagfile has a flag a line; lines that are empty or start with # are skipped. It may
    itself name a flagfile, of which the path starts at the first one's folder.
    """
    return _expand(list(arguments), None, (), read)


def _expand(
    arguments: list[str], folder: Path | None, stack: tuple[Path, ...], read: bool = True
) -> list[str]:
    expanded = []
    arguments = iter(arguments)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        if not equals:
            value = next(arguments, "")
        if not value:
            raise InputError("flag --flagfile needs the path of a file of flags.")
        if not read:
            continue
        path = Path(value).expanduser()
        path = path if folder is None else folder / path
        if path.resolve() in stack:
            raise InputError(f"flag --flagfile={path} includes itself.")
        lines = [line.strip() for line in _read(path).splitlines()]
        lines = [line for line in lines if line and not line.startswith(("#", "//"))]
        expanded += _expand(lines, path.parent, (*stack, path.resolve()))
    return expanded


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        names = []
        if path.parent.is_dir():
            names = sorted(p.stem for p in path.parent.glob("*.flags"))
        hint = near_matches(path.stem, names)
        listed = f"{path.parent} has {', '.join(names)}." if names else "give an existing file."
        raise InputError(
            f"flag --flagfile={path} cannot be read ({error.strerror}): {hint}{listed}"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"flag --flagfile={path} is not a text file in UTF-8.") from None
