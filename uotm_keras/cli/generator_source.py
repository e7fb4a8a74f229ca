"""What `generate.py` draws with: a run, an export or a preset, as a function of arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from uotm_keras.cli.generate_config import MODELS, GenerateConfig
from uotm_keras.utils.errors import InputError


class Generator(NamedTuple):
    """T(x, z) of float32 arrays, and the shapes of its arguments; 0 if it takes no latent."""

    call: Callable[[np.ndarray, np.ndarray], np.ndarray]
    source_shape: tuple[int, ...]
    latent_dim: int


def open_generator(config: GenerateConfig) -> Generator:
    """Open the generator of --run_dir, --exported or --preset, for noise or for --source.

    Raises:
        InputError: it does not exist, or takes the other kind of input.
    """
    chosen = config.model
    name = next(name for name in MODELS if getattr(chosen, name) is not None)
    given = f"flag --{name}={getattr(chosen, name)}"
    source = config.draw.source
    if chosen.exported is not None:
        from uotm_keras.exporting import load_exported

        served = load_exported(chosen.exported)
        _check_input(given, served.gaussian, source)
        return Generator(served.call, served.source_shape, served.latent_dim or 0)

    from uotm_keras import backend

    backend.prepare_command()
    model: Any
    trained_on = None
    if chosen.preset is not None:
        from uotm_keras.models.uotm import UOTM

        try:
            model = UOTM.from_preset(chosen.preset, load_weights=True)
        except InputError as error:
            raise InputError(f"{given}: {error}") from None
    else:
        from uotm_keras.training.runs import load_run

        run = load_run(str(chosen.run_dir), checkpoint=chosen.checkpoint)
        model, trained_on = run.model, run.config.data.source_dataset
    _check_input(given, model.source != "data", source, trained_on)

    def call(source: np.ndarray, latent: np.ndarray) -> np.ndarray:
        return model.transport(source, latent, chosen.weights == "ema", config.draw.batch_size)

    return Generator(call, model.source_shape, model.latent_dim or 0)


def _check_input(
    given: str, gaussian: bool, source: str | None, trained_on: str | None = None
) -> None:
    if gaussian and source is not None:
        raise InputError(
            f"flag --source={source}: {given} was trained from Gaussian noise and does not "
            "transport examples; leave --source out."
        )
    if not gaussian and source is None:
        example = f", such as --source={trained_on}" if trained_on else ""
        raise InputError(
            f"{given}: this model transports a dataset and does not draw from noise: give "
            f"--source{example}."
        )
