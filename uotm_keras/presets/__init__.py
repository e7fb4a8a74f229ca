"""Named configurations, as in `configs/*.flags`, and the weights that come with the package."""

import importlib.resources
import io
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from uotm_keras import networks
from uotm_keras.models.optimizers import Adam
from uotm_keras.objectives import costs, penalties, schedules
from uotm_keras.utils.errors import InputError, unknown_name

__all__ = ["from_preset", "list", "point_cloud"]


class _Preset(NamedTuple):
    description: str
    networks: Callable[[], tuple[keras.Model, keras.Model]]
    tau: float
    gamma: float
    rates: tuple[float, float]
    ema_decay: float
    weights: str | None = None


def _perceptrons(shape: tuple[int, ...], width: int, latent_dim: int):
    generator = networks.ResMLPGenerator(
        shape, latent_dim, width=width, output_activation="tanh"
    )  # fmt: skip
    return generator, networks.ResMLPPotential(shape, width)


def _cifar10():
    shape = (32, 32, 3)
    return networks.NCSNpp(shape), networks.SmallPotential(shape)


def _celeba_hq_256():
    shape = (256, 256, 3)
    generator = networks.NCSNpp(
        shape, base_channels=64, channel_multipliers=(1, 1, 2, 2, 4, 4), mapping_layers=3
    )
    return generator, networks.LargePotential(shape)


_PRESETS = {
    "celeba_hq_256": _Preset(
        "The paper's CelebA-HQ at 256 px; no weights.",
        _celeba_hq_256, 1e-5, 5.0, (2e-4, 1e-4), 0.999,
    ),
    "cifar10": _Preset(
        "The paper's CIFAR-10; no weights.",
        _cifar10, 1e-3, 0.2, (1.6e-4, 1e-4), 0.9999,
    ),
    "digits": _Preset(
        "scikit-learn's 8×8 digits; with the generator that ./run demo trains.",
        lambda: _perceptrons((8, 8, 1), 256, 32), 0.01, 0.2, (1e-3, 5e-4), 0.999, "digits.npz",
    ),
    "mnist5k": _Preset(
        "5 000 MNIST digits at 32×32; no weights.",
        lambda: _perceptrons((32, 32, 1), 512, 64), 0.002, 0.2, (6e-4, 3e-4), 0.999,
    ),
}  # fmt: skip


def list() -> dict[str, str]:
    """The presets' names, and a sentence on each."""
    return {name: preset.description for name, preset in _PRESETS.items()}


def optimality_weight(dim: int, tau: float) -> float:
    """Of `penalties.GradientOptimality` between points: 1/τ, and 2/(τ√dim) beyond 4-D."""
    return min(1.0, 2.0 / math.sqrt(dim)) / tau


def point_cloud(
    dim: int,
    tau: float = 1.0,
    *,
    source_divergence="balanced",
    target_divergence="balanced",
    iterations: int = 20_000,
    width: int = 96,
    latent_dim: int = 0,
    learning_rate: float = 2e-3,
    source: str = "data",
    seed: int = 0,
):
    """A compiled `UOTM` between point clouds.

    A map and a potential of two residual blocks, the map about a learned matrix and the
    potential about a learned quadratic form; four updates of the map to one of the
    potential, `penalties.GradientOptimality` of weight 1/τ (beyond 4-D 2/(τ√dim), since a
    heavier one makes v swing there), learning rates that fall to 0 by a cosine, averaged map.
    The points should have about unit variance. Between Gaussians 8 000 iterations of 256
    points are enough; clouds of many modes need the default number.

    Args:
        dim: of a point, at least 1.
        tau: τ > 0 of the cost τ‖x − y‖².
        source_divergence, target_divergence: of `UOTM`; both balanced: the transport map.
        iterations: for how many batches it is to be trained, at least 1.
        width: of the networks.
        latent_dim: 0 makes a map; more a random one, which can split a point's mass.
        learning_rate: of both players at the start.
        source: "data" is trained by `fit(x, y)`, "gaussian" by `fit(y)`.
        seed: of the training noise; `keras.utils.set_random_seed` fixes the weights.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> model = point_cloud(2, iterations=5_000)
        >>> model.fit(x, y, batch_size=256, epochs=5_000 * 256 // len(x))
        >>> moved = model.transport(x)
    """
    from uotm_keras.models.uotm import UOTM

    for name, value in (("dim", dim), ("iterations", iterations), ("width", width)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise InputError(f"{name}={value!r} must be a whole number of at least 1.")
    if not tau > 0:
        raise InputError(f"tau={tau} must be a positive number.")
    model = UOTM(
        networks.ResMLPGenerator(dim, latent_dim, width, blocks=2, affine=True),
        networks.ResMLPPotential(dim, width, blocks=2, quadratic=True),
        cost=costs.Quadratic(tau),
        source_divergence=source_divergence,
        target_divergence=target_divergence,
        gradient_penalty=penalties.GradientOptimality(optimality_weight(dim, tau)),
        generator_steps=4,
        ema_decay=0.999,
        source=source,
        seed=seed,
    )
    rates = (
        schedules.CosineAnnealing(learning_rate, 0.0, iterations * steps)
        for steps in (model.generator_steps, model.potential_steps)
    )
    model.compile(*map(Adam, rates))
    return model


def from_preset(cls, name: str, load_weights: bool | None = None):
    """A compiled `UOTM` (`cls`) of a preset or of a local file, see `UOTM.from_preset`."""
    name = os.fspath(name)
    if name not in _PRESETS and (name.endswith(".keras") or os.sep in name):
        return _from_file(cls, name)
    if name not in _PRESETS:
        raise unknown_name("preset", name, [*_PRESETS, "the path of a .keras file"])
    preset = _PRESETS[name]
    if load_weights and preset.weights is None:
        raise InputError(
            f"load_weights=True: the preset {name} has no weights in the package; accepted are "
            f"{', '.join(n for n, p in _PRESETS.items() if p.weights)}."
        )
    generator, potential = preset.networks()
    if preset.weights and load_weights is not False:
        generator.set_weights(_packaged_weights(preset.weights))
    model = cls(
        generator,
        potential,
        cost=costs.Quadratic(preset.tau),
        gradient_penalty=penalties.R1(preset.gamma),
        ema_decay=preset.ema_decay,
    )
    model.compile(*map(Adam, preset.rates))
    return model


def _from_file(cls, path: str):
    if not os.path.isfile(path):
        raise InputError(f"no file {path}: accepted are a .keras file and {', '.join(_PRESETS)}.")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:  # Keras raises many kinds for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"cannot load {path} as a .keras file: {reason}.") from error
    if not isinstance(model, cls):
        raise InputError(f"{path} holds a {type(model).__name__}, not a {cls.__name__}.")
    return model


def _packaged_weights(file: str):
    data = importlib.resources.files("uotm_keras").joinpath("weights", file).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return [archive[f"{i:03d}"].astype("float32") for i in range(len(archive.files))]
