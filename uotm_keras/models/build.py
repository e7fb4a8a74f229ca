"""From a `TrainConfig` to networks, an objective, optimizers and a compiled model."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import keras

from uotm_keras import backend
from uotm_keras.config.model_groups import GeneratorConfig, ObjectiveConfig, PotentialConfig
from uotm_keras.config.schema import TrainConfig
from uotm_keras.models.optimizers import Adam
from uotm_keras.networks import (
    LargePotential,
    LightGenerator,
    LightPotential,
    NCSNpp,
    ResMLPGenerator,
    ResMLPPotential,
    SmallGenerator,
    SmallPotential,
    SmallResNetPotential,
)
from uotm_keras.objectives import costs, penalties, schedules
from uotm_keras.utils.errors import InputError

Shape = tuple[int, ...]

_ALPHA = {
    "linear": schedules.LinearAlpha,
    "cosine": schedules.CosineAlpha,
    "step": schedules.StepAlpha,
}
_JIT = {"auto": "auto", "on": True, "off": False}


def build_model(
    config: TrainConfig, shape: Shape, steps_per_epoch: int, num_classes: int | None = None
) -> Any:
    """Return the compiled model of a run, with weights drawn from the run's seed.

    This sets Keras's dtype policy and the process's matmul precision, and seeds Python's
    `random`, from which Keras's initializers draw.

    Args:
        config: the run's configuration.
        shape: the shape of one example of the data.
        steps_per_epoch: the number of steps per epoch of the learning-rate schedule.
        num_classes: the number of classes of a conditional model; None for an unconditional
            one.

    Returns:
        A `UOTM`, or an `SJKO` if `config.objective.jko_step_size` is positive.

    Raises:
        InputError: the networks do not fit the data or each other.
    """
    keras.config.set_dtype_policy(config.devices.dtype_policy)
    backend.set_matmul_precision(config.devices.matmul_precision)
    random.seed(config.run.seed)  # keras.utils.set_random_seed would import TensorFlow
    model = new_model(
        config,
        *build_networks(config, shape, num_classes),
        source="data" if config.data.source_dataset else config.data.source,
        batch_statistics=config.devices.batch_statistics,
        seed=config.run.seed,
    )
    model.compile(
        *build_optimizers(config, steps_per_epoch),
        jit_compile=_JIT[config.devices.jit_compile],
        accumulate=config.devices.accumulate,
        steps_per_execution=config.devices.steps_per_execution,
        row_order="groups",
    )
    return model


def build_networks(
    config: TrainConfig, shape: Shape, num_classes: int | None = None
) -> tuple[keras.Model, keras.Model]:
    """Return the generator and the potential for examples of a shape and a number of classes.

    Raises:
        InputError: a network does not fit the data.
    """
    options = {} if num_classes is None else {"num_classes": num_classes}
    generator, potential = config.generator, config.potential
    return (
        _network("generator", generator.generator, _GENERATORS, generator, shape, options),
        _network("potential", potential.potential, _POTENTIALS, potential, shape, options),
    )


def model_class(config: TrainConfig) -> type:
    """Return the class that trains the config's objective, `UOTM` or `SJKO`."""
    # By its registered name: importing the classes here would close a circle, since
    # `UOTM.from_preset` builds models too.
    name = "SJKO" if config.objective.jko_step_size else "UOTM"
    return keras.saving.get_registered_object(f"uotm_keras>{name}")


def new_model(
    config: TrainConfig,
    generator: keras.Model,
    potential: keras.Model,
    cls: type | None = None,
    **options: Any,
) -> Any:
    """Return the config's model of two networks, not compiled.

    Args:
        config: the configuration of the objective and of the average.
        generator, potential: the networks.
        cls: the model's class; None takes `model_class(config)`.
        options: further arguments of the class.
    """
    objective = config.objective
    method: dict[str, Any] = {
        "cost": costs.Quadratic(objective.tau),
        "source_divergence": objective.source_divergence,
    }
    if objective.jko_step_size:
        method = {
            "step_size": objective.jko_step_size,
            "phase_steps": objective.jko_phase_steps,
            "first_phase_steps": objective.jko_first_phase_steps or None,
            "data_noise": objective.jko_data_noise,
        }
    return (cls or model_class(config))(
        generator,
        potential,
        **method,
        target_divergence=objective.target_divergence,
        gradient_penalty=build_penalty(objective),
        pairing=objective.pairing,
        potential_steps=objective.potential_steps,
        generator_steps=objective.generator_steps,
        ema_decay=config.optimization.ema_decay,
        divergence_schedule=build_alpha(objective),
        **options,
    )


def build_penalty(objective: ObjectiveConfig) -> penalties.GradientPenalty | None:
    """Return the gradient penalty of the objective, or None."""
    if objective.wgan_gp_weight:
        return penalties.WassersteinGP(objective.wgan_gp_weight)
    if objective.optimality_weight:
        return penalties.GradientOptimality(objective.optimality_weight)
    if objective.source_gradient_weight:
        return penalties.SourceGradient(objective.source_gradient_weight)
    return penalties.R1(objective.r1_gamma, objective.r1_fraction) if objective.r1_gamma else None


def build_alpha(objective: ObjectiveConfig) -> schedules.AlphaSchedule | None:
    """Return the schedule of the divergences' factor α, or None."""
    if objective.alpha_schedule == "none":
        return None
    return _ALPHA[objective.alpha_schedule](
        objective.alpha_start,
        objective.alpha_end,
        objective.alpha_until,
        objective.alpha_warmup,
    )


def build_optimizers(config: TrainConfig, steps_per_epoch: int) -> tuple[Adam, Adam]:
    """Return the optimizers of the generator and of the potential.

    Args:
        config: the configuration.
        steps_per_epoch: the number of steps per epoch of the learning-rate schedule.
    """
    chosen = config.optimization
    rates = build_rates(config, steps_per_epoch)
    generator, potential = (Adam(rate, chosen.beta_1, chosen.beta_2) for rate in rates)
    return generator, potential


def build_rates(
    config: TrainConfig, steps_per_epoch: int
) -> tuple[float | schedules.CosineAnnealing, ...]:
    """Return the learning rates or learning-rate schedules of generator and potential."""
    chosen, objective = config.optimization, config.objective
    # An optimizer counts its own updates, of which there may be several per step.
    initial_and_updates = (
        (chosen.generator_lr, objective.generator_steps),
        (chosen.potential_lr, objective.potential_steps),
    )
    if chosen.lr_schedule == "constant":
        return tuple(initial for initial, _ in initial_and_updates)
    period = steps_per_epoch if chosen.lr_period == "epoch" else 1
    return tuple(
        schedules.CosineAnnealing(
            initial, chosen.lr_minimum, chosen.lr_periods, hold=period * updates
        )
        for initial, updates in initial_and_updates
    )


def _image(shape: Shape) -> tuple[int, int, int]:
    height, width, channels = shape
    return height, width, channels


def _ncsnpp(config: GeneratorConfig, shape: Shape, **options: Any) -> keras.Model:
    return NCSNpp(
        _image(shape),
        base_channels=config.base_channels,
        channel_multipliers=config.channel_multipliers,
        num_res_blocks=config.num_res_blocks,
        attention_resolutions=config.attention_resolutions,
        latent_dim=config.latent_dim,
        style_dim=config.style_dim,
        mapping_layers=config.mapping_layers,
        dropout=config.dropout,
        rematerialize=config.rematerialize,
        **options,
    )


def _resmlp(config: GeneratorConfig, shape: Shape, **options: Any) -> keras.Model:
    images = len(shape) == 3
    if images and config.residual:
        raise InputError("flag --residual=on is for points: images end in a tanh.")
    return ResMLPGenerator(
        shape,
        config.latent_dim,
        width=config.width,
        blocks=config.blocks,
        output_activation="tanh" if images else None,
        residual=config.residual,
        **options,
    )


def _small(config: GeneratorConfig, shape: Shape) -> keras.Model:
    return SmallGenerator(_image(shape), config.base_channels)


def _convolutional(cls: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    return lambda config, shape, **options: cls(shape, config.potential_base_channels, **options)


def _resmlp_potential(config: PotentialConfig, shape: Shape, **options: Any) -> keras.Model:
    return ResMLPPotential(shape, config.potential_width, config.potential_blocks, **options)


def _light(config: GeneratorConfig, shape: Shape, **options: Any) -> keras.Model:
    return LightGenerator(_image(shape), config.width, config.latent_dim, **options)


def _light_potential(config: PotentialConfig, shape: Shape, **options: Any) -> keras.Model:
    return LightPotential(_image(shape), config.potential_width, **options)


_GENERATORS = {"light": _light, "ncsnpp": _ncsnpp, "resmlp": _resmlp, "small": _small}
_POTENTIALS = {
    "light": _light_potential,
    "small": _convolutional(SmallPotential),
    "large": _convolutional(LargePotential),
    "small_resnet": _convolutional(SmallResNetPotential),
    "resmlp": _resmlp_potential,
}


def _network(
    flag: str,
    name: str,
    makers: Mapping[str, Callable[..., keras.Model]],
    config: GeneratorConfig | PotentialConfig,
    shape: Shape,
    options: Mapping[str, Any],
) -> keras.Model:
    if len(shape) != 3 and name != "resmlp":
        raise InputError(
            f"flag --{flag}={name} needs images, but the data are points of shape {shape}: "
            f"use --{flag}=resmlp."
        )
    try:
        return makers[name](config, shape, **options)
    except InputError as error:
        raise InputError(f"flag --{flag}={name} does not fit the data: {error}") from None
