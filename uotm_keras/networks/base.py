"""What the networks share."""

import contextlib
import inspect
from collections.abc import Iterator

import keras


class ConfiguredModel(keras.Model):
    """A functional model that is rebuilt from its constructor's arguments.

    Subclasses keep each argument as an attribute of the same name. Its layers have the
    dtype policy that is Keras's own when it is made, and again when it is rebuilt.
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
    def from_config(cls, config: dict, custom_objects=None):
        config = dict(config)
        # Files of earlier versions do not say.
        with _dtype_policy(config.pop("dtype", None)):
            return cls(**config)


@contextlib.contextmanager
def _dtype_policy(policy: str | None) -> Iterator[None]:
    """In here, Keras's own dtype policy is the one given, if any."""
    before = keras.config.dtype_policy()
    if policy is not None:
        keras.config.set_dtype_policy(keras.dtype_policies.get(policy))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
