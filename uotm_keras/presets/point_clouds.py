"""The recommended settings for transport between point clouds."""

import math

from uotm_keras.models.optimizers import Adam
from uotm_keras.models.uotm import UOTM
from uotm_keras.networks import ResMLPGenerator, ResMLPPotential
from uotm_keras.objectives import costs, penalties, schedules
from uotm_keras.objectives.divergences import Divergence
from uotm_keras.utils.errors import InputError


def optimality_weight(dim: int, tau: float) -> float:
    """Return the recommended weight of `penalties.GradientOptimality` between point clouds.

    Args:
        dim: the dimension of a point.
        tau: τ > 0 of the cost τ·‖x − y‖².

    Returns:
        1/τ up to four dimensions, and 2/(τ·√dim) beyond, where a larger weight makes the
        potential oscillate.

    Example:
        >>> optimality_weight(16, tau=0.5)
        1.0
    """
    return min(1.0, 2.0 / math.sqrt(dim)) / tau


def point_cloud(
    dim: int,
    tau: float = 1.0,
    *,
    source_divergence: str | Divergence = "balanced",
    target_divergence: str | Divergence = "balanced",
    iterations: int = 20_000,
    width: int = 96,
    latent_dim: int = 0,
    learning_rate: float = 2e-3,
    source: str = "data",
    seed: int = 0,
) -> UOTM:
    """Return a compiled `UOTM` between point clouds.

    The map and the potential have two residual blocks each. The map adds a learned linear
    map to them, the potential a learned quadratic form. There are four updates of the map
    per update of the potential, the penalty is `penalties.GradientOptimality` of weight
    `optimality_weight(dim, tau)`, and the learning rates decay to 0 by a cosine. The points
    should have about unit variance. Between Gaussians 8 000 iterations with batches of 256
    points are enough; clouds with many modes need the default number.

    Args:
        dim: dimension of a point, at least 1.
        tau: τ > 0 of the cost τ·‖x − y‖². Defaults to 1.
        source_divergence: divergence of the source marginal, as for `UOTM`. With both
            divergences balanced, the default, the model learns the transport map.
        target_divergence: divergence of the target marginal, as for `UOTM`.
        iterations: number of training steps of the learning-rate schedule, at least 1.
        width: width of both networks, at least 1.
        latent_dim: length of the latent vector. 0 learns a deterministic map; a positive
            length a random one, which can split the mass of a point.
        learning_rate: initial learning rate of both networks.
        source: "data" trains with `fit(x, y)`, "gaussian" with `fit(y)`.
        seed: seed for the training noise; `keras.utils.set_random_seed` sets that of the
            initial weights.

    Returns:
        The compiled model.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> model = point_cloud(2, iterations=5_000)
        >>> model.fit(x, y, batch_size=256, epochs=5_000 * 256 // len(x))  # doctest: +SKIP
        >>> moved = model.transport(x)  # doctest: +SKIP
    """
    for name, value in (("dim", dim), ("iterations", iterations), ("width", width)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise InputError(f"{name}={value!r} must be an integer of at least 1.")
    if not tau > 0:
        raise InputError(f"tau={tau} must be a positive number.")
    model = UOTM(
        ResMLPGenerator(dim, latent_dim, width, blocks=2, affine=True),
        ResMLPPotential(dim, width, blocks=2, quadratic=True),
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
