"""Generators T(x, z) and potentials v(y).

`uotm_keras.UOTM` also accepts any other Keras model with the same inputs and outputs.
"""

from uotm_keras.networks.light import LightGenerator, LightPotential
from uotm_keras.networks.mlp import ResMLPGenerator, ResMLPPotential
from uotm_keras.networks.ncsnpp import NCSNpp
from uotm_keras.networks.potentials import LargePotential, SmallPotential
from uotm_keras.networks.resnet import SmallGenerator, SmallResNetPotential

__all__ = [
    "LargePotential",
    "LightGenerator",
    "LightPotential",
    "NCSNpp",
    "ResMLPGenerator",
    "ResMLPPotential",
    "SmallGenerator",
    "SmallPotential",
    "SmallResNetPotential",
]
