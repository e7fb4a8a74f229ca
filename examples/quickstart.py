"""Train a generator of digits in a minute: compile, fit, generate and save."""

import sys

import numpy as np
from sklearn.datasets import load_digits

import uotm_keras as uk

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
images = load_digits().images[..., None].astype("float32") / 8.0 - 1.0  # (1797, 8, 8, 1), [−1, 1]

model = uk.UOTM(
    uk.networks.ResMLPGenerator((8, 8, 1), latent_dim=32, width=256, output_activation="tanh"),
    uk.networks.ResMLPPotential((8, 8, 1), width=256),
    cost=uk.costs.Quadratic(tau=0.01),
    ema_decay=0.99,
)
model.compile()
model.fit(images, batch_size=128, epochs=epochs, verbose=2)

samples = model.generate(16, seed=0)  # float32 (16, 8, 8, 1)
np.save("samples.npy", samples)
model.save("quickstart.keras")
print(f"wrote samples.npy {samples.shape} and quickstart.keras")
