"""Base class of the Keras metrics: features of images, kept or summed on the host."""

from typing import Any

import keras
import numpy as np
from keras import ops

from uotm_keras.backend import keras_hooks
from uotm_keras.metrics.extractors import as_extractor
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pixels import to_uint8
from uotm_keras.utils.typing import Tensor


class FeatureMetric(keras.metrics.Metric):
    """A metric of two sets of images, through a feature extractor.

    Features are converted to NumPy as soon as they are computed, and all sums are float64 on
    every backend. A metric therefore runs outside compiled graphs: to use it in `fit` and
    `evaluate`, compile the model with `run_eagerly=True`.

    Args:
        extractor: see `as_extractor`; `"features"` if the metric receives features.
        value_range: the values of black and of white, such as (-1, 1): images are first
            rounded to uint8. None passes them unchanged (FID expects [0, 255]).
        name: name of the metric.
    """

    uses_real = True
    uses_logits = False

    def __init__(
        self,
        extractor: object = "fid",
        value_range: tuple[float, float] | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.extractor = as_extractor(extractor)
        self.value_range = value_range
        self._kept: dict[str, list[np.ndarray]] = {"real": [], "fake": []}

    def update_state(
        self, real: Tensor = None, fake: Tensor = None, sample_weight: Any = None
    ) -> None:
        """Add a batch of real images, of fake images, or of both.

        Args:
            real, fake: images (n, H, W, C), or None. In `fit`, real is y_true and fake y_pred.

        Raises:
            InputError: shapes or values that do not fit, sample weights, or a call from
                within a compiled graph.
        """
        if sample_weight is not None:
            raise InputError(f"{self.name} does not take sample weights.")
        if keras_hooks.in_symbolic_scope():
            return
        for side, images in (("real", real), ("fake", fake)):
            if images is not None and (side == "fake" or self.uses_real):
                self.add(side, self._features(images))

    def _features(self, images: Tensor) -> np.ndarray:
        try:
            images = ops.convert_to_numpy(images)
        except Exception as error:  # each backend raises its own for traced tensors
            raise InputError(
                f"{self.name} accumulates in float64 outside compiled graphs: compile the "
                "model with run_eagerly=True, or call update_state with arrays."
            ) from error
        if self.value_range is not None:
            images = to_uint8(images, self.value_range)
        outputs = self.extractor(images)
        if not self.uses_logits:
            return outputs["features"]
        # With the extractor "features", the logits themselves are passed.
        given = self.extractor.network.name == "features as given"
        logits = outputs["features"] if given else outputs.get("logits")
        if logits is None:
            raise InputError(f"{self.name} needs logits, and the feature extractor returns none.")
        return logits

    def add(self, side: str, features: np.ndarray) -> None:
        """Add features (n, d) of `side`, `"real"` or `"fake"`."""
        self._kept[side].append(np.array(features))

    def real_features(self) -> np.ndarray:
        """Return the features of all real images."""
        return self._join("real")

    def fake_features(self) -> np.ndarray:
        """Return the features of all fake images."""
        return self._join("fake")

    def _join(self, side: str) -> np.ndarray:
        kept = self._kept[side]
        if not kept:
            raise InputError(f"{self.name} has received no {side} images.")
        if len(kept) > 1:
            kept[:] = [np.concatenate(kept)]
        return kept[0]

    def reset_state(self) -> None:
        """Forget all images."""
        for kept in self._kept.values():
            kept.clear()

    def result(self) -> Any:
        """Return the value so far, a float64 scalar.

        Raises:
            InputError: there are too few samples.
        """
        if keras_hooks.in_symbolic_scope():
            return ops.zeros(())
        return np.float64(self.value())

    def value(self) -> float:
        """Return the value so far."""
        raise NotImplementedError
