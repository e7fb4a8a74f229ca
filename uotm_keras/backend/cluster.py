"""Which processes train together, as the environment tells it, and what each one's share is."""

import contextlib
import dataclasses
from collections.abc import Iterator

from uotm_keras.backend.splitting import row_order
from uotm_keras.utils.errors import InputError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of one job.

    Attributes:
        addresses: host:port of each process; of the first alone where that is all that is
            known.
        process: which of them this one is, from 0.
        processes: how many there are.
    """

    addresses: tuple[str, ...]
    process: int
    processes: int

    def name(self, process: int) -> str:
        """A process, and its address where it is known."""
        if process < len(self.addresses):
            return f"process {process} ({self.addresses[process]})"
        return f"process {process} of {self.processes}"


def check_address(address, where: str) -> None:
    """Raises `InputError` unless an address is host:port."""
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"{where} has the address {address!r}: accepted is host:port.")


class Distribution:
    """How training is spread: here, not at all. Backends have others.

    Attributes:
        replicas: parts into which a batch is split, one a device.
        processes, process: how many train together, and which this one is.
    """

    replicas = 1
    processes = 1
    process = 0

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """The model must be made in here."""
        yield

    def feed(self, batches, start: int, workers: int, group: int):
        """What `fit` takes: this process's rows of each batch.

        Args:
            batches: of the whole batch, see `data.Batches`.
            start: number of the first one.
            workers: threads that prepare them.
            group: rows that stay together, see `splitting`.
        """
        return batches.stream(start=start, workers=workers)

    def close(self) -> None:
        """Ends what was begun with the other processes."""

    def describe(self) -> str:
        """One line for the records, or nothing."""
        if self.replicas == 1:
            return ""
        among = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"{self.replicas} replicas{among}"

    def _own_rows(self, batch_size: int, group: int):
        """The rows of a batch that the replicas of this process have, in their order."""
        order = row_order(batch_size, self.replicas, group)
        return order.reshape(self.processes, -1)[self.process]
