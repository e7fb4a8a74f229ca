"""Define a custom divergence, squared Hellinger, for a one-dimensional mixture.

A divergence is defined by its conjugate Ψ*, which must be convex and non-decreasing with Ψ*(0) = 0
and Ψ*'(0) = 1, and by the derivative of Ψ*, which is the density of the relaxed marginal.
"""

import sys

import keras
import numpy as np
from keras import ops

import uotm_keras as uk


@keras.saving.register_keras_serializable("custom_divergence")
class Hellinger(uk.divergences.Divergence):
    """Squared Hellinger distance, Ψ(r) = (√r − 1)², with a linear extension.

    Its conjugate is s/(1 − s), which diverges at s = 1. Since s can exceed 1 during training, the
    conjugate continues along its tangent from s = ½.
    """

    def conjugate(self, s):
        inside = ops.minimum(s, 0.5)
        return inside / (1.0 - inside) + 4.0 * ops.maximum(s - 0.5, 0.0)

    def conjugate_derivative(self, s):
        return 1.0 / ops.square(1.0 - ops.minimum(s, 0.5))


epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
data = uk.data.get("toy:mixture_1d")  # two thirds at 2 ± ½, one third at −1 ± ½
points = data.take(np.arange(len(data)))  # float32 (4000, 1)

model = uk.UOTM(
    uk.networks.ResMLPGenerator(1, latent_dim=4),
    uk.networks.ResMLPPotential(1),
    cost=uk.costs.Quadratic(tau=0.02),
    source_divergence=Hellinger(),
    target_divergence=Hellinger(),
    ema_decay=0.99,
)
model.compile()
model.fit(points, batch_size=256, epochs=epochs, verbose=2)

samples = model.generate(4000, seed=0)
weights = model.target_weights(points)  # 1 where the marginal of the data is not changed
print(f"right of ½: {np.mean(points > 0.5):.3f} of data, {np.mean(samples > 0.5):.3f} of samples")
print(f"weights of the data: {weights.min():.2f} to {weights.max():.2f}, mean {weights.mean():.3f}")

# Because it is registered, the divergence is saved and loaded with the model.
model.save("custom_divergence.keras")
loaded = keras.saving.load_model("custom_divergence.keras")
print(f"loaded a model with {type(loaded.target_divergence).__name__}")
