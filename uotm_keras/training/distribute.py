"""Choose the devices and processes that train together, from the flags and the environment."""

from uotm_keras.backend.cluster import Cluster, Distribution
from uotm_keras.backend.process_group import ProcessGroup
from uotm_keras.config.groups import DeviceConfig
from uotm_keras.utils.errors import InputError


def find_cluster(devices: DeviceConfig) -> Cluster | None:
    """Return the processes of this job, or None if there is only one.

    Raises:
        InputError: If the environment is malformed or contradicts --strategy.
    """
    from uotm_keras.backend import distribution

    strategy = devices.strategy
    if devices.virtual_devices > 1:
        distribution.split_cpu(devices.virtual_devices)
    cluster = distribution.find_cluster()
    if cluster is not None and strategy in ("none", "mirrored"):
        raise InputError(
            f"flag --strategy={strategy}, but the environment names {cluster.processes} "
            "processes: accepted are auto and multiworker."
        )
    if cluster is None and strategy == "multiworker":
        raise InputError(
            "flag --strategy=multiworker needs several processes: "
            f"{distribution.HOW_TO_START_SEVERAL}."
        )
    return cluster


def open_process_group(cluster: Cluster | None, devices: DeviceConfig) -> ProcessGroup:
    """Form the process group; a process missing after --worker_timeout ends this one."""
    from uotm_keras import backend

    if cluster is None:
        return ProcessGroup()
    backend.prepare_command(devices.deterministic)  # before the engine starts
    return backend.distribution.open_process_group(cluster, devices.worker_timeout)


def open_distribution(devices: DeviceConfig, group: ProcessGroup) -> Distribution:
    """Prepare the devices, before a model is built.

    Raises:
        InputError: If --strategy is not possible on these devices.
    """
    from uotm_keras.backend import distribution

    if group.processes > 1:
        return distribution.open_distribution("multiworker", group)
    strategy = devices.strategy
    if strategy == "none":
        return Distribution()
    count, kind = distribution.count_devices()
    if devices.virtual_devices > 1 and kind != "CPU":
        raise InputError(
            f"flag --virtual_devices={devices.virtual_devices} is for machines without GPUs: "
            "accepted is 1."
        )
    if count > 1:
        return distribution.open_distribution("mirrored", None)
    if strategy == "mirrored":
        raise InputError(
            f"flag --strategy=mirrored needs several devices, and there is one {kind} here: "
            "accepted is none, or --virtual_devices=2 to try it out."
        )
    return Distribution()
