"""What the networks share."""

import inspect

import keras


class ConfiguredModel(keras.Model):
    """A functional model that is rebuilt from its constructor's arguments.

    Subclasses keep each argument as an attribute of the same name.
    """

    def get_config(self) -> dict:
        parameters = inspect.signature(type(self).__init__).parameters
        names = [name for name in parameters if name not in ("self", "kwargs")]
        return {"name": self.name, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        return cls(**config)
