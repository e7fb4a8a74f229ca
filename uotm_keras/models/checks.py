"""What a UOTM requires of its arguments and networks; every failure is one sentence."""

from typing import NamedTuple

import keras

from uotm_keras.utils.errors import InputError


class Shapes(NamedTuple):
    """The shapes that two networks agree on.

    Attributes:
        source: Shape of one x.
        latent_dim: Length of z, or `None` for a generator without a latent.
        data: Shape of one y.
    """

    source: tuple[int, ...]
    latent_dim: int | None
    data: tuple[int, ...]


def check_choice(name: str, value: str, accepted: tuple[str, ...]) -> None:
    """Raise `InputError` unless a value is one of the accepted names."""
    if value not in accepted:
        raise InputError(f"{name}={value!r} must be one of {', '.join(accepted)}.")


def check_count(name: str, value: int) -> int:
    """Return a whole number of at least 1, or raise `InputError`."""
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise InputError(f"{name}={value!r} must be a whole number of at least 1.")
    return int(value)


def check_networks(generator: keras.Model, potential: keras.Model) -> Shapes:
    """Return the shapes of two built networks.

    Raises:
        InputError: If a network is not built, or the two do not fit together.
    """
    if not (generator.built and potential.built):
        raise InputError("the generator and the potential must be built before a UOTM is made.")
    inputs = generator.inputs
    if len(inputs) not in (1, 2):
        raise InputError(
            f"the generator has {len(inputs)} inputs: accepted are x, or x and a latent z."
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
    return Shapes(source, latent_dim, data)
