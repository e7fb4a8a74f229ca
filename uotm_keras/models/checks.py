"""What a UOTM requires of its arguments and networks; every failure is one sentence."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import psutil

from uotm_keras.backend import keras_hooks
from uotm_keras.models.conditions import ConditionSpec, condition_spec, is_condition
from uotm_keras.objectives.penalties import GradientPenalty
from uotm_keras.utils.errors import InputError


class Shapes(NamedTuple):
    """The shapes that two networks agree on.

    Attributes:
        source: Shape of one x.
        latent_dim: Length of z, or `None` for a generator without a latent.
        data: Shape of one y.
        condition: The condition c, or `None` for unconditional networks.
    """

    source: tuple[int, ...]
    latent_dim: int | None
    data: tuple[int, ...]
    condition: ConditionSpec | None = None

    def inputs(self, source: Any, latent: Any, condition: Any) -> Any:
        """Return what the generator is called with; what it does not take is left out."""
        inputs = [source]
        if self.latent_dim is not None:
            inputs.append(latent)
        if self.condition is not None:
            inputs.append(condition)
        return inputs if len(inputs) > 1 else source


def check_choice(name: str, value: str, accepted: tuple[str, ...]) -> None:
    """Raise `InputError` unless a value is one of the accepted names."""
    if value not in accepted:
        raise InputError(f"{name}={value!r} must be one of {', '.join(accepted)}.")


def check_count(name: str, value: int) -> int:
    """Return a whole number of at least 1, or raise `InputError`."""
    try:
        whole = not isinstance(value, (bool, str)) and int(value) == value and value >= 1
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise InputError(f"{name}={value!r} must be a whole number of at least 1.")
    return int(value)


def check_samples(n: int, data_shape: tuple[int, ...]) -> int:
    """Return a number of samples that fits in memory, or raise `InputError`."""
    n = check_count("n", n)
    size, memory = 4 * n * math.prod(data_shape), psutil.virtual_memory().total
    if size > memory:
        raise InputError(
            f"n={n} samples need {size / 1e9:.3g} GB, but this machine has {memory / 1e9:.3g} GB: "
            "draw fewer per call."
        )
    return n


def check_rows(name: str, array: np.ndarray, shape: tuple[int, ...], rows: int) -> None:
    """Raise `InputError` unless an array has the shape (rows, *shape)."""
    if array.shape != (rows, *shape):
        raise InputError(f"{name} of shape {array.shape} must have the shape {(rows, *shape)}.")


def check_objective(cost: Any, gradient_penalty: Any) -> None:
    """Raise `InputError` unless the two are objects, or `None` for their defaults."""
    if cost is not None and not callable(cost):
        raise InputError(
            f"cost={cost!r} is not a function of (x, y): accepted are a costs.Cost, such as "
            "costs.Quadratic(1e-3), and any callable."
        )
    if gradient_penalty is not None and not isinstance(gradient_penalty, GradientPenalty):
        raise InputError(
            f"gradient_penalty={gradient_penalty!r} is not a penalties.GradientPenalty: accepted "
            "are None and objects such as penalties.R1(0.2)."
        )


def check_pairing(pairing: str, generator: keras.Model) -> None:
    """Raise `InputError` for a table of all pairs, which would mix conditions."""
    if pairing == "all_pairs" and any(map(is_condition, getattr(generator, "inputs", None) or ())):
        raise InputError(
            "pairing='all_pairs' would pair samples of different conditions: conditional networks "
            "need pairing='paired'."
        )


def check_networks(generator: keras.Model, potential: keras.Model) -> Shapes:
    """Return the shapes of two built networks.

    Raises:
        InputError: If a network is not built, has no defined inputs, or the two do not fit
            together.
    """
    for name, network in (("generator", generator), ("potential", potential)):
        if not isinstance(network, keras.Model):
            raise InputError(
                f"the {name} is a {type(network).__name__}: accepted is a keras.Model."
            )
        if not network.built:
            raise InputError(f"the {name} is not built: call it on data once, or build it.")
        if not getattr(network, "inputs", None) or not getattr(network, "outputs", None):
            raise InputError(
                f"the {name} has no inputs that can be inspected: accepted are functional and "
                "sequential models; wrap a subclassed one in keras.Model(inputs, outputs)."
            )
        activities = [
            layer.name
            for layer in keras_hooks.all_layers(network)
            if getattr(layer, "activity_regularizer", None) is not None
        ]
        if activities:
            raise InputError(
                f"the {name}'s layer {activities[0]!r} has an activity regularizer, which is not "
                "supported: accepted are regularizers of weights."
            )
    condition = condition_spec(generator, potential)
    inputs, given = (
        [tensor for tensor in network.inputs if not is_condition(tensor)]
        for network in (generator, potential)
    )
    if len(inputs) not in (1, 2):
        raise InputError(
            f"the generator has {len(inputs)} inputs: accepted are x, or x and a latent z, and "
            "last a condition named 'condition'."
        )
    if len(generator.outputs) != 1 or len(given) != 1 or len(potential.outputs) != 1:
        raise InputError(
            "the generator must have one output, and the potential one input and one output."
        )
    source = tuple(inputs[0].shape[1:])
    latent_dim = int(inputs[1].shape[-1]) if len(inputs) == 2 else None
    data = tuple(generator.outputs[0].shape[1:])
    potential_shape = tuple(potential.inputs[0].shape[1:])
    if potential_shape != data:
        raise InputError(
            f"the potential takes {potential_shape} but the generator returns {data}: the two "
            "shapes must be the same."
        )
    values = tuple(potential.outputs[0].shape)
    if values[1:] not in ((1,), ()):
        raise InputError(
            f"the potential returns {values}: accepted is one value per example, (None, 1)."
        )
    return Shapes(source, latent_dim, data, condition)


def check_trainable(*networks: tuple[str, keras.Model]) -> None:
    """Raise `InputError` if a network has nothing to train."""
    for name, network in networks:
        if not network.trainable_variables:
            raise InputError(f"the {name} has no trainable weights: there is nothing to train.")


def check_compile(
    generator_optimizer: Any, potential_optimizer: Any, more: Mapping[str, Any]
) -> None:
    """Check the arguments of `compile` that a two-player model cannot take."""
    if "optimizer" in more:
        raise InputError(
            "compile takes generator_optimizer and potential_optimizer instead of optimizer."
        )
    for name in ("loss", "loss_weights", "weighted_metrics"):
        if more.get(name) is not None:
            raise InputError(
                f"compile does not take {name}: the losses are those of the semi-dual objective."
            )
    shared = generator_optimizer is potential_optimizer
    if shared and isinstance(generator_optimizer, keras.optimizers.Optimizer):
        raise InputError(
            "generator_optimizer and potential_optimizer are the same object: each player needs "
            "an optimizer of its own."
        )
