"""Train the transport map between two point clouds, and the weights of unbalanced transport."""

import sys

import keras
import numpy as np

import uotm_keras as uk
from uotm_keras.objectives import oracles

iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000
batch_size = 256
keras.utils.set_random_seed(0)

# Two clouds, float32 (N, 2), with about unit variance. Scale your own points accordingly, and store
# the scale to undo it.
rng = np.random.default_rng(0)
a, A, b, B = [0.0, 0.0], [[1.0, 0.5], [0.5, 0.8]], [0.8, -0.5], [[0.4, -0.2], [-0.2, 0.6]]
x = rng.multivariate_normal(a, A, 32_768).astype("float32")
y = rng.multivariate_normal(b, B, 32_768).astype("float32")
epochs = max(1, iterations * batch_size // len(x))

# Balanced: all mass of the source is transported to the target.
model = uk.presets.point_cloud(2, iterations=iterations)
model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=2)
moved = model.transport(x[:4096], batch_size=4096)
exact = oracles.gaussian_ot(a, A, b, B)
error = np.mean(np.sum((moved - exact.map(x[:4096])) ** 2, axis=1)) / np.trace(B)
print(f"balanced: the unexplained variance of the map is {100 * error:.3f} %")

# Unbalanced: distant mass may be left out; each point has a weight.
tau = 0.5
model = uk.presets.point_cloud(
    2, tau, source_divergence="kl", target_divergence="kl", iterations=iterations
)
model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=2)
weights = model.source_weights(x, batch_size=4096)  # dπ₀/dμ at each point
exact = oracles.gaussian_kl_uot(a, A, b, B, tau)
print(f"unbalanced: the mass is {weights.mean():.4f} (exact: {exact.mass:.4f})")
mean = np.average(x, axis=0, weights=weights)
print(f"transported mass: mean {np.round(mean, 3)} (exact: {np.round(exact.source_mean, 3)})")
