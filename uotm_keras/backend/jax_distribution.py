"""Several devices and processes under JAX: `keras.distribution.DataParallel`."""

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import jax
import keras
import numpy as np

from uotm_keras.backend.cluster import Cluster, Distribution, check_address
from uotm_keras.backend.process_group import ProcessGroup, rendezvous
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

REPLICAS_ARE_APART = False
HOW_TO_START_SEVERAL = (
    "set KERAS_DISTRIBUTION_JOB_ADDRESSES, …_NUM_PROCESSES and …_PROCESS_ID in each"
)

# --- in a training step -------------------------------------------------------------------


def replicas() -> int:
    return 1


def replicas_of(model: keras.Model) -> int:
    return 1


def scope_of(model: keras.Model, *optimizers: Any) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext()


def replica() -> int:
    return 0


def gather(x: Tensor) -> Tensor:
    return x


def rows_of_all_replicas(rows: int) -> int:
    return rows


def _data_parallel() -> keras.distribution.DataParallel | None:
    current = keras.distribution.distribution()
    return current if isinstance(current, keras.distribution.DataParallel) else None


def devices_of_a_batch() -> int:
    current = _data_parallel()
    return 1 if current is None else current.device_mesh.devices.size


def shard_rows(x: Tensor, axis: int = 0) -> Tensor:
    current = _data_parallel()
    if current is None:
        return x
    spec = [None] * axis + [current.batch_dim_name] + [None] * (x.ndim - axis - 1)
    mesh = current.device_mesh.backend_mesh
    return jax.lax.with_sharding_constraint(
        x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    )


# --- around it ----------------------------------------------------------------------------


def make_train_function(model: keras.Model, own: Callable[[bool], None], force: bool) -> None:
    own(force)


_on_this_process: weakref.WeakKeyDictionary[keras.Model, Callable] = weakref.WeakKeyDictionary()


_ONE_THREAD = threading.Lock()


def predict(network: keras.Model, inputs: Any) -> np.ndarray:
    if jax.process_count() == 1:
        # Keras donates the variables' buffers, which another thread would find deleted.
        with _ONE_THREAD:
            return network.predict_on_batch(inputs)
    # All processes would have to run a computation on the global arrays of the variables.
    function = _on_this_process.get(network)
    if function is None:
        network_of = cast(Callable[[], keras.Model], weakref.ref(network))
        function = jax.jit(lambda *a: network_of().stateless_call(*a, training=False)[0])
        _on_this_process[network] = function
    variables = network.trainable_variables, network.non_trainable_variables
    values = ([v.value.addressable_data(0) for v in group] for group in variables)
    return np.asarray(function(*values, inputs))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    current = keras.distribution.distribution()
    if current is None or jax.process_count() == 1:
        yield
        return
    # Keras creates variables while it saves, which is a collective under a distribution.
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(current)


_VARIABLE = "KERAS_DISTRIBUTION_"


def find_cluster() -> Cluster | None:
    names = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
    given = {name: os.environ.get(_VARIABLE + name, "") for name in names}
    if not any(given.values()) or given["NUM_PROCESSES"] == "1":
        return None
    for name in names:
        if not given[name]:
            raise InputError(
                f"environment variable {_VARIABLE}{name} is missing: several processes need "
                f"{', '.join(_VARIABLE + other for other in names)}."
            )
    addresses = [address.strip() for address in given["JOB_ADDRESSES"].split(",")]
    for address in addresses:
        check_address(address, f"environment variable {_VARIABLE}JOB_ADDRESSES")
    for name in names[1:]:
        if not given[name].isdecimal():
            raise InputError(
                f"environment variable {_VARIABLE}{name}={given[name]} must be a whole number."
            )
    processes, process = int(given["NUM_PROCESSES"]), int(given["PROCESS_ID"])
    if not process < processes:
        raise InputError(
            f"environment variable {_VARIABLE}PROCESS_ID={process} must be below "
            f"{_VARIABLE}NUM_PROCESSES={processes}."
        )
    if len(addresses) not in (1, processes):
        raise InputError(
            f"environment variable {_VARIABLE}JOB_ADDRESSES has {len(addresses)} addresses: "
            f"accepted are the first process's alone, or those of all {processes}."
        )
    return Cluster(tuple(addresses), process, processes)


def split_cpu(count: int) -> None:
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise InputError(
            f"the CPU cannot be split into {count} devices after JAX has started."
        ) from None


def count_devices() -> tuple[int, str]:
    devices = jax.local_devices()
    return len(devices), devices[0].platform.upper()


_HEARTBEAT = 30
"""Seconds without a heartbeat after which JAX's coordination service ends the whole job."""


class _JaxProcessGroup(ProcessGroup):
    def __init__(self, cluster: Cluster):
        self.process, self.processes = cluster.process, cluster.processes

    def _all_gather_array(self, array: np.ndarray) -> np.ndarray:
        from jax.experimental import multihost_utils  # slow, and few jobs have processes

        return np.asarray(multihost_utils.process_allgather(array))

    def is_loss(self, error: BaseException) -> bool:
        text = str(error)
        return "Gloo" in text or "NCCL" in text or text.startswith(("UNAVAILABLE", "ABORTED"))

    def close(self) -> None:
        self.barrier()
        jax.distributed.shutdown()


def open_process_group(cluster: Cluster, seconds: float) -> ProcessGroup:
    # `keras.distribution.initialize` calls the same function, but cannot set the timeouts.
    with rendezvous(cluster, seconds, RuntimeError, ValueError):
        jax.distributed.initialize(
            cluster.addresses[0],
            cluster.processes,
            cluster.process,
            cluster_detection_method="deactivate",
            # JAX aborts the process after this time, so `rendezvous` must come first.
            initialization_timeout=int(seconds) + 60,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
        group = _JaxProcessGroup(cluster)
        group.barrier()
    return group


def open_distribution(strategy: str, group: ProcessGroup | None) -> Distribution:
    return _Devices()


class _Devices(Distribution):
    def __init__(self) -> None:
        self.data_parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        self.replicas = self.data_parallel.device_mesh.devices.size
        self.processes, self.process = jax.process_count(), jax.process_index()

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        # Never unset here: `fit` needs the distribution as well.
        keras.distribution.set_distribution(self.data_parallel)
        yield

    def feed(self, batches: Any, start: int, workers: int, group: int) -> Any:
        # One program sees the global batch in its own order, so no groups are formed.
        rows = None if self.processes == 1 else self._own_rows(batches.batch_size, 1)
        return batches.stream(start=start, workers=workers, rows=rows)

    def close(self) -> None:
        keras.distribution.set_distribution(None)
