"""A batch shared by several replicas, and taken in micro-batches by each.

Replicas are TensorFlow's and PyTorch's: each runs the step on its own rows. Under JAX's
`DataParallel` the step sees the whole batch and XLA shares it out, so that there is one.
"""

import keras
from keras import ops

from uotm_keras import backend
from uotm_keras.backend import distribution
from uotm_keras.backend.splitting import group_size, split_rows
from uotm_keras.networks.layers import MinibatchStddev
from uotm_keras.utils.errors import InputError

STATISTICS = ("global", "replica")


class Sharing:
    """The part of `UOTM` that knows of replicas and micro-batches."""

    rows_in_groups = False
    """Whether the rows given to `fit` are shared out as `row_order` does with the groups of
    the potential; by themselves they are blocks of neighbouring rows, a block a replica."""

    def _groups_rows(self) -> bool:
        """Whether the potential's value depends on the groups that rows form."""
        return any(isinstance(layer, MinibatchStddev) for layer in _layers(self.potential))

    def _blocks(self) -> int:
        """Blocks of the batch, as this process sees it, that have statistics of their own."""
        return distribution.devices_of_a_batch() if self.batch_statistics == "replica" else 1

    def _group(self, rows, replicas: int):
        """Rows that must stay together, of a batch of `rows` on each of the replicas."""
        if not self.grouped:
            return 1
        whole = rows * replicas if self.batch_statistics == "global" else rows // self._blocks()
        return group_size(whole)

    def check_batch(self, batch_size: int, replicas: int) -> None:
        """Makes sure that a batch can be shared out.

        Args:
            batch_size: rows of the batch of all replicas.
            replicas: of TensorFlow or PyTorch; devices of JAX.

        Raises:
            InputError: the batch is not divisible by them, or a part would have a share of
                a group of the minibatch standard deviation.
        """
        if batch_size % replicas:
            raise InputError(
                f"a batch of {batch_size} is not divisible by {replicas} replicas: give a "
                f"batch_size that is a multiple of {replicas}."
            )
        rows = batch_size // replicas
        if rows % self.accumulate:
            raise InputError(
                f"accumulate={self.accumulate} does not divide the {rows} rows that each of "
                f"{replicas} replica{'s' * (replicas > 1)} has of a batch of {batch_size}: give "
                f"a batch_size that is a multiple of {replicas * self.accumulate}."
            )
        if not self.grouped:
            return
        among = batch_size if self.batch_statistics == "global" else rows
        group, parts = group_size(among), self.accumulate
        if self.batch_statistics == "global" and distribution.REPLICAS_ARE_APART:
            parts *= replicas
        if among % (group * parts):
            hint = " or batch_statistics='replica'" if parts > self.accumulate else ""
            raise InputError(
                f"{parts} parts of {among} rows cannot hold whole groups of {group} for the "
                f"minibatch standard deviation: give a batch_size of which each part is a "
                f"multiple of {group}{hint}."
            )

    def _check_networks(self) -> None:
        """Raises `InputError` where a network's state would not be the whole batch's."""
        parts = max(self.accumulate, distribution.replicas(), self._blocks())
        if parts == 1:
            return
        for name in ("generator", "potential"):
            for layer in _layers(getattr(self, name)):
                normalises = isinstance(layer, keras.layers.BatchNormalization)
                if normalises or any(
                    v.name == "seed_generator_state" for v in layer.non_trainable_variables
                ):
                    raise InputError(
                        f"the {name}'s layer {layer.name!r} draws random numbers or batch "
                        "statistics, which would not be those of the whole batch: with several "
                        "replicas or micro-batches accepted are networks without dropout and "
                        "batch normalisation."
                    )

    def rows_together(self, batch_size: int) -> int:
        """Rows of a batch that one replica must be given together, see `splitting`."""
        apart = distribution.REPLICAS_ARE_APART and self.batch_statistics == "global"
        return group_size(batch_size) if self.grouped and apart else 1

    # --- replicas ------------------------------------------------------------------------

    def _global_rows(self, x):
        """Rows of the batch of all replicas, given this one's share."""
        return distribution.rows_of_all_replicas(_rows(x))

    def _own_rows(self, x):
        """This replica's rows of what was drawn for the batch of all."""
        replicas = distribution.replicas()
        if replicas == 1 or x is None:
            return x
        rows = _rows(x) // replicas
        return split_rows(x, replicas, self._replica_group(rows))[distribution.replica()]

    def _replica_group(self, rows):
        return (
            self._group(rows, distribution.replicas()) if self.batch_statistics == "global" else 1
        )

    def _in_groups(self, x):
        """The batch that `fit` gave to the replicas, with whole groups on each."""
        shared = distribution.replicas() > 1 and self.batch_statistics == "global"
        if x is None or not (shared and self.grouped) or self.rows_in_groups:
            return x
        return self._own_rows(distribution.gather(x))

    # --- micro-batches -------------------------------------------------------------------

    def _micro_batches(self, *arrays) -> tuple:
        """Each array (B, ...) as (accumulate, B/accumulate, ...); unchanged where that is 1."""
        if self.accumulate == 1:
            return arrays
        replicas = distribution.replicas()

        def split(x):
            if x is None:
                return None
            rows, group, blocks = _rows(x), self._group(_rows(x), replicas), self._blocks()
            backend.require(
                rows % (group * blocks * self.accumulate) == 0,
                f"accumulate={self.accumulate} must divide the rows of a batch, and a part hold "
                "whole groups of the minibatch standard deviation.",
            )
            return distribution.shard_rows(split_rows(x, self.accumulate, group, blocks), axis=1)

        return tuple(map(split, arrays))

    def _table_of_whole_batch(self, source, latent) -> tuple:
        """(fake, cost, all costs) of micro-batches, or Nones where the loss sees all pairs.

        The potential's loss has no gradient in the costs, so that they can be had first.
        """
        replicas = distribution.replicas() if self.batch_statistics == "global" else 1
        if self.pairing == "paired" or (self.accumulate == 1 and replicas == 1):
            return None, None, None

        def move(source, latent):
            fake = self.transport_map(source, latent, training=True)
            return fake, self.cost_of(source, latent, fake)

        fake, cost = backend.map_pieces(self, move, (source, latent), self.accumulate)
        blocks = self._blocks()
        every = ops.reshape(cost, (self.accumulate, blocks, -1))
        every = ops.reshape(ops.transpose(every, (1, 0, 2)), (-1,))
        return fake, cost, distribution.gather(every) if replicas > 1 else every


def _rows(x):
    """The static number of rows, or a tensor where it is not known."""
    rows = x.shape[0]
    return ops.shape(x)[0] if rows is None else rows


def _layers(network: keras.Model) -> list:
    return list(network._flatten_layers())
