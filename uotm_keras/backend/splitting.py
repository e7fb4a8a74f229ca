"""The rows of one batch, split among replicas or micro-batches.

The minibatch standard deviation groups the rows i, i + B/G, i + 2B/G, … of a batch of B.
A part that holds whole groups in that order has the same groups when it is processed alone.
The batch is therefore viewed as (G, parts, B/(G·parts)) rows, of which a part takes its slice
of the middle axis. With G = 1 the parts are blocks of neighboring rows.
"""

import numpy as np
from keras import ops

from uotm_keras.utils.typing import Tensor

GROUP_SIZES = (4, 3, 2, 1)


def group_size(batch: int | Tensor) -> int | Tensor:
    """Return the rows per group of the minibatch standard deviation.

    Args:
        batch: Rows of the batch, an int or an integer tensor.

    Returns:
        The largest of 4, 3, 2, 1 that divides `batch`.
    """
    if isinstance(batch, int):
        return next(size for size in GROUP_SIZES if batch % size == 0)
    group = ops.where(batch % 2 == 0, 2, 1)
    group = ops.where(batch % 3 == 0, 3, group)
    return ops.where(batch % 4 == 0, 4, group)


def split_rows(x: Tensor, parts: int, group: int | Tensor = 1, blocks: int = 1) -> Tensor:
    """Split the rows of a batch among parts.

    Args:
        x: (B, ...), where B is divisible by `parts · group · blocks`.
        parts: Number of parts.
        group: Rows of a group that stay together, an int or an integer tensor. Defaults
            to 1.
        blocks: Equal blocks of neighboring rows, of which each part gets a share. Defaults
            to 1.

    Returns:
        (parts, B/parts, ...).
    """
    rest = tuple(x.shape[1:])
    x = ops.reshape(x, (blocks, group, parts, -1, *rest))
    x = ops.transpose(x, (2, 0, 1, *range(3, 4 + len(rest))))
    return ops.reshape(x, (parts, -1, *rest))


def row_order(batch: int, parts: int, group: int = 1) -> np.ndarray:
    """Return the row numbers of each part in `split_rows`, int64 (parts, batch/parts)."""
    return np.arange(batch).reshape(group, parts, -1).swapaxes(0, 1).reshape(parts, -1)
