"""The processes and devices that train together, and which rows of a batch each one takes."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from uotm_keras.backend.splitting import row_order
from uotm_keras.utils.errors import InputError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of one job, as the environment describes them.

    Attributes:
        addresses: Address (host:port) of each process, or of the first one alone.
        process: Index of this process, from 0.
        processes: Number of processes.
    """

    addresses: tuple[str, ...]
    process: int
    processes: int

    def name(self, process: int) -> str:
        """Return a process's index with its address, if known."""
        if process < len(self.addresses):
            return f"process {process} ({self.addresses[process]})"
        return f"process {process} of {self.processes}"


def check_address(address: object, where: str) -> None:
    """Raise `InputError` unless an address has the form host:port."""
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"{where} has the address {address!r}: accepted is host:port.")


class Distribution:
    """Single-device strategy; the backends subclass it.

    Attributes:
        replicas: Number of replicas that share a batch, one per device.
        processes: Number of processes that train together.
        process: Index of this process.
    """

    replicas = 1
    processes = 1
    process = 0

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Return the context in which the model must be built and compiled."""
        yield

    def feed(self, batches: Any, start: int, workers: int, group: int) -> Any:
        """Return what `fit` takes: this process's rows of each batch.

        Args:
            batches: The global batches (`data.Batches`).
            start: Step of the first batch.
            workers: Number of threads that prepare batches.
            group: Number of consecutive rows that stay on one replica, see `splitting`.
        """
        return batches.stream(start=start, workers=workers)

    def close(self) -> None:
        """End distributed execution; what follows runs in this process alone."""

    def describe(self) -> str:
        """Return one line for the records, empty for one device."""
        if self.replicas == 1:
            return ""
        among = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"{self.replicas} replicas{among}"

    def _own_rows(self, batch_size: int, group: int) -> np.ndarray:
        """Return the rows of a batch for the replicas of this process, in replica order."""
        order = row_order(batch_size, self.replicas, group)
        return order.reshape(self.processes, -1)[self.process]
