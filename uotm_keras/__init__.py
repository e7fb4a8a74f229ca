"""One-step generative models by unbalanced optimal transport, in Keras 3.

import uotm_keras as uk

model = uk.UOTM(uk.networks.NCSNpp((32, 32, 3)), uk.networks.SmallPotential((32, 32, 3)))
model.compile()
model.fit(images, batch_size=64, epochs=10)
samples = model.generate(16, seed=0)
"""

from uotm_keras.utils.environment import backend_fault, quiet_commands
from uotm_keras.utils.errors import InputError
from uotm_keras.version import __version__

if backend_fault() is None:
    with quiet_commands():
        from uotm_keras import data, metrics, networks, presets
        from uotm_keras.models import optimizers
        from uotm_keras.models.sjko import SJKO
        from uotm_keras.models.uotm import UOTM
        from uotm_keras.networks import released as convert
        from uotm_keras.objectives import costs, divergences, penalties, schedules
        from uotm_keras.training import auto, callbacks
else:
    # Commands report the fault in one sentence; any other use of the package raises it here.
    def __getattr__(name: str) -> object:
        raise InputError(backend_fault())


__all__ = [
    "SJKO",
    "UOTM",
    "InputError",
    "__version__",
    "auto",
    "callbacks",
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
