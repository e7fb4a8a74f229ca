"""The base class of callbacks that act at an interval of training steps."""

from collections.abc import Mapping
from typing import Any

import keras

from uotm_keras import backend
from uotm_keras.utils.errors import InputError


class StepCallback(keras.callbacks.Callback):
    """Call `at_step` every so many training steps, or at the end of each epoch.

    Steps are counted by `model.step`, so that they continue when `fit` is called again or a
    model is loaded.

    Args:
        every: Steps between two calls (int, at least 1), or `None` for the end of each epoch.

    Raises:
        InputError: If `every` is out of range.
    """

    def __init__(self, every: int | None) -> None:
        super().__init__()
        if every is not None and (isinstance(every, bool) or int(every) != every or every < 1):
            raise InputError(f"every={every!r} must be a whole number of at least 1, or None.")
        self.every = every
        self._step = self._batch = 0

    def at_step(self, step: int) -> None:
        """Do the work of the callback. The model's variables are up to date."""
        raise NotImplementedError

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._step = int(keras.ops.convert_to_numpy(self.model.step.value))

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._batch = -1

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        # Keras may run several steps between two calls.
        before, self._step = self._step, self._step + batch - self._batch
        self._batch = batch
        if self.every is not None and before // self.every < self._step // self.every:
            self._call()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.every is None:
            self._call()

    def _call(self) -> None:
        backend.sync(self.model)
        self.at_step(self._step)
