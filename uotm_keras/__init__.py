"""One-step generative models by unbalanced optimal transport, in Keras 3.

import uotm_keras as uk

model = uk.UOTM(uk.networks.NCSNpp((32, 32, 3)), uk.networks.SmallPotential((32, 32, 3)))
model.compile()
model.fit(images, batch_size=64, epochs=10)
samples = model.generate(16, seed=0)
"""

from uotm_keras.environment import backend_fault, quiet_commands
from uotm_keras.errors import InputError
from uotm_keras.version import __version__

if backend_fault() is None:
    with quiet_commands():
        from uotm_keras import convert, data, metrics, networks, optimizers, presets
        from uotm_keras.objective import costs, divergences, penalties, schedules
        from uotm_keras.sjko import SJKO
        from uotm_keras.uotm import UOTM
else:
    # The commands must come far enough to say it in one sentence; anybody else gets it here.
    def __getattr__(name: str):
        raise InputError(backend_fault())


__all__ = [
    "SJKO",
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
    "presets",
    "schedules",
]
