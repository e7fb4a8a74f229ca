"""The processes of one job, in touch beside their training.

They meet before anything is begun, tell each other what they have, agree on when to stop, and
learn at once when one of them has died, which a collective operation alone would wait for.
The first process listens; each of the others keeps one connection to it, over which go JSON
objects, one a line.
"""

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time

from uotm_keras.backend import distribution
from uotm_keras.backend.cluster import Cluster
from uotm_keras.utils.errors import InputError

LOST = 4
"""Exit code of a process that had to end because another one had ended."""

_LONGEST = 2**22  # bytes of a line
_RETRY = 0.2  # seconds between two attempts to connect
_GRACE = 3.0  # seconds for this process's own message, where all fail of the same cause


class Processes:
    """One process alone; `meet` gives others.

    Attributes:
        process, processes: which one this is, and how many there are.
    """

    process = 0
    processes = 1

    def exchange(self, value=None) -> list:
        """The values (JSON) of all processes, in their order, once all have given theirs."""
        return [value]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all must ask."""
        return any(self.exchange(flag))

    def finish(self) -> None:
        """Waits until all processes are done; from now on they may end."""

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *error) -> None:
        pass


def meet(cluster: Cluster, seconds: float) -> Processes:
    """Waits for the other processes of the job.

    Until `finish` each of them ends this process, with one sentence on stderr and the exit
    code `LOST`, when it dies, cannot be reached or stops.

    Args:
        cluster: see `backend.distribution.find_cluster`.
        seconds: how long they may take.

    Raises:
        InputError: one of them did not come.
    """
    return (_First if cluster.process == 0 else _Other)(cluster, seconds)


class _Channel:
    """JSON objects over a socket."""

    def __init__(self, connection: socket.socket):
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A machine that vanishes without a word is missed after half a minute.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.connection = connection
        self._file = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, **message) -> None:
        # Whether the other is still there is told by reading.
        with self._lock, contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict | None:
        """The next object; None if the other is gone, or no process of ours."""
        try:
            message = json.loads(self._file.readline(_LONGEST))
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


class _Meeting(Processes):
    def __init__(self, cluster: Cluster, channels: dict[int, _Channel]):
        self.process, self.processes = cluster.process, cluster.processes
        self._cluster, self._channels = cluster, channels
        self._values = {process: queue.SimpleQueue() for process in channels}
        self._finished = self._closed = False
        self._listeners = [
            threading.Thread(target=self._listen, args=(process,), daemon=True)
            for process in channels
        ]
        for listener in self._listeners:
            listener.start()

    def _listen(self, process: int) -> None:
        while True:
            message = self._channels[process].receive()
            if message is None:
                self._lose(process, "has died or cannot be reached any more")
                return
            if "lost" in message:
                self._end(message["lost"])
            elif "left" in message:
                if message["left"] != "finished" and not self._closed:
                    time.sleep(_GRACE)
                    self._lose(process, "has stopped, and says why itself")
                return
            else:
                self._values[process].put(message.get("value"))

    def _lose(self, process: int, what: str) -> None:
        if self._closed:
            return
        sentence = f"{self._cluster.name(process)} {what}"
        for other, channel in self._channels.items():
            if other != process:
                channel.send(lost=sentence)
        self._end(sentence)

    def _end(self, sentence: str) -> None:
        if self._closed:
            return
        text = f"error: {sentence}: the same commands go on from the last checkpoint.\n"
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
        os._exit(LOST)  # the main thread may wait for the one that is gone

    def finish(self) -> None:
        self.exchange()
        self._finished = True

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, Exception) and not isinstance(error, InputError):
            time.sleep(_GRACE)  # a collective may fail before it is known here who has died
        self._closed = True
        for channel in self._channels.values():
            channel.send(left="finished" if self._finished else "stopped")
        if self.process == 0 and not self._finished:
            # JAX aborts a process that sees the first one vanish: the others leave before it.
            deadline = time.monotonic() + 2 * _GRACE
            for listener in self._listeners:
                listener.join(max(deadline - time.monotonic(), 0))
        for channel in self._channels.values():
            channel.close()


class _First(_Meeting):
    def __init__(self, cluster: Cluster, seconds: float):
        port = distribution.meeting_port(cluster)
        try:
            listener = _listener(port)
        except OSError as error:
            raise InputError(f"cannot listen on the port {port}: {error.strerror}.") from None
        with listener:
            deadline = time.monotonic() + seconds
            distribution.meeting_point(cluster, seconds, listener.getsockname()[1])
            channels: dict[int, _Channel] = {}
            while len(channels) < cluster.processes - 1:
                listener.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    self._give_up(cluster, seconds, channels)
                process = _greeting(connection, cluster.processes)
                if process is not None:
                    channels[process] = _Channel(connection)
        # TensorFlow and JAX may listen on this port now, though it is that of connections.
        for channel in channels.values():
            channel.send(begin=True)
        super().__init__(cluster, channels)

    @staticmethod
    def _give_up(cluster: Cluster, seconds: float, channels: dict[int, _Channel]) -> None:
        missing = [cluster.name(p) for p in range(1, cluster.processes) if p not in channels]
        verb = "have" if len(missing) > 1 else "has"
        sentence = (
            f"{' and '.join(missing)} {verb} not come within {seconds:g} seconds: start all "
            f"{cluster.processes} processes, or give a longer --worker_timeout."
        )
        for channel in channels.values():
            channel.send(refused=sentence)
            channel.close()
        raise InputError(sentence)

    def exchange(self, value=None) -> list:
        values = [value, *(self._values[p].get() for p in range(1, self.processes))]
        for channel in self._channels.values():
            channel.send(value=values)
        return values


class _Other(_Meeting):
    def __init__(self, cluster: Cluster, seconds: float):
        channel = self._connect(cluster, seconds)
        super().__init__(cluster, {0: channel})

    @staticmethod
    def _connect(cluster: Cluster, seconds: float) -> _Channel:
        deadline = time.monotonic() + seconds
        address = distribution.meeting_point(cluster, seconds, 0)
        while time.monotonic() < deadline:
            try:
                left = max(deadline - time.monotonic(), 0.001)
                connection = socket.create_connection(address, timeout=min(left, 5.0))
            except OSError:
                time.sleep(_RETRY)
                continue
            channel = _Channel(connection)
            channel.send(hello=cluster.process, processes=cluster.processes)
            # The first process waits no longer for the others than this one would.
            message = channel.receive() or {}
            if "refused" in message:
                raise InputError(message["refused"])
            if "begin" in message:
                return channel
            channel.close()
            time.sleep(_RETRY)
        raise InputError(
            f"{cluster.name(0)} cannot be reached within {seconds:g} seconds: start all "
            f"{cluster.processes} processes, or give a longer --worker_timeout."
        )

    def exchange(self, value=None) -> list:
        self._channels[0].send(value=value)
        return self._values[0].get()


def _listener(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _greeting(connection: socket.socket, processes: int) -> int | None:
    """Which process of this job has connected; None, and no connection, for anything else."""
    connection.settimeout(5.0)
    line = b""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        # A byte at a time, so that nothing is read that belongs to the channel.
        while not line.endswith(b"\n") and len(line) < 200:
            byte = connection.recv(1)
            if not byte:
                break
            line += byte
        message = json.loads(line)
        process = int(message["hello"])
        if message["processes"] == processes and 0 < process < processes:
            return process
    connection.close()
    return None
