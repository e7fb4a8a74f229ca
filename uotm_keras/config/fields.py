"""Dataclasses whose fields are command-line flags, and conversions from and to flat records."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from absl import flags

from uotm_keras.config.parsers import Boolean, Optional
from uotm_keras.utils.errors import InputError

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class Flag:
    """All that is known about one flag.

    Attributes:
        name: the flag's name, without dashes.
        default: its typed default value.
        parser: what it accepts.
        help: what it does.
        none: the word that stands for None on the command line, if there is one.
        required: whether a command line without it is an error.
        operational: whether it may change when a run resumes, because it does not change
            what is computed.
        automatic: whether the word "auto" on the command line, which parses to None, lets the
            program choose; see `training.auto`.
        group: the attribute of the config that holds it; "" for the config itself.
    """

    name: str
    default: Any
    parser: flags.ArgumentParser
    help: str
    none: str | None
    required: bool
    operational: bool
    automatic: bool = False
    group: str = ""

    def text(self, value: Any) -> str:
        """Return a value as it is written on the command line."""
        if value is None:
            return self.none or "none"
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, (list, tuple)):
            return ",".join(map(str, value))
        short = f"{value:g}" if isinstance(value, float) else str(value)
        return short if not isinstance(value, float) or float(short) == value else str(value)


def flag(
    default: Any,
    parser: flags.ArgumentParser,
    help: str,
    *,
    none: str | None = None,
    required: bool = False,
    operational: bool = False,
    automatic: bool = False,
) -> Any:
    """Declare a dataclass field as a flag of the field's name.

    Args:
        default: the field's default, of the type that `parser` returns.
        parser: what the flag accepts, such as `Integer(1)`.
        help: one or two sentences: what it does, its unit, the paper's value.
        none: the word that stands for None on the command line, such as "auto".
        required: whether a command line without the flag is an error.
        operational: whether the flag may change when a run resumes.
        automatic: whether the command line accepts "auto", which lets the program choose. The
            field is None until it has chosen, which its type does not say: a config that is
            used is complete.
    """
    none = "auto" if automatic else none
    parser = parser if none is None else Optional(parser, none)
    found = Flag("", default, parser, help, none, required, operational, automatic)
    return dataclasses.field(default=default, metadata={"flag": found})


def group(config: type, title: str) -> Any:
    """Declare a field that holds another dataclass of flags, with a title for `--help`."""
    return dataclasses.field(default_factory=config, metadata={"title": title, "config": config})


def flags_of(config: type) -> dict[str, Flag]:
    """Return the flags of a dataclass and of its groups, by name and in order."""
    return {found.name: found for _, group_flags in groups_of(config) for found in group_flags}


def groups_of(config: type) -> Iterator[tuple[str, list[Flag]]]:
    """Yield (title, flags) for each group of flags; the title is "Flags" if there is none."""
    own = _own_flags(config, "")
    if own:
        yield "Flags", own
    for field in dataclasses.fields(config):
        if "config" in field.metadata:
            yield field.metadata["title"], _own_flags(field.metadata["config"], field.name)


def _own_flags(config: type, group_name: str) -> list[Flag]:
    return [
        dataclasses.replace(field.metadata["flag"], name=field.name, group=group_name)
        for field in dataclasses.fields(config)
        if "flag" in field.metadata
    ]


def value_of(config: Any, found: Flag) -> Any:
    """Return the config's value of a flag."""
    return getattr(getattr(config, found.group) if found.group else config, found.name)


def updated(config: Config, **values: Any) -> Config:
    """Return a copy with other typed values, given by the flags' names.

    Raises:
        TypeError: a name is not a flag.
    """
    known = flags_of(type(config))
    changes: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in known:
            raise TypeError(f"{type(config).__name__} has no flag {name}.")
        changes.setdefault(known[name].group, {})[name] = value
    own = changes.pop("", {})
    for group_name, grouped in changes.items():
        own[group_name] = dataclasses.replace(getattr(config, group_name), **grouped)
    return dataclasses.replace(config, **own)  # type: ignore[type-var]


def to_flags(config: Any) -> dict[str, Any]:
    """Return a flat record of all values for JSON: lists for tuples, "on" or "off" for bools."""
    record = {}
    for name, found in flags_of(type(config)).items():
        value = value_of(config, found)
        if isinstance(value, tuple):
            value = list(value)
        record[name] = found.text(value) if isinstance(value, bool) else value
    return record


def from_flags(config: type[Config], record: Mapping[str, Any]) -> Config:
    """Return the config of a flat record.

    Flags that the record lacks have their defaults. Names that are not flags are ignored.

    Raises:
        InputError: a value is not accepted.
    """
    values = {}
    for name, found in flags_of(config).items():
        if name not in record:
            continue
        try:
            values[name] = found.parser.parse(record[name])
        except (TypeError, ValueError) as error:
            raise InputError(f"flag --{name}={found.text(record[name])}: {error}.") from None
    return updated(config(), **values)


def is_boolean(found: Flag) -> bool:
    """Return whether `--name` and `--noname` are accepted too."""
    return isinstance(found.parser, Boolean)
