"""The methods that the experiments compare; they differ only in arguments of the model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

import uotm_keras as uk
from uotm_keras import costs, networks, penalties, schedules

Arguments = Callable[[float, int, int], dict[str, Any]]
"""A function of τ, the number of iterations and the dimension that returns model arguments."""


class Method(NamedTuple):
    """A method: its name in tables, the arguments of its model, and the model's class."""

    label: str
    arguments: Arguments
    model: type[uk.UOTM] = uk.UOTM


def _relaxed(source: str, target: str) -> Arguments:
    return lambda tau, iterations, dim: {
        "cost": costs.Quadratic(tau), "source_divergence": source, "target_divergence": target,
    }  # fmt: skip


def _wgan_gp(tau: float, iterations: int, dim: int) -> dict[str, Any]:
    return _relaxed("balanced", "balanced")(0.0, iterations, dim) | {
        "gradient_penalty": penalties.WassersteinGP(10.0)
    }


def _uotm_sd(tau: float, iterations: int, dim: int) -> dict[str, Any]:
    # As published for CIFAR-10: α rises from 0.2 to 5 over the first three quarters.
    until = max(1, iterations * 3 // 4)
    return _relaxed("softplus", "softplus")(tau, iterations, dim) | {
        "divergence_schedule": schedules.LinearAlpha(0.2, 5.0, until)
    }


PHASES = 5
"""Number of phases of S-JKO."""


def sjko(tau: float, iterations: int, dim: int) -> dict[str, Any]:
    """Return arguments of S-JKO that make it comparable with the other methods.

    The iterations are divided into five equal phases. The cost of S-JKO is
    ‖T − T_old‖²/(2·h·dim), so that h = 1/(2·τ·dim) gives each phase the cost coefficient τ of the
    other methods.
    """
    return {
        "target_divergence": "kl", "step_size": 1.0 / (2.0 * tau * dim),
        "phase_steps": max(1, iterations // PHASES),
    }  # fmt: skip


METHODS = {
    "wgan_gp": Method("WGAN-GP", _wgan_gp),
    "otm": Method("OTM", _relaxed("balanced", "balanced")),
    "fixed_mu": Method("fixed-μ", _relaxed("balanced", "kl")),
    "uotm": Method("UOTM", _relaxed("kl", "kl")),
    "uotm_sd": Method("UOTM-SD", _uotm_sd),
    "sjko": Method("S-JKO", sjko, uk.SJKO),
}


def build(
    name: str,
    dim: int,
    tau: float,
    iterations: int,
    *,
    width: int,
    latent_dim: int = 2,
    generator_rate: float = 1e-3,
    potential_rate: float = 1e-3,
    potential_steps: int = 1,
    generator_steps: int = 1,
    ema_decay: float = 0.999,
    source: str = "data",
    seed: int = 0,
) -> uk.UOTM:
    """Return a compiled model of one of `METHODS` for points.

    The initial weights depend only on `seed`. The map starts near the identity: another start
    can miss a distant part of the data for reasons that have nothing to do with the method. The
    optimizer is Adam(0.9, 0.999), as in the papers' toy experiments; both learning rates decay to
    0 along a cosine.
    """
    keras.utils.set_random_seed(seed)
    method = METHODS[name]
    settings: dict[str, Any] = {"gradient_penalty": None} | method.arguments(tau, iterations, dim)
    model = method.model(
        networks.ResMLPGenerator(dim, latent_dim, width, blocks=2, affine=True),
        networks.ResMLPPotential(dim, width, blocks=2),
        potential_steps=potential_steps,
        generator_steps=generator_steps,
        ema_decay=ema_decay,
        source=source,
        seed=seed,
        **settings,
    )
    rates = (
        schedules.CosineAnnealing(rate, 0.0, iterations * steps)
        for rate, steps in (
            (generator_rate, generator_steps), (potential_rate, potential_steps),
        )
    )  # fmt: skip
    model.compile(*(uk.optimizers.Adam(rate, 0.9, 0.999) for rate in rates))
    return model
