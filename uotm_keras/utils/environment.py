"""Checks and settings before Keras is imported."""

import contextlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.streams import open_descriptors

INTERRUPTED = 130
"""The exit code after Ctrl-C."""
_import_handlers: list[object] = []
BACKENDS = ("jax", "tensorflow", "torch")


def backend_fault() -> str | None:
    """Return what is wrong with the environment variable KERAS_BACKEND in one sentence, or None."""
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
    """Check the environment variable KERAS_BACKEND.

    Raises:
        InputError: it is not the name of a backend, or the backend is not installed.
    """
    fault = backend_fault()
    if fault:
        raise InputError(fault)


@contextlib.contextmanager
def quiet_commands() -> Iterator[None]:
    """Hide TensorFlow's messages on stderr while one of our commands starts.

    Ctrl-C then ends the process without a traceback until `restore_ctrl_c`.

    Those of the import ignore every setting, so file descriptor 2 is redirected to the null
    device; the later ones obey TF_CPP_MIN_LOG_LEVEL, unless the user has set it. In any other
    program nothing is hidden.
    """
    if not _is_command():
        yield
        return
    open_descriptors()
    _end_quietly_on_ctrl_c()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _end_quietly_on_ctrl_c() -> None:
    """Let Ctrl-C end the process without a traceback until `run_command` handles it.

    An exception would not do: packages that are being imported may catch or report it.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        return
    stderr = os.dup(2)

    def handler(number: int, frame: FrameType | None) -> None:
        os.write(stderr, b"interrupted: nothing was written.\n")
        os._exit(INTERRUPTED)

    _import_handlers.append(handler)
    signal.signal(signal.SIGINT, handler)


def restore_ctrl_c() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, after the imports of a command."""
    if signal.getsignal(signal.SIGINT) in _import_handlers:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    # `train.py` and `evaluate.py` set the variable. While `python -m` looks for the module to
    # run, which imports this package, sys.argv[0] is "-m".
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    marked = os.environ.pop("UOTM_KERAS_COMMAND", "")
    return bool(marked) or name in ("-m", "uotm-train", "uotm-evaluate", "uotm-generate")
