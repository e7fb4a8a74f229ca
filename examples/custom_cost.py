"""Define custom costs: L1 over pixels, and the distance in features of a small frozen network.

Digits are transported to inverted digits, without pairs. In pixels, black and white are far apart
whatever the digit. The network has learned to classify digits of both kinds; in its features, a
digit is close to inverted digits of the same class.
"""

import sys

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits
from sklearn.svm import SVC

import uotm_keras as uk


@keras.saving.register_keras_serializable("custom_cost")
class L1:
    """The cost c(x, y) = τ·Σ|x − y| over all pixels."""

    def __init__(self, tau: float):
        self.tau = tau

    def __call__(self, source, target):
        """Return float32 costs of shape (B,) for `source` and `target` of shape (B, ...)."""
        difference = ops.cast(source, "float32") - ops.cast(target, "float32")
        return self.tau * ops.sum(ops.abs(difference), axis=tuple(range(1, len(source.shape))))

    def get_config(self) -> dict:
        return {"tau": self.tau}


@keras.saving.register_keras_serializable("custom_cost")
class FeatureCost:
    """The cost c(x, y) = τ·‖f(x) − f(y)‖² with the features f of a frozen network.

    This is a plain object and not a layer, so that the model neither trains nor saves the weights
    of the network. They are part of the configuration instead, which is appropriate for a small
    network. For a large one, store its name there and load it in `from_config`.
    """

    def __init__(self, network: keras.Model, tau: float):
        self.network, self.tau = network, tau
        self.network.trainable = False

    def __call__(self, source, target):
        difference = self.network(source, training=False) - self.network(target, training=False)
        return self.tau * ops.sum(ops.square(ops.cast(difference, "float32")), axis=-1)

    def get_config(self) -> dict:
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "weights": [weights.tolist() for weights in self.network.get_weights()],
            "tau": self.tau,
        }

    @classmethod
    def from_config(cls, config: dict) -> "FeatureCost":
        network = keras.saving.deserialize_keras_object(config["network"])
        network.set_weights([np.array(weights, "float32") for weights in config["weights"]])
        return cls(network, config["tau"])


def train_features(images: np.ndarray, labels: np.ndarray, epochs: int) -> keras.Model:
    """Return a network of 32 features from which the class of an image can be predicted."""
    inputs = keras.Input(images.shape[1:])
    x = layers.Conv2D(16, 3, activation="relu", data_format="channels_last")(inputs)
    x = layers.Conv2D(32, 3, activation="relu", data_format="channels_last")(x)
    features = layers.Dense(32, activation="tanh")(layers.Flatten()(x))
    classifier = keras.Model(inputs, layers.Dense(10)(features))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(2e-3), loss)
    classifier.fit(images, labels, batch_size=128, epochs=epochs, verbose=0)
    return keras.Model(inputs, features)


epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
keras.utils.set_random_seed(0)
data, inverted = uk.data.get("digits"), uk.data.get("digits:inverted")
order = np.random.default_rng(0).permutation(len(data))  # no digit is paired with its inverse
x, y = data.take(np.arange(len(data))), inverted.take(order)  # float32 (1797, 8, 8, 1)

labels = load_digits().target
# Classifies inverted digits, independently of the features.
judge = SVC().fit(y.reshape(len(y), -1), labels[order])
features = train_features(
    np.concatenate([x, y]), np.concatenate([labels, labels[order]]), max(1, epochs // 5)
)

for name, cost in (("L1", L1(tau=0.01)), ("feature", FeatureCost(features, tau=0.1))):
    model = uk.UOTM(
        uk.networks.ResMLPGenerator((8, 8, 1), latent_dim=0, width=256, output_activation="tanh"),
        uk.networks.ResMLPPotential((8, 8, 1), width=256),
        cost=cost,
        ema_decay=0.99,
        source="data",
    )
    model.compile(uk.optimizers.Adam(5e-4), uk.optimizers.Adam(2.5e-4))
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)
    moved = model.transport(x, batch_size=1797)
    pixels, distance = (
        ops.convert_to_numpy(each(x, moved)).mean()
        for each in (L1(1.0), FeatureCost(features, 1.0))
    )
    kept = np.mean(judge.predict(moved.reshape(len(x), -1)) == labels)
    print(
        f"{name} cost: mean Σ|x − T(x)| {pixels:.1f}, mean ‖f(x) − f(T(x))‖² {distance:.2f}, "
        f"class preserved {kept:.1%}"
    )

# Because it is registered, the cost is saved and loaded with the model, including its network.
model.save("custom_cost.keras")
loaded = keras.saving.load_model("custom_cost.keras")
costs = [ops.convert_to_numpy(each.cost(x, moved)) for each in (model, loaded)]
same = np.allclose(*costs, rtol=1e-4, atol=1e-5)
print(f"loaded a model with {type(loaded.cost).__name__}; equal costs: {same}")
