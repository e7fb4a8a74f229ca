"""Command lines from dataclasses of flags, and what every command does around its work."""

import contextlib
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

from absl import flags

from uotm_keras.config import flagfiles
from uotm_keras.config.automatic import undecided, with_automatic_defaults
from uotm_keras.config.fields import (
    Config,
    Flag,
    flags_of,
    groups_of,
    is_boolean,
    updated,
)
from uotm_keras.config.parsers import near_matches
from uotm_keras.utils.environment import INTERRUPTED, check_backend, restore_ctrl_c
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.streams import with_streams

BAD_INPUT = 2
_HELP = ("--help", "-help", "-h", "--helpfull")
_WIDTH = 96
_FLAGFILES = {
    "config": "Read the flags of a shipped config, such as digits. Flags that follow override it.",
    "flagfile": "Read flags from a text file with one flag per line. Flags that follow override "
    "it.",
}


class Command(Generic[Config]):
    """The command line of a dataclass whose fields are made by `flag` or `group`.

    If the dataclass has a method `check`, it is called after parsing and raises
    `InputError` for values that do not fit together.

    Args:
        usage: the first lines of `--help`.
        config: the dataclass.
        defaults: other default values, by the flags' names.
        ignored: a dataclass whose flags are accepted and checked too, but not used.
        show_flagfiles: whether `--help` lists `--config` and `--flagfile`, which every
            command understands.
        automatic: whether flags may be left to the program; see `with_automatic_defaults`.
            Whoever completes the config then calls its `check`.

    Example:
        >>> import dataclasses
        >>> from uotm_keras.config import Integer, flag
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     seeds: int = flag(3, Integer(1), "Number of runs per setting.")
        >>> Command("Train on Gaussians.", Options).parse(["--seeds=5"])
        Options(seeds=5)
    """

    def __init__(
        self,
        usage: str,
        config: type[Config],
        *,
        defaults: Mapping[str, Any] | None = None,
        ignored: type | None = None,
        show_flagfiles: bool = False,
        automatic: bool = False,
    ):
        self.usage = usage.rstrip()
        self.config = config
        self.ignored = ignored
        self.show_flagfiles = show_flagfiles
        self.automatic = automatic
        self.defaults: Config = updated(config(), **(defaults or {}))
        self._overridden = dict(defaults or {})

    def parse(self, arguments: Sequence[str]) -> Config:
        """Return the typed values of a command line.

        Raises:
            InputError: a flag is unknown, missing, has a bad value, or excludes another.
        """
        own = flags_of(self.config)
        parsed = self._parse(flagfiles.expand(arguments))
        given = {name: parsed[name].value for name in own if parsed[name].present}
        for name, found in own.items():
            if found.required and name not in given:
                where = ", or a --config that sets it" if self.show_flagfiles else ""
                raise InputError(f"flag --{name} is missing: give {_accepted(found)}{where}.")
        config = updated(self.defaults, **given)
        if self.automatic:
            config = with_automatic_defaults(config, given)
        if hasattr(config, "check") and not undecided(config):
            config.check()
        return config

    def given(self, arguments: Sequence[str]) -> set[str]:
        """Return the names of the flags on the command line itself, outside flagfiles.

        Raises:
            InputError: as `parse`.
        """
        parsed = self._parse(flagfiles.without(arguments))
        return {name for name in parsed if parsed[name].present}

    def help(self) -> str:
        """Return the text of `--help`."""
        lines = [self.usage]
        if self.show_flagfiles:
            lines += ["", "Flagfiles:"]
            for name, text in _FLAGFILES.items():
                lines += [f"  --{name}", *_indented(text)]
        for title, group in groups_of(self.config):
            lines += ["", f"{title}:"]
            for found in group:
                default = self._overridden.get(found.name, found.default)
                shown = f"default {found.text(default) or 'empty'}"
                shown = "required" if found.required else shown
                if self.automatic and found.automatic:
                    plain = found.name == "generator"
                    shown = "default auto" if plain else f"{shown}; auto with --generator=auto"
                lines.append(f"  --{found.name}  ({_accepted(found)}; {shown})")
                lines += _indented(found.help)
        return "\n".join(lines)

    def _parse(self, arguments: Sequence[str]) -> flags.FlagValues:
        known = flags_of(self.config)
        if self.ignored is not None:
            known = {**flags_of(self.ignored), **known}
        values = flags.FlagValues()
        for name, found in known.items():
            # The default stays with the dataclass: absl says which flags are present.
            value: flags.Flag = flags.Flag(
                found.parser, None, name, None, found.help, boolean=is_boolean(found)
            )
            flags.DEFINE_flag(value, values)
        try:
            rest = values(["command", *arguments])[1:]
        except flags.UnrecognizedFlagError as error:
            hint = near_matches(error.flagname.lstrip("-"), known)
            raise InputError(f"unknown flag --{error.flagname}{hint}: see --help.") from None
        except (flags.Error, ValueError) as error:
            raise InputError(f"{error}.") from None
        if rest:
            raise InputError(f"unexpected argument {rest[0]!r}: accepted are flags, see --help.")
        return values


def run_command(
    command: Command[Config],
    work: Callable[[Config], int],
    argv: Sequence[str] | None = None,
    interrupted: str = "nothing was written.",
) -> int:
    """Run a command and return its exit code.

    Import Keras inside `work`, so that mistakes in flags are reported before it starts.

    Args:
        command: the command line.
        work: the work of the command, from the typed flags to the exit code.
        argv: the command line's arguments; None takes those of the process.
        interrupted: what Ctrl-C leaves behind, for the message.

    Returns:
        The exit code of `work`; 0 after `--help`; 2 after one sentence on stderr for an
        `InputError` or an `OSError`; 130 after Ctrl-C; 141 if the reader of the output
        has gone away.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)

    def run() -> int:
        restore_ctrl_c()
        if any(argument in _HELP for argument in arguments):
            print(command.help())
            return 0
        check_backend()
        return work(command.parse(arguments))

    return exit_code(run, interrupted)


def exit_code(work: Callable[[], int], interrupted: str) -> int:
    """Run the work of a command and return its exit code; see `run_command`."""
    try:
        return with_streams(work)
    except (InputError, OSError, KeyboardInterrupt) as error:
        return report_error(error, interrupted)


def report_error(error: InputError | OSError | KeyboardInterrupt, interrupted: str) -> int:
    """Print one line on stderr that says what ended the work, and return the exit code."""
    code, line = BAD_INPUT, f"error: {' '.join(str(error).split())}"
    if isinstance(error, KeyboardInterrupt):
        code, line = INTERRUPTED, f"interrupted: {interrupted}"
    elif isinstance(error, OSError):
        named = f"cannot use {error.filename}" if error.filename else "cannot read or write"
        line = f"error: {named}: {error.strerror or ' '.join(str(error).split())}."
    with contextlib.suppress(OSError):  # nobody reads stderr, or its disk is full
        print(line, file=sys.stderr)
    return code


def _accepted(found: Flag) -> str:
    return found.parser.syntactic_help


def _indented(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
