"""From flags and the environment to how training is spread over devices and processes."""

from uotm_keras.backend.cluster import Cluster, Distribution
from uotm_keras.config.groups import DeviceConfig
from uotm_keras.utils.errors import InputError


def find_cluster(devices: DeviceConfig) -> Cluster | None:
    """The processes of this job, where there are several.

    Raises:
        InputError: the environment is malformed, or says otherwise than --strategy.
    """
    from uotm_keras.backend import distribution

    strategy = devices.strategy
    if devices.virtual_devices > 1:
        distribution.split_cpu(devices.virtual_devices)
    cluster = distribution.find_cluster()
    if cluster is not None and cluster.processes == 1:
        cluster = None
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


def open_distribution(devices: DeviceConfig, cluster: Cluster | None) -> Distribution:
    """Prepares the devices; before a model is made, and after all processes have met.

    Raises:
        InputError: --strategy is not possible here.
    """
    from uotm_keras.backend import distribution

    if cluster is not None:
        return distribution.open_distribution("multiworker", cluster)
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
