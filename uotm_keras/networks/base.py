"""Serialization shared by all networks."""

import contextlib
import inspect
from collections.abc import Iterator

import keras

from uotm_keras.backend import keras_hooks

_QUANTIZED = "quantized"


class ConfiguredModel(keras.Model):
    """A functional model that is rebuilt from the arguments of its constructor.

    Subclasses store each argument as an attribute of the same name. The layers use the global
    dtype policy that is set when the model is created; a model that is rebuilt from its
    configuration gets the policy of the original again, and its quantized layers.
    """

    def get_config(self) -> dict:
        parameters = inspect.signature(type(self).__init__).parameters
        names = [name for name in parameters if name not in ("self", "kwargs")]
        config = {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            **{name: getattr(self, name) for name in names},
        }
        quantized = _quantized_layers(self)
        return {**config, _QUANTIZED: quantized} if quantized else config

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "ConfiguredModel":
        config = dict(config)
        quantized = config.pop(_QUANTIZED, [])
        # Files of earlier versions have no dtype.
        with _dtype_policy(config.pop("dtype", None)):
            model = cls(**config)
        # Weights that are loaded next have the shapes of the quantized layers.
        layers = keras_hooks.all_layers(model)
        for position, mode, quantization in quantized:
            quantization = keras.saving.deserialize_keras_object(quantization)
            layers[position].quantize(mode, config=quantization)
        return model


def _quantized_layers(model: keras.Model) -> list[list]:
    """Return the position, mode and serialized configuration of each quantized layer."""
    return [
        [
            position,
            layer.dtype_policy.quantization_mode,
            keras.saving.serialize_keras_object(getattr(layer, "quantization_config", None)),
        ]
        for position, layer in enumerate(keras_hooks.all_layers(model))
        if getattr(layer.dtype_policy, "quantization_mode", None)
    ]


@contextlib.contextmanager
def _dtype_policy(policy: str | None) -> Iterator[None]:
    """Set Keras's global dtype policy temporarily; None leaves it unchanged."""
    before = keras.config.dtype_policy()
    if policy is not None:
        keras.config.set_dtype_policy(keras.dtype_policies.get(policy))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
