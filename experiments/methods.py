"""The methods that are compared: a model with other arguments, everything else alike."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from uotm_keras import SJKO, UOTM, costs, networks, penalties, schedules
from uotm_keras.models.optimizers import Adam
from uotm_keras.utils.errors import unknown_name


class Method(NamedTuple):
    """A name for tables, and what the method changes.

    `arguments` are a function of τ, the number of iterations and the dimension; `model` is
    the class that takes them.
    """

    label: str
    arguments: Callable[[float, int, int], dict]
    model: type[UOTM] = UOTM


def _relaxed(source: str, target: str) -> Callable[[float, int, int], dict]:
    return lambda tau, iterations, dim: {
        "cost": costs.Quadratic(tau), "source_divergence": source, "target_divergence": target,
    }  # fmt: skip


def _wgan_gp(tau: float, iterations: int, dim: int) -> dict:
    return _relaxed("balanced", "balanced")(0.0, iterations, dim) | {
        "gradient_penalty": penalties.WassersteinGP(10.0)
    }


def _uotm_sd(tau: float, iterations: int, dim: int) -> dict:
    # As published for CIFAR-10: α from 0.2 to 5 over the first three quarters.
    until = max(1, iterations * 3 // 4)
    return _relaxed("softplus", "softplus")(tau, iterations, dim) | {
        "divergence_schedule": schedules.LinearAlpha(0.2, 5.0, until)
    }


PHASES = 5


def sjko(tau: float, iterations: int, dim: int) -> dict:
    """Arguments of S-JKO that make it comparable with the others.

    Five equal phases share the iterations. Its cost is ‖T − T_old‖²/(2·h·dim), so that
    h = 1/(2·τ·dim) gives each phase the others' coefficient, τ.
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
    "sjko": Method("S-JKO", sjko, SJKO),
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
) -> UOTM:
    """A compiled model of one method, with networks whose weights depend on `seed` alone.

    The map starts near the identity: started elsewhere it may leave out a far part of the data
    for no reason of the method's. Adam(0.9, 0.999) as in the papers' toys; rates fall to 0 by
    a cosine.

    Raises:
        InputError: no method has this name, or an argument is out of range.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    keras.utils.set_random_seed(seed)
    method = METHODS[name]
    settings = {"gradient_penalty": None} | method.arguments(tau, iterations, dim)
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
    model.compile(*(Adam(rate, 0.9, 0.999) for rate in rates))
    return model
