r"""The semi-dual objective of unbalanced optimal transport: both players' losses.

A potential v and a generator T play (UOTM, arXiv 2305.14777, equation 11)

    min_v  E_x[Ψ1*(v(T(x, z)) − c(x, T(x, z)))] + E_y[Ψ2*(−v(y))] + penalty(∇v)
    min_T  E_x[c(x, T(x, z)) − v(T(x, z))]

with x from the source μ, z ~ N(0, I), and y from the data ν. With a condition c, which is
drawn with y and is the same for x, v is v(y | c), T is T(x, z | c), and all expectations are
also over c: transport within each condition.

The released code replaces the first term by the mean of Ψ1*(v(T(xᵢ)) − c(xⱼ, T(xⱼ))) over
all pairs i, j. That is E[Φ(v(T))] with Φ(s) = E_x[Ψ1*(s − c(x, T(x)))], and v is stationary
where q·Φ'(v) = p·Ψ2*'(−v), with q the density of T(x, z), of mass 1, and p that of the data.
The source is therefore not relaxed, and the data are relaxed by the divergence whose
conjugate has the derivative Ψ2*'(s)/Φ'(−s) (docs/reproduction.md).
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from uotm_keras import backend
from uotm_keras.objectives import divergences
from uotm_keras.objectives.divergences import Balanced, Divergence
from uotm_keras.objectives.penalties import GradientPenalty
from uotm_keras.utils.typing import Tensor

PAIRINGS = ("paired", "all_pairs")


class GeneratorBatch(NamedTuple):
    """What one update of the generator sees.

    Attributes:
        source: x, (B, *source_shape).
        latent: z, (B, latent_dim), or `None` for a generator without a latent.
        previous_latent: z' of S-JKO's frozen map, (B, latent_dim); `None` elsewhere.
        source_weight: Weight of each x in μ, (B,); `None` for equal weights.
        condition: c, (B, ...); `None` for unconditional networks.
    """

    source: Tensor
    latent: Tensor | None = None
    previous_latent: Tensor | None = None
    source_weight: Tensor | None = None
    condition: Tensor | None = None


class PotentialBatch(NamedTuple):
    """What one update of the potential sees.

    Attributes:
        real: y, (B, *data_shape).
        source, latent, previous_latent, source_weight, condition: As in `GeneratorBatch`; c is
            that of y too.
        real_weight: Weight of each y in ν, (B,); `None` for equal weights.
        mixing: U(0, 1) of shape (B, 1, ...) for penalties between real and generated
            points, or `None`.
        generated: T(x, z) if it is already known, (B, *data_shape); otherwise `None`.
        cost: c(x, T(x, z)) if it is already known, (B,); otherwise `None`.
    """

    real: Tensor
    source: Tensor
    latent: Tensor | None = None
    previous_latent: Tensor | None = None
    source_weight: Tensor | None = None
    condition: Tensor | None = None
    real_weight: Tensor | None = None
    mixing: Tensor | None = None
    generated: Tensor | None = None
    cost: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class SemiDual:
    """The two losses, as pure functions of v, T, and a batch.

    Args:
        cost: c(x, y), a callable of two batches that returns (B,).
        source_divergence: Ψ1, which relaxes the source marginal.
        target_divergence: Ψ2, which relaxes the data marginal.
        gradient_penalty: Penalty on ∇v, or `None`. Defaults to `None`.
        pairing: `"paired"` evaluates Ψ1* at v(T(xᵢ)) − c(xᵢ, T(xᵢ)), as in the paper;
            `"all_pairs"` at the table of all v(T(xᵢ)) − c(xⱼ, T(xⱼ)), as the released code
            does, which keeps the source marginal. Defaults to `"paired"`.
        source_points: The point x of the source that belongs to T's first input, for a
            source that is not the input itself. Defaults to the identity.
    """

    cost: Callable[[Tensor, Tensor], Tensor]
    source_divergence: Divergence
    target_divergence: Divergence
    gradient_penalty: GradientPenalty | None = None
    pairing: str = "paired"
    source_points: Callable[[Tensor], Tensor] = lambda source: source

    def scaled(self, alpha: Tensor) -> "SemiDual":
        """Return the objective with both divergences α·Ψ (UOTM-SD, arXiv 2310.02611)."""
        return dataclasses.replace(
            self,
            source_divergence=self.source_divergence.scaled(alpha),
            target_divergence=self.target_divergence.scaled(alpha),
        )

    def cost_of(self, batch: PotentialBatch | GeneratorBatch, generated: Tensor) -> Tensor:
        """Return c(x, T(x, z)) of the generated samples of a batch, float32 (B,)."""
        return self.cost(self.source_points(batch.source), generated)

    def admissible(self, values: Tensor) -> Tensor:
        """Return the potential v for the network's values; see `divergences.potential_values`."""
        return divergences.potential_values(self.target_divergence, values)

    @property
    def weights_need_costs(self) -> bool:
        """Whether `target_density` needs the costs of a sample of the source."""
        return self.pairing == "all_pairs" and not isinstance(self.source_divergence, Balanced)

    @property
    def relaxes_data(self) -> bool:
        """Whether `target_density` can differ from 1."""
        return self.weights_need_costs or not isinstance(self.target_divergence, Balanced)

    def source_density(self, potential: Tensor, cost: Tensor) -> Tensor:
        """Return dπ₀/dμ at x, (B,).

        Args:
            potential: v(T(x, z)), (B,).
            cost: c(x, T(x, z)), (B,).
        """
        if self.pairing == "all_pairs":
            return ops.ones_like(potential)
        return self.source_divergence.conjugate_derivative(potential - cost)

    def target_density(
        self, potential: Tensor, costs: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Return dπ₁/dν at y: Ψ2*'(−v(y)), divided by Φ'(v(y)) for `"all_pairs"`.

        Args:
            potential: v(y), (..., B).
            costs: c(x, T(x, z)) of a sample of the source, (..., n), if
                `weights_need_costs`. Defaults to `None`.
            weights: Weight of each x in μ, (..., n). Defaults to equal weights.
        """
        density = self.target_divergence.conjugate_derivative(-potential)
        if not self.weights_need_costs:
            return density
        table = ops.expand_dims(potential, -1) - ops.expand_dims(costs, -2)
        slopes = self.source_divergence.conjugate_derivative(table)
        if weights is not None:
            slopes = slopes * ops.expand_dims(weights, -2)
        # χ²'s slope can be 0 before v is optimal.
        return density / ops.maximum(ops.mean(slopes, axis=-1), 1e-30)

    @property
    def needs_mixing(self) -> bool:
        """Whether `potential_loss` needs `PotentialBatch.mixing`."""
        return self.gradient_penalty is not None and self.gradient_penalty.at == "points"

    def potential_loss(
        self,
        v: Callable[..., Tensor],
        transport: Callable[..., Tensor],
        batch: PotentialBatch,
        *,
        table_costs: Tensor | None = None,
        table_weights: Tensor | None = None,
        blocks: int = 1,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the potential's loss, E_x[Ψ1*(v(T) − c)] + E_y[Ψ2*(−v(y))] + penalty.

        Args:
            v: The potential network, from (B, *data_shape) to float32 (B,); called as
                `v(samples, condition)` if the batch has a condition.
            transport: T, called as `transport(source, latent)`, or with the condition as a third
                argument. It gets no gradient.
            batch: The batch.
            table_costs: Costs of the whole batch for `"all_pairs"`, where `batch` is only
                a part of it. Defaults to the costs of `batch`.
            table_weights: Likewise, the weights of the whole batch's x, if they have any.
            blocks: Equal blocks of neighboring rows, each with a table of its own.
                Defaults to 1.

        Returns:
            The loss, and a dictionary of float32 scalars: `loss` = `real` + `fake` +
            `penalty`, where `real` is mean Ψ2*(−v(y)) and `fake` is mean Ψ1*(v(T) − c);
            `cost`, the mean transport cost; and `source_mass` and `target_mass`, the means
            of `source_density` and `target_density`, which are equal at the optimum.
        """
        generated = batch.generated
        if generated is None:
            moved_by = conditioned(transport, batch.condition)
            generated = backend.without_gradient(lambda: moved_by(batch.source, batch.latent))
        v_real, v_generated, cost, penalty = self._evaluate(v, transport, batch, generated, blocks)

        psi_1, psi_2, weight = self.source_divergence, self.target_divergence, batch.source_weight
        if self.pairing == "all_pairs":
            costs, weights = (cost, weight) if table_costs is None else (table_costs, table_weights)
            moved, costs, given, weights = (
                None if x is None else ops.reshape(x, (blocks, -1))
                for x in (v_generated, costs, v_real, weights)
            )
            table = psi_1.conjugate(ops.expand_dims(moved, 2) - ops.expand_dims(costs, 1))
            if weight is not None:
                rows = ops.reshape(weight, (blocks, -1, 1))
                table = table * rows * ops.expand_dims(weights, 1)
            fake = ops.mean(table)
            density = ops.reshape(self.target_density(given, costs, weights), (-1,))
        else:
            fake = mean(psi_1.conjugate(v_generated - cost), weight)
            density = self.target_density(v_real)
        real = mean(psi_2.conjugate(-v_real), batch.real_weight)
        loss = real + fake + penalty
        return loss, {
            "loss": loss,
            "real": real,
            "fake": fake,
            "penalty": penalty,
            "cost": mean(cost, weight),
            "source_mass": mean(self.source_density(v_generated, cost), weight),
            "target_mass": mean(density, batch.real_weight),
        }

    def generator_loss(
        self,
        v: Callable[..., Tensor],
        transport: Callable[..., Tensor],
        batch: GeneratorBatch,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the generator's loss, E_x[c(x, T(x, z)) − v(T(x, z))].

        Args:
            v, transport: As in `potential_loss`.
            batch: The batch.

        Returns:
            The loss, and a dictionary of float32 scalars: `loss` = `cost` − `potential`.
        """
        v, transport = conditioned(v, batch.condition), conditioned(transport, batch.condition)
        generated = transport(batch.source, batch.latent)
        cost = mean(self.cost_of(batch, generated), batch.source_weight)
        values = divergences.generator_values(self.target_divergence, v(generated))
        potential = mean(values, batch.source_weight)
        loss = cost - potential
        return loss, {"loss": loss, "cost": cost, "potential": potential}

    def _evaluate(
        self,
        v: Callable[..., Tensor],
        transport: Callable[..., Tensor],
        batch: PotentialBatch,
        generated: Tensor,
        blocks: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return v(y), v(T), c, and the penalty, with as few passes as the penalty allows."""
        condition = batch.condition
        transport = conditioned(transport, condition)

        def potential(samples: Tensor) -> Tensor:
            return self.admissible(conditioned(v, condition)(samples))

        penalty, cost = self.gradient_penalty, batch.cost
        if penalty is None:
            cost = self.cost_of(batch, generated) if cost is None else cost
            return potential(batch.real), potential(generated), cost, ops.zeros((), "float32")
        if penalty.at == "real" and penalty.fraction == 1.0:
            # One reverse pass gives ∇v(y) and then the gradients of both terms.
            v_real, gradient = backend.value_and_input_gradient(potential, batch.real)
        else:
            v_real = potential(batch.real)
        if penalty.at == "real" and penalty.fraction < 1.0:
            some = first_rows(batch.real, penalty.fraction, blocks)
            theirs = None if condition is None else first_rows(condition, penalty.fraction, blocks)
            _, gradient = backend.value_and_input_gradient(
                lambda samples: self.admissible(conditioned(v, theirs)(samples)), some
            )
        if penalty.at == "points":
            points = penalty.points(batch.real, generated, batch.mixing)
            _, gradient = backend.value_and_input_gradient(potential, points)
        if penalty.at == "source":
            # T is called again, so that the gradient reaches x through it.
            v_generated, gradient = backend.value_and_input_gradient(
                lambda source: potential(transport(source, batch.latent)), batch.source
            )
        elif penalty.at == "generated":
            v_generated, gradient = backend.value_and_input_gradient(potential, generated)
            cost, of_cost = backend.value_and_input_gradient(
                lambda samples: self.cost_of(batch, samples), generated
            )
            gradient = gradient - of_cost
        else:
            v_generated = potential(generated)
        if cost is None:
            cost = self.cost_of(batch, generated)
        return v_real, v_generated, cost, penalty.value(gradient)


def conditioned(function: Callable[..., Tensor], condition: Tensor | None) -> Callable[..., Tensor]:
    """Return v(· | c) or T(·, · | c); the function itself if there is no condition."""
    return function if condition is None else lambda *inputs: function(*inputs, condition)


def mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of `values`, each multiplied by its weight if there are weights."""
    return ops.mean(values if weight is None else weight * values)


def first_rows(batch: Tensor, fraction: float, blocks: int = 1) -> Tensor:
    """Return the first rows of each of `blocks` equal parts, at least one of each."""
    rows = batch.shape[0]
    if rows is None:
        rows = ops.shape(batch)[0]
        kept = ops.maximum(1, ops.cast(ops.cast(rows // blocks, "float32") * fraction, "int32"))
    else:
        kept = max(1, int(rows // blocks * fraction))
    if blocks == 1:
        return batch[:kept]
    shape = batch.shape[1:]
    return ops.reshape(ops.reshape(batch, (blocks, -1, *shape))[:, :kept], (-1, *shape))
