"""Several devices and processes under TensorFlow: tf.distribute."""

import contextlib
import json
import os
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from uotm_keras.backend import keras_hooks
from uotm_keras.backend.cluster import Cluster, Distribution, check_address
from uotm_keras.backend.process_group import ProcessGroup, rendezvous
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

REPLICAS_ARE_APART = True
HOW_TO_START_SEVERAL = "set TF_CONFIG in each process"

# --- in a training step -------------------------------------------------------------------


def replicas() -> int:
    return tf.distribute.get_strategy().num_replicas_in_sync


def replicas_of(model: keras.Model) -> int:
    return model.distribute_strategy.num_replicas_in_sync


def scope_of(model: keras.Model, *optimizers: Any) -> contextlib.AbstractContextManager:
    strategy = model.distribute_strategy
    for optimizer in optimizers:
        if isinstance(optimizer, keras.optimizers.Optimizer):
            made_in = keras_hooks.optimizer_strategy(optimizer)
            if strategy.num_replicas_in_sync > 1 and made_in is not strategy:
                raise InputError(
                    f"the optimizer {optimizer.name!r} was made outside of strategy.scope() and "
                    "the model inside: make both inside."
                )
    return strategy.scope()


def replica() -> Tensor:
    return _replica_context().replica_id_in_sync_group


def _replica_context() -> tf.distribute.ReplicaContext:
    replica_context = tf.distribute.get_replica_context()
    if replica_context is None:
        raise InputError(
            "under a tf.distribute strategy, call updates through fit or strategy.run."
        )
    return replica_context


def gather(x: Tensor) -> Tensor:
    # Inputs of `fit` have no device yet, and several hosts cannot gather such a tensor.
    gathered = _replica_context().all_gather(tf.identity(x), axis=0)
    rows = x.shape[0]
    gathered.set_shape((None if rows is None else rows * replicas(), *x.shape[1:]))
    return gathered


def devices_of_a_batch() -> int:
    return 1


def shard_rows(x: Tensor, axis: int = 0) -> Tensor:
    return x


def rows_of_all_replicas(rows: Tensor | int) -> Tensor | int:
    count = replicas()
    if count == 1 or isinstance(rows, int):
        return rows * count
    total = _replica_context().all_reduce(tf.distribute.ReduceOp.SUM, rows)
    sentence = "all replicas must have the same number of rows: drop the last, partial batch."
    with tf.control_dependencies([tf.debugging.Assert(total == rows * count, [sentence])]):
        return tf.identity(total)


def mean_over_replicas(results: Any, optimizer: keras.optimizers.Optimizer) -> Any:
    """Average gradients and logs over the replicas before the optimizer sees them.

    Keras sums gradients after clipping and after the check for infinities, both of which must
    give the same result on every replica, so its own sum is disabled.
    """
    if replicas() == 1:
        return results
    keras_hooks.skip_gradient_reduction(optimizer)
    present = [x for x in tf.nest.flatten(results) if x is not None]
    reduced = iter(_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, present))
    filled = [None if x is None else next(reduced) for x in tf.nest.flatten(results)]
    return tf.nest.pack_sequence_as(results, filled)


# --- around it ----------------------------------------------------------------------------


def make_train_function(model: keras.Model, own: Callable[[bool], None], force: bool) -> None:
    """Build the train function: Keras's own on one replica, another one on several.

    Keras's function loses the logs of several hosts, and its loop over `steps_per_execution`
    cannot contain an all-reduce of the replicas.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1 or model.run_eagerly:
        own(force)
        return
    if model.train_function is not None and not force:
        return
    train_step = keras_hooks.convert_optional_inputs(model, model.train_step)

    @tf.function(reduce_retracing=True, autograph=False)
    def step(data: Any) -> dict[str, Tensor]:
        logs = strategy.run(train_step, args=(data,))
        # Logs are the same on all replicas.
        return {name: strategy.experimental_local_results(v)[0] for name, v in logs.items()}

    def train_function(iterator: Iterator) -> dict[str, Tensor]:
        logs = None
        for _ in range(model.steps_per_execution):
            # Outside the graph, which would count a step after the end of the data.
            batch = next(iterator, None)
            if batch is None:
                break
            logs = step(batch)
        if logs is None:
            raise StopIteration
        return logs

    model.train_function = train_function


_on_one_replica: weakref.WeakKeyDictionary[keras.Model, Callable] = weakref.WeakKeyDictionary()


def predict(network: keras.Model, inputs: Any) -> np.ndarray:
    if network.distribute_strategy.num_replicas_in_sync == 1:
        return network.predict_on_batch(inputs)
    # Keras would run the network on each replica and on all hosts at once.
    function = _on_one_replica.get(network)
    if function is None:
        network_of = cast(Callable[[], keras.Model], weakref.ref(network))
        function = tf.function(lambda x: network_of()(x, training=False), reduce_retracing=True)
        _on_one_replica[network] = function
    return function(tf.nest.map_structure(tf.convert_to_tensor, inputs)).numpy()


alone = contextlib.nullcontext


_SHAPE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


def find_cluster() -> Cluster | None:
    text = os.environ.get("TF_CONFIG")
    if not text:
        return None
    try:
        record = json.loads(text)
        if record == {} or not record.get("cluster"):
            return None  # TensorFlow reads this as one process, too
        jobs, task = record["cluster"], record["task"]
        kind, index = task["type"], int(task["index"])
        addresses = [address for job in ("chief", "worker") for address in jobs.get(job, [])]
        process = index + (len(jobs.get("chief", [])) if kind == "worker" else 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"environment variable TF_CONFIG={text!r} is malformed: accepted is {_SHAPE}."
        ) from None
    others = sorted(set(jobs) - {"chief", "worker"})
    if others or kind not in jobs:
        raise InputError(
            f"environment variable TF_CONFIG has a task of type {kind!r} in a cluster of "
            f"{', '.join(map(repr, jobs))}: accepted are 'chief' and 'worker'."
        )
    if not 0 <= index < len(jobs[kind]):
        raise InputError(
            f"environment variable TF_CONFIG has the task {kind} {index}, but the cluster has "
            f"{len(jobs[kind])} of that type."
        )
    for address in addresses:
        check_address(address, "environment variable TF_CONFIG")
    return Cluster(tuple(addresses), process, len(addresses))


def split_cpu(count: int) -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError:
        raise InputError(f"the CPU cannot be split into {count} once TensorFlow runs.") from None


def count_devices() -> tuple[int, str]:
    devices = _devices()
    return len(devices), "GPU" if devices[0].startswith("GPU") else "CPU"


def _devices() -> list[str]:
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_physical_devices(kind)
        if devices:
            break
    # Logical devices cannot be listed before the process group forms: that starts TensorFlow.
    count = sum(
        len(tf.config.get_logical_device_configuration(device) or [None]) for device in devices
    )
    return [f"{kind}:{i}" for i in range(count)]


_LOSSES = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
)
"""Errors by which collectives report that a worker is gone."""


class _TensorFlowProcessGroup(ProcessGroup):
    def __init__(self, cluster: Cluster):
        self.process, self.processes = cluster.process, cluster.processes
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()

        @tf.function(reduce_retracing=True, autograph=False)
        def gather_rows(row: tf.Tensor) -> tf.Tensor:
            rows = self.strategy.run(lambda x: gather(tf.identity(x)), args=(row,))
            return self.strategy.experimental_local_results(rows)[0]

        self._gather_rows = gather_rows

    def _all_gather_array(self, array: np.ndarray) -> np.ndarray:
        # As floats, which both gRPC and NCCL can gather; the integers are below 2**24.
        rows = self._gather_rows(tf.constant(array[None], tf.float32)).numpy()
        replicas_per_process = len(rows) // self.processes
        return rows[::replicas_per_process].astype(np.int32)

    def is_loss(self, error: BaseException) -> bool:
        return isinstance(error, _LOSSES)

    def close(self) -> None:
        self.barrier()


def _wait_for_servers(cluster: Cluster, seconds: float) -> None:
    """Wait until the other workers listen, which they do before they wait for the first one."""
    deadline = time.monotonic() + seconds
    for process in range(1, cluster.processes):
        host, _, port = cluster.addresses[process].rpartition(":")
        while True:
            left = deadline - time.monotonic()
            try:
                socket.create_connection((host.strip("[]"), int(port)), max(left, 0.1)).close()
                break
            except OSError:
                if left <= 0:
                    raise InputError(
                        f"process 0 could not form a process group with {cluster.name(process)} "
                        f"within {seconds:g} seconds: start all {cluster.processes} processes, "
                        "or increase --worker_timeout."
                    ) from None
                time.sleep(0.1)


def _limit_registration(cluster: Cluster, seconds: float) -> None:
    """Bound the time in which the first worker must accept this one; by default it is an hour."""
    # No public function sets this timeout. The strategy keeps a service configured before.
    jobs = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    leader = "chief" if "chief" in jobs else "worker"
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{leader}/replica:0/task:0",
        cluster_register_timeout_in_ms=int(seconds * 1000),
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(name=name, num_tasks=len(jobs[name]))
            for name in ("chief", "worker")
            if name in jobs
        ],
    )


def open_process_group(cluster: Cluster, seconds: float) -> ProcessGroup:
    # TensorFlow holds Python's global lock while it waits, so no timer can interrupt it.
    if cluster.process == 0:
        _wait_for_servers(cluster, seconds)
    else:
        _limit_registration(cluster, seconds)
    with rendezvous(cluster, seconds, tf.errors.OpError, RuntimeError):
        group = _TensorFlowProcessGroup(cluster)
        group.barrier()
    return group


def open_distribution(strategy: str, group: ProcessGroup | None) -> Distribution:
    if isinstance(group, _TensorFlowProcessGroup):
        return _Replicas(group.strategy, group)
    return _Replicas(tf.distribute.MirroredStrategy(_devices()), None)


class _Replicas(Distribution):
    def __init__(self, strategy: tf.distribute.Strategy, group: ProcessGroup | None):
        self.strategy = strategy
        self.replicas = strategy.num_replicas_in_sync
        if group is not None:
            self.processes, self.process = group.processes, group.process

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        with self.strategy.scope():
            yield

    def feed(self, batches: Any, start: int, workers: int, group: int) -> Any:
        rows = self._own_rows(batches.batch_size, group)
        stream = batches.stream(start=start, workers=workers, rows=rows)
        here = self.replicas // self.processes

        def of_each_replica() -> Iterator[tuple]:
            for batch in stream:
                arrays = batch if isinstance(batch, tuple) else (batch,)
                yield from zip(*(np.split(array, here) for array in arrays), strict=True)

        size = batches.batch_size // self.replicas
        signature = tuple(
            tf.TensorSpec((size, *shape), dtype)
            for shape, dtype in zip(batches.shapes, batches.dtypes, strict=True)
        )
        dataset = tf.data.Dataset.from_generator(of_each_replica, output_signature=signature)
        return self.strategy.distribute_datasets_from_function(lambda _: dataset.prefetch(here))
