"""Weight regularizers of the networks, added to the losses of the two players."""

import keras
from keras import ops

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor


def with_regularization(
    network: keras.Model, loss: Tensor, logs: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Add the penalties of a network's `kernel_regularizer`s and the like to its loss.

    Args:
        network: The network that the loss trains.
        loss: The loss, a scalar.
        logs: Its parts, whose `loss` is replaced.

    Raises:
        InputError: If a layer of the network calls `add_loss`.
    """
    penalties = [
        variable.regularizer(variable)
        for variable in network.trainable_variables
        if variable.regularizer is not None
    ]
    if len(network.losses) > len(penalties):
        raise InputError(
            f"a layer of {network.name!r} calls add_loss, which is not supported: accepted are "
            "regularizers of weights."
        )
    if not penalties:
        return loss, logs
    loss = loss + sum(ops.cast(penalty, "float32") for penalty in penalties)
    return loss, {**logs, "loss": loss}
