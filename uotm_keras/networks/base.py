"""Serialization shared by all networks."""

import contextlib
import inspect
from collections.abc import Iterator

import keras


class ConfiguredModel(keras.Model):
    """A functional model that is rebuilt from the arguments of its constructor.

    Subclasses store each argument as an attribute of the same name. The layers use the global
    dtype policy that is set when the model is created; a model that is rebuilt from its
    configuration gets the policy of the original again.
    """

    def get_config(self) -> dict:
        parameters = inspect.signature(type(self).__init__).parameters
        names = [name for name in parameters if name not in ("self", "kwargs")]
        return {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            **{name: getattr(self, name) for name in names},
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "ConfiguredModel":
        config = dict(config)
        # Files of earlier versions have no dtype.
        with _dtype_policy(config.pop("dtype", None)):
            return cls(**config)


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
