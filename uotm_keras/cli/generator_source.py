"""What generate.py draws with: a run, an export or a preset, as a function of arrays."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from uotm_keras.utils.errors import InputError

SOURCES = ("run_dir", "exported", "preset")
"""The flags that name a generator, of which one is given."""


class Generator(NamedTuple):
    """T(x, z) of float32 arrays, and the shapes of its arguments; 0 is no latent."""

    call: Callable[[np.ndarray, np.ndarray], np.ndarray]
    source_shape: tuple[int, ...]
    latent_dim: int


def open_generator(flags: Mapping) -> Generator:
    """Opens what --run_dir, --exported or --preset names, for noise or for --source.

    Raises:
        InputError: it is not there, or wants the other kind of input.
    """
    name = next(name for name in SOURCES if flags[name] is not None)
    given = f"flag --{name}={flags[name]}"
    if name == "exported":
        from uotm_keras.exporting import load_exported

        served = load_exported(flags["exported"])
        _check_input(given, served.gaussian, flags)
        return Generator(served.call, served.source_shape, served.latent_dim or 0)

    from uotm_keras import backend

    backend.prepare_command()
    if name == "preset":
        from uotm_keras.models.uotm import UOTM

        try:
            model, trained_on = UOTM.from_preset(flags["preset"], load_weights=True), None
        except InputError as error:
            raise InputError(f"{given}: {error}") from None
    else:
        from uotm_keras.cli.runs import load_run

        run = load_run(flags["run_dir"], checkpoint=flags["checkpoint"])
        model, trained_on = run.model, run.flags["source_dataset"]
    _check_input(given, model.source != "data", flags, trained_on)

    def call(source, latent):
        return model.transport(source, latent, flags["weights"] == "ema", flags["batch_size"])

    return Generator(call, model.source_shape, model.latent_dim or 0)


def _check_input(given: str, gaussian: bool, flags: Mapping, trained_on: str | None = None) -> None:
    if gaussian and flags["source"] is not None:
        raise InputError(
            f"flag --source={flags['source']}: {given} was trained from Gaussian noise and "
            "transports no examples; leave --source out."
        )
    if not gaussian and flags["source"] is None:
        example = f", such as --source={trained_on}" if trained_on else ""
        raise InputError(
            f"{given}: this model transports a data set and has no noise to draw from: give "
            f"--source{example}."
        )
