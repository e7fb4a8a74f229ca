"""One-step generative models by unbalanced optimal transport, in Keras 3.

import uotm_keras as uk

model = uk.UOTM(uk.networks.NCSNpp((32, 32, 3)), uk.networks.SmallPotential((32, 32, 3)))
model.compile()
model.fit(images, batch_size=64, epochs=10)
samples = model.generate(16, seed=0)
"""

from uotm_keras import convert, data, metrics, networks, optimizers
from uotm_keras.errors import InputError
from uotm_keras.objective import costs, divergences, penalties, schedules
from uotm_keras.uotm import UOTM
from uotm_keras.version import __version__

__all__ = [
    "UOTM",
    "InputError",
    "__version__",
    "convert",
    "costs",
    "data",
    "divergences",
    "metrics",
    "networks",
    "optimizers",
    "penalties",
    "schedules",
]
