"""How one batch is shared among replicas, and by each replica among micro-batches.

On TensorFlow and PyTorch each replica runs the training step on its own rows. Under JAX's
`DataParallel` the step sees the whole batch and XLA shares it out, so that there is a single
replica.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterable, Iterator
from typing import TypeVar

import keras
from keras import ops

from uotm_keras import backend
from uotm_keras.backend import distribution
from uotm_keras.backend.keras_hooks import all_layers
from uotm_keras.backend.splitting import group_size, split_rows
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

STATISTICS = ("global", "replica")
ROW_ORDERS = ("blocks", "groups")

Record = TypeVar("Record", bound=tuple)

_BLOCKS: contextvars.ContextVar[int] = contextvars.ContextVar("blocks", default=1)


@contextlib.contextmanager
def statistics_blocks(count: int) -> Iterator[None]:
    """Take minibatch statistics within each of `count` equal blocks of rows."""
    token = _BLOCKS.set(count)
    try:
        yield
    finally:
        _BLOCKS.reset(token)


def current_blocks() -> int:
    """Return the number of blocks set by `statistics_blocks`; 1 outside of it."""
    return _BLOCKS.get()


@dataclasses.dataclass(frozen=True)
class Partition:
    """The sharing of one batch.

    Args:
        grouped: Whether the potential's values depend on the groups that rows form, as with
            the minibatch standard deviation.
        batch_statistics: `"global"` takes statistics over the whole batch, so that any
            number of devices gives what one does; `"replica"` over each device's share.
        micro_batches: Parts in which each replica processes its share.
        row_order: How the rows of a batch reach the replicas in `fit`: `"blocks"` of
            neighboring rows, as Keras distributes them, or whole `"groups"`, as
            `Distribution.feed` does.
    """

    grouped: bool = False
    batch_statistics: str = "global"
    micro_batches: int = 1
    row_order: str = "blocks"

    # --- Replicas ------------------------------------------------------------------------

    @property
    def blocks(self) -> int:
        """Blocks of the batch, as this process sees it, that have statistics of their own."""
        return distribution.devices_of_a_batch() if self.batch_statistics == "replica" else 1

    def whole_batch_rows(self, x: Tensor) -> int | Tensor:
        """Return the rows of the batch of all replicas, given this replica's share."""
        return distribution.rows_of_all_replicas(_rows(x))

    def own_rows(self, x: Tensor | None) -> Tensor | None:
        """Return this replica's rows of a tensor made for the batch of all replicas."""
        replicas = distribution.replicas()
        if replicas == 1 or x is None:
            return x
        group = 1
        if self.batch_statistics == "global":
            group = self._group(_rows(x) // replicas, replicas)
        return split_rows(x, replicas, group)[distribution.replica()]

    def take(self, x: Tensor | None) -> Tensor | None:
        """Return this replica's rows of a batch given to `fit`, with whole groups on each."""
        shared = distribution.replicas() > 1 and self.batch_statistics == "global"
        if x is None or not (shared and self.grouped) or self.row_order == "groups":
            return x
        return self.own_rows(distribution.gather(x))

    def rows_together(self, batch_size: int) -> int:
        """Return how many rows of a batch one replica must be given together."""
        apart = distribution.REPLICAS_ARE_APART and self.batch_statistics == "global"
        return group_size(batch_size) if self.grouped and apart else 1

    def _group(self, rows: int | Tensor, replicas: int) -> int | Tensor:
        """Return how many rows stay together, of a batch of `rows` on each replica."""
        if not self.grouped:
            return 1
        whole = rows * replicas if self.batch_statistics == "global" else rows // self.blocks
        return group_size(whole)

    # --- Micro-batches -------------------------------------------------------------------

    def split(self, batch: Record) -> Record:
        """Split each tensor of a record, (B, ...), into micro-batches (M, B/M, ...).

        With a single micro-batch the record is returned unchanged.
        """
        if self.micro_batches == 1:
            return batch
        parts = (None if x is None else self._split(x) for x in batch)
        return type(batch)(*parts)  # type: ignore[arg-type]

    def _split(self, x: Tensor) -> Tensor:
        rows = _rows(x)
        group, blocks = self._group(rows, distribution.replicas()), self.blocks
        backend.require(
            rows % (group * blocks * self.micro_batches) == 0,
            f"accumulate={self.micro_batches} must divide the rows of a batch, and a micro-batch "
            "must hold whole groups of the minibatch standard deviation.",
        )
        return distribution.shard_rows(split_rows(x, self.micro_batches, group, blocks), axis=1)

    @property
    def sees_whole_batch(self) -> bool:
        """Whether a loss sees all the rows over which statistics are taken at once."""
        replicas = distribution.replicas() if self.batch_statistics == "global" else 1
        return self.micro_batches == 1 and replicas == 1

    def gather(self, x: Tensor) -> Tensor:
        """Join the values of all micro-batches and replicas, (M, B/M) on each, into (B,)."""
        x = ops.reshape(x, (self.micro_batches, self.blocks, -1))
        x = ops.reshape(ops.transpose(x, (1, 0, 2)), (-1,))
        if self.batch_statistics == "global" and distribution.replicas() > 1:
            return distribution.gather(x)
        return x

    # --- Checks --------------------------------------------------------------------------

    def check_batch(self, batch_size: int, replicas: int) -> None:
        """Check that a batch can be shared out.

        Args:
            batch_size: Rows of the batch of all replicas.
            replicas: Replicas of TensorFlow or PyTorch, or devices of JAX.

        Raises:
            InputError: If the batch is not divisible by them, or a part would hold a
                fraction of a group of the minibatch standard deviation.
        """
        if batch_size % replicas:
            raise InputError(
                f"a batch of {batch_size} is not divisible by {replicas} replicas: use a "
                f"batch_size that is a multiple of {replicas}."
            )
        rows = batch_size // replicas
        if rows % self.micro_batches:
            raise InputError(
                f"accumulate={self.micro_batches} does not divide the {rows} rows that each of "
                f"{replicas} replica{'s' * (replicas > 1)} has of a batch of {batch_size}: use "
                f"a batch_size that is a multiple of {replicas * self.micro_batches}."
            )
        if not self.grouped:
            return
        among = batch_size if self.batch_statistics == "global" else rows
        group, parts = group_size(among), self.micro_batches
        if self.batch_statistics == "global" and distribution.REPLICAS_ARE_APART:
            parts *= replicas
        if among % (group * parts):
            hint = " or batch_statistics='replica'" if parts > self.micro_batches else ""
            raise InputError(
                f"{parts} parts of {among} rows cannot hold whole groups of {group} for the "
                f"minibatch standard deviation: use a batch_size of which each part is a "
                f"multiple of {group}{hint}."
            )

    def check_networks(self, networks: Iterable[tuple[str, keras.Model]], replicas: int) -> None:
        """Check that no layer's state depends on how the batch is shared.

        Args:
            networks: Names and networks.
            replicas: Replicas that share a batch.

        Raises:
            InputError: If a layer draws random numbers or batch statistics and the batch
                has several parts.
        """
        if max(self.micro_batches, replicas, self.blocks) == 1:
            return
        for name, network in networks:
            for layer in all_layers(network):
                normalizes = isinstance(layer, keras.layers.BatchNormalization)
                if normalizes or any(
                    v.name == "seed_generator_state" for v in layer.non_trainable_variables
                ):
                    raise InputError(
                        f"the {name}'s layer {layer.name!r} draws random numbers or batch "
                        "statistics, which would differ from those of the whole batch: with "
                        "several replicas or micro-batches, use networks without dropout and "
                        "batch normalization."
                    )


def _rows(x: Tensor) -> int | Tensor:
    """Return the static number of rows, or a tensor if it is not known."""
    rows = x.shape[0]
    return ops.shape(x)[0] if rows is None else rows
