"""Typed configuration: dataclasses whose fields are command-line flags.

A command declares a frozen dataclass with one field per flag, makes a `Command` of it, and
runs its work with `run_command`. `TrainConfig` is the configuration of training.

Example:
    >>> import dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Options:
    ...     seeds: int = flag(3, Integer(1), "Number of runs per setting.")
    >>> command = Command("Train on Gaussians.", Options)
    >>> run_command(command, lambda options: print(options.seeds) or 0, ["--seeds=5"])
    5
    0
"""

from uotm_keras.config.command_line import Command, run_command
from uotm_keras.config.fields import flag, flags_of, from_flags, group, to_flags, updated
from uotm_keras.config.parsers import Boolean, Enum, Enums, Float, Integer, Integers, Text
from uotm_keras.config.schema import TrainConfig

__all__ = [
    "Boolean",
    "Command",
    "Enum",
    "Enums",
    "Float",
    "Integer",
    "Integers",
    "Text",
    "TrainConfig",
    "flag",
    "flags_of",
    "from_flags",
    "group",
    "run_command",
    "to_flags",
    "updated",
]
