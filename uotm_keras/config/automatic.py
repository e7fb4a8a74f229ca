"""Flags that are left to the program: which they are, and how a config becomes complete."""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from uotm_keras.config.fields import Config, flags_of, updated, value_of
from uotm_keras.config.schema import TrainConfig


def with_automatic_defaults(config: Config, given: Mapping[str, Any]) -> Config:
    """Return a parsed config with None for every flag that is left to the program.

    These are the flags given as "auto", and, if `--generator` is not given or auto, all flags
    that accept "auto" and are not given.

    Args:
        config: what the command line says, with defaults for the other flags.
        given: the flags that the command line or a flagfile sets.
    """
    if given.get("generator") is not None:
        return config
    known = flags_of(type(config))
    left = [name for name, found in known.items() if found.automatic and name not in given]
    return updated(config, **dict.fromkeys(left))


def undecided(config: Any) -> list[str]:
    """Return the names of the flags that are left to the program."""
    known = flags_of(type(config))
    return [n for n, found in known.items() if found.automatic and value_of(config, found) is None]


def completed(config: Config, values: Config) -> Config:
    """Return a config whose undecided flags have the values of another one."""
    known = flags_of(type(config))
    return updated(config, **{name: value_of(values, known[name]) for name in undecided(config)})


def with_run_dir(config: TrainConfig) -> TrainConfig:
    """Return a config whose `--run_dir=auto` is runs/NAME, named after the dataset."""
    if config.run.run_dir != "auto":
        return config
    kind, _, rest = config.data.dataset.partition(":")
    name = PurePath(rest).stem if kind in ("folder", "npz", "idx", "zip") else rest.split("/")[0]
    name = re.sub(r"[^\w.-]+", "_", name or kind).strip("._") or kind
    return updated(config, run_dir=f"runs/{name}")
