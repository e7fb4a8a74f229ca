"""The methods that are compared: `UOTM` with other arguments, everything else alike."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from uotm_keras import UOTM, costs, networks, penalties, schedules
from uotm_keras.errors import unknown_name
from uotm_keras.optimizers import Adam


FAST_STEPS, FAST_RATE, SLOW_RATE = 4, 1e-3, 1e-4
"""One player is to stay near its best answer to the other: it gets more and larger steps."""


class Method(NamedTuple):
    """A method of the family.

    `label` is its name in tables; `arguments` are what it changes, given τ and the number of
    iterations; `fast` is the player with more and larger steps: the generator, of which
    transport wants c(x, T) − v(T) minimal, or the potential, of which WGAN-GP wants the distance.
    """

    label: str
    arguments: Callable[[float, int], dict]
    fast: str = "generator"


def _relaxed(source: str, target: str) -> Callable[[float, int], dict]:
    return lambda tau, iterations: {
        "cost": costs.Quadratic(tau), "source_divergence": source, "target_divergence": target,
    }  # fmt: skip


def _wgan_gp(tau: float, iterations: int) -> dict:
    return _relaxed("balanced", "balanced")(0.0, iterations) | {
        "gradient_penalty": penalties.WassersteinGP(10.0)
    }


def _uotm_sd(tau: float, iterations: int) -> dict:
    # As published for CIFAR-10: α from 0.2 to 5 over the first three quarters.
    until = max(1, iterations * 3 // 4)
    return _relaxed("softplus", "softplus")(tau, iterations) | {
        "divergence_schedule": schedules.LinearAlpha(0.2, 5.0, until)
    }


SETTING = """All methods: the same networks, {iterations} iterations of 4 generator steps and a
potential step (WGAN-GP: the other way round), batches of {batch_size}, Adam(0.5, 0.9) with rates of
1e-3 for the player with more steps and 1e-4 for the other, which fall to 0, R1 with γ = 0.02
(WGAN-GP: its own penalty), averaged generator, {seeds} seeds (means ± standard deviations)."""
METHODS = {
    "wgan_gp": Method("WGAN-GP", _wgan_gp, fast="potential"),
    "otm": Method("OTM", _relaxed("balanced", "balanced")),
    "fixed_mu": Method("fixed-μ", _relaxed("balanced", "kl")),
    "uotm": Method("UOTM", _relaxed("kl", "kl")),
    "uotm_sd": Method("UOTM-SD", _uotm_sd),
}


def build(
    name: str,
    dim: int,
    tau: float,
    iterations: int,
    *,
    width: int,
    latent_dim: int = 2,
    r1: float = 0.02,
    ema_decay: float = 0.999,
    source: str = "data",
    seed: int = 0,
) -> UOTM:
    """A compiled model of one method, with networks whose weights depend on `seed` alone.

    The map starts near the identity. An iteration has `FAST_STEPS` + 1 updates, whatever the
    method; the rates fall to 0 by a cosine. R1 with γ = `r1`, but for WGAN-GP, which has its
    own penalty.

    Raises:
        InputError: no method has this name, or an argument is out of range.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    keras.utils.set_random_seed(seed)
    method = METHODS[name]
    steps = {"generator": 1, "potential": 1} | {method.fast: FAST_STEPS}
    settings = {"gradient_penalty": penalties.R1(r1)} | method.arguments(tau, iterations)
    model = UOTM(
        networks.ResMLPGenerator(dim, latent_dim, width, blocks=2, affine=True),
        networks.ResMLPPotential(dim, width, blocks=2),
        potential_steps=steps["potential"],
        generator_steps=steps["generator"],
        ema_decay=ema_decay,
        source=source,
        seed=seed,
        **settings,
    )
    rates = (
        schedules.CosineAnnealing(
            FAST_RATE if player == method.fast else SLOW_RATE, 0.0, iterations * steps[player]
        )
        for player in ("generator", "potential")
    )
    model.compile(*map(Adam, rates))
    return model
