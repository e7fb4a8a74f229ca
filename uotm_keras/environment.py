"""Whether the environment can run Keras at all, asked before Keras is imported."""

import importlib.util
import os

from uotm_keras.errors import InputError, unknown_name

BACKENDS = ("jax", "tensorflow", "torch")


def backend_fault() -> str | None:
    """What is wrong with the environment variable KERAS_BACKEND, in one sentence, or None."""
    name = os.environ.get("KERAS_BACKEND")
    if not name:
        return None  # Keras's own configuration decides
    if name not in BACKENDS:
        return str(
            unknown_name("backend in the environment variable KERAS_BACKEND", name, BACKENDS)
        )
    if importlib.util.find_spec(name) is None:
        return (
            f"KERAS_BACKEND={name} is not installed: pip install 'uotm_keras[{name}]', or choose "
            "another backend."
        )
    return None


def check_backend() -> None:
    """Checks the environment variable KERAS_BACKEND.

    Raises:
        InputError: it names no backend, or one that is not installed.
    """
    fault = backend_fault()
    if fault:
        raise InputError(fault)
