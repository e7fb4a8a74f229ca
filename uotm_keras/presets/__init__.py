"""Recommended settings by name: `UOTM.from_preset(name)`, and those for point clouds.

A preset is a shipped config, `configs/NAME.flags`: its networks, objective, optimizers and
average, without its data and its run. The generator of `digits` comes with trained weights.
"""

from uotm_keras.config import catalog
from uotm_keras.presets.point_clouds import optimality_weight, point_cloud

__all__ = ["list", "optimality_weight", "point_cloud"]


def list() -> dict[str, str]:
    """Return the names of the presets, with one sentence about each.

    Example:
        >>> "digits" in list()
        True
    """
    return {name: catalog.description(name) for name in catalog.names()}
