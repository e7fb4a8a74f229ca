"""What `generate.py` draws with: a run, an export or a preset, as a function of arrays."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from uotm_keras.cli.generate_config import MODELS, GenerateConfig
from uotm_keras.models.conditions import ConditionDistribution, ConditionSpec
from uotm_keras.utils.errors import InputError

if TYPE_CHECKING:
    from uotm_keras.exporting import ServedGenerator


class Generator(NamedTuple):
    """T(x, z | c) of arrays, and what its arguments are.

    Attributes:
        call: The function of x, z, and the conditions or None.
        source_shape: The shape of one x.
        latent_dim: The length of z; 0 if it takes none.
        condition: What it is conditioned on, or None.
        class_names: The names of the classes, if they have any.
        draw_conditions: A function that draws conditions for (seed, index) keys, or None.
    """

    call: Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
    source_shape: tuple[int, ...]
    latent_dim: int
    condition: ConditionSpec | None = None
    class_names: Sequence[str] | None = None
    draw_conditions: Callable[[Sequence[tuple[int, int]]], np.ndarray] | None = None


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
        return _served(served)

    from uotm_keras import backend

    backend.prepare_command()
    model: Any
    trained_on = class_names = None
    if chosen.preset is not None:
        from uotm_keras.models.uotm import UOTM

        try:
            model = UOTM.from_preset(chosen.preset, load_weights=True)
        except InputError as error:
            raise InputError(f"{given}: {error}") from None
    else:
        from uotm_keras.training.runs import load_run, open_run

        run = load_run(str(chosen.run_dir), checkpoint=chosen.checkpoint)
        model, trained_on = run.model, run.config.data.source_dataset
        class_names = open_run(str(chosen.run_dir)).read_config().get("class_names")
    _check_input(given, model.source != "data", source, trained_on)

    def call(source: np.ndarray, latent: np.ndarray, condition: np.ndarray | None) -> np.ndarray:
        return model.transport(
            source, latent, chosen.weights == "ema", config.draw.batch_size, condition
        )

    draw = None if model.conditions is None else model.conditions.draw
    return Generator(
        call, model.source_shape, model.latent_dim or 0, model.shapes.condition, class_names, draw
    )


def _served(served: "ServedGenerator") -> Generator:
    shapes = served.source_shape, served.latent_dim or 0
    if served.condition is None:
        return Generator(served.call, *shapes)
    about = served.condition
    spec, draw = ConditionSpec(about["shape"], about["num_classes"]), None
    if about["frequencies"] is not None:
        conditions = ConditionDistribution(spec)
        conditions.adapt_frequencies(about["frequencies"])
        draw = conditions.draw
    return Generator(served.call, *shapes, spec, about["class_names"], draw)


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
