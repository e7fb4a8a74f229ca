"""Several devices under PyTorch: the processes of torchrun, one per device."""

import contextlib
import datetime
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
import torch.distributed as dist

from uotm_keras.backend.cluster import Cluster, Distribution, check_address
from uotm_keras.backend.process_group import ProcessGroup, rendezvous
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

REPLICAS_ARE_APART = True
HOW_TO_START_SEVERAL = "start the processes by torchrun"

# --- in a training step -------------------------------------------------------------------


def replicas() -> int:
    return dist.get_world_size() if _running() else 1


def replicas_of(model: keras.Model) -> int:
    return replicas()


def scope_of(model: keras.Model, *optimizers: Any) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext()


def replica() -> int:
    return dist.get_rank() if _running() else 0


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()


def gather(x: Tensor) -> Tensor:
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(replicas())]
    dist.all_gather(parts, x)
    return torch.cat(parts)


def devices_of_a_batch() -> int:
    return 1


def shard_rows(x: Tensor, axis: int = 0) -> Tensor:
    return x


_rows_seen: int | None = None


def rows_of_all_replicas(rows: int) -> int:
    count = replicas()
    if count == 1:
        return rows
    global _rows_seen
    if _rows_seen is None:
        every = gather(torch.tensor([rows])).tolist()
        if len(set(every)) > 1:
            raise InputError(
                f"the processes have {every} rows of a batch: all must have the same number."
            )
        _rows_seen = rows
    if rows != _rows_seen:
        # The other processes may have another size, and a check of each batch costs time.
        raise InputError(
            f"a batch of {rows} rows after batches of {_rows_seen}: with several processes all "
            "must have the same size, so drop the last, partial batch."
        )
    return rows * count


@torch.no_grad()
def average_over_replicas(gradients: list, logs: dict) -> dict:
    """Average gradients (in place) and logs (returned) over the replicas, in one all-reduce."""
    count = replicas()
    if count == 1:
        return logs
    scalars = torch.stack([value.to(torch.float32) for value in logs.values()])
    flat = torch.cat([*(g.reshape(-1).to(torch.float32) for g in gradients), scalars])
    dist.all_reduce(flat)
    flat /= count
    *parts, scalars = flat.split([*(g.numel() for g in gradients), len(logs)])
    # Into the old tensors, whose memory layout is that of their variables.
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))
    return dict(zip(logs, scalars.unbind(), strict=True))


# --- around it ----------------------------------------------------------------------------


def make_train_function(model: keras.Model, own: Callable[[bool], None], force: bool) -> None:
    if model.steps_per_execution > 1:
        raise InputError(
            f"steps_per_execution={model.steps_per_execution} is not possible on the torch "
            "backend: use 1."
        )
    own(force)


def predict(network: keras.Model, inputs: Any) -> np.ndarray:
    return network.predict_on_batch(inputs)


alone = contextlib.nullcontext


def find_cluster() -> Cluster | None:
    if os.environ.get("WORLD_SIZE", "1") in ("", "1"):
        return None
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR"):
        value = os.environ.get(name, "")
        if not value or (name != "MASTER_ADDR" and not value.isdecimal()):
            raise InputError(
                f"environment variable {name}={value!r} is not what torchrun sets: start the "
                "processes by torchrun."
            )
    process, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if not process < processes:
        raise InputError(
            f"environment variable RANK={process} must be below WORLD_SIZE={processes}."
        )
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    check_address(address, "the environment")
    return Cluster((address,), process, processes)


def split_cpu(count: int) -> None:
    raise InputError(
        f"virtual_devices={count} is not possible on the torch backend, which uses one process per "
        "device: start them with torchrun --nproc_per_node=2."
    )


def count_devices() -> tuple[int, str]:
    return 1, "GPU" if torch.cuda.is_available() else "CPU"


_DAY = datetime.timedelta(days=1)
"""How long processes may wait for the first one, which scores and writes alone."""


class _TorchProcessGroup(ProcessGroup):
    def __init__(self, cluster: Cluster):
        self.process, self.processes = cluster.process, cluster.processes
        self._gloo = dist.new_group(backend="gloo", timeout=_DAY)

    def _all_gather_array(self, array: np.ndarray) -> np.ndarray:
        rows = [
            torch.empty(array.size, dtype=torch.int32, device="cpu") for _ in range(self.processes)
        ]
        dist.all_gather(rows, torch.from_numpy(array), group=self._gloo)
        return torch.stack(rows).numpy()

    def is_loss(self, error: BaseException) -> bool:
        text = str(error)
        return isinstance(error, dist.DistError) or (
            isinstance(error, RuntimeError) and ("gloo" in text or "NCCL" in text)
        )

    def close(self) -> None:
        self.barrier()
        dist.destroy_process_group()


def open_process_group(cluster: Cluster, seconds: float) -> ProcessGroup:
    kind = "gloo"
    if torch.cuda.is_available():
        device = int(os.environ.get("LOCAL_RANK", "0"))
        if device >= torch.cuda.device_count():
            raise InputError(
                f"environment variable LOCAL_RANK={device}, but this machine has "
                f"{torch.cuda.device_count()} GPUs: start at most one process per GPU."
            )
        torch.cuda.set_device(device)
        kind = "cpu:gloo,cuda:nccl"
    with rendezvous(cluster, seconds, dist.DistError, RuntimeError, ValueError):
        dist.init_process_group(kind)
        group = _TorchProcessGroup(cluster)
        group.barrier()
    return group


def open_distribution(strategy: str, group: ProcessGroup | None) -> Distribution:
    if group is None or group.processes == 1:
        raise InputError(
            f"--strategy={strategy} is not possible on the torch backend, which uses one process "
            "per device: start them with torchrun --nproc_per_node=2 train.py."
        )
    return _Processes(group)


class _Processes(Distribution):
    def __init__(self, group: ProcessGroup):
        self.replicas = self.processes = group.processes
        self.process = group.process

    def feed(self, batches: Any, start: int, workers: int, group: int) -> Any:
        rows = self._own_rows(batches.batch_size, group)
        return batches.stream(start=start, workers=workers, rows=rows)
