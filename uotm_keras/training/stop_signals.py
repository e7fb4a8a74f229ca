"""Signals that ask a run to stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, SIGTERM and SIGHUP set, so that a run can stop in order.

    A second signal of the same kind has its usual effect at once. SIGHUP stays ignored if it
    was, as under `nohup`. Outside of the main thread, no signal is caught.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.getsignal(number) for number in _SIGNALS}
    if hasattr(signal, "SIGHUP") and old[signal.SIGHUP] is signal.SIG_IGN:
        del old[signal.SIGHUP]

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, old[number])

    for number in old:
        signal.signal(number, handler)
    try:
        yield stop
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)
