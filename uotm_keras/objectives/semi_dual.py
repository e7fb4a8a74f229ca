"""The two losses of the semi-dual, as functions of the networks' current weights."""

from typing import Any

from keras import ops

from uotm_keras import backend
from uotm_keras.networks.layers import statistics_blocks
from uotm_keras.objectives import divergences


class Losses:
    """The part of `UOTM` that is the objective."""

    def transport_map(self, source, latent, training: bool = False):
        """T(x, z) of the trained (not averaged) generator, as a tensor."""
        inputs = source if self.latent_dim is None else [source, latent]
        return self.generator(inputs, training=training)

    def cost_of(self, source, latent, samples):
        """c(x, T(x, z)) of samples made of x and z, float32 (B,)."""
        return self.cost(source, samples)

    def _potential_of(self, samples):
        with statistics_blocks(self._blocks()):
            values = self.potential(samples, training=True)
        values = ops.cast(ops.reshape(values, (-1,)), "float32")
        return divergences.potential_values(self._divergences()[1], values)

    def _divergences(self):
        if self.divergence_schedule is None:
            return self.source_divergence, self.target_divergence
        alpha = self.divergence_schedule(self.step.value)
        return self.source_divergence.scaled(alpha), self.target_divergence.scaled(alpha)

    def potential_loss(
        self, real, source, latent, mixing=None, fake=None, cost=None, table_costs=None
    ) -> tuple[Any, dict[str, Any]]:
        """The potential's loss and its parts, see `update_potential`.

        Args:
            real, source, latent, mixing: as there; a micro-batch of them.
            fake, cost: T(x, z) and c(x, T(x, z)), where they are known already.
            table_costs: the costs of the whole batch, for the table of all pairs; None
                takes those of `source`.
        """
        source_divergence, target_divergence = self._divergences()
        if fake is None:
            fake = backend.without_gradient(
                lambda: self.transport_map(source, latent, training=True)
            )
        penalized, penalty = self.gradient_penalty, ops.zeros((), "float32")
        at = None if penalized is None else penalized.at
        if at == "real":
            # One reverse pass gives ∇v and then both terms' gradients.
            v_real, gradient = backend.value_and_input_gradient(self._potential_of, real)
        else:
            v_real = self._potential_of(real)
        if at == "points":
            points = penalized.points(real, fake, mixing)
            _, gradient = backend.value_and_input_gradient(self._potential_of, points)
        if at == "generated":
            v_fake, gradient = backend.value_and_input_gradient(self._potential_of, fake)
            cost, of_cost = backend.value_and_input_gradient(
                lambda y: self.cost_of(source, latent, y), fake
            )
            gradient = gradient - of_cost
        else:
            v_fake = self._potential_of(fake)
        if cost is None:
            cost = self.cost_of(source, latent, fake)
        if at is not None:
            penalty = penalized.value(gradient)
        if self.pairing == "paired":
            excess = v_fake - cost
        else:
            excess = self._table(v_fake, cost if table_costs is None else table_costs)
        fake_term = ops.mean(source_divergence.conjugate(excess))
        real_term = ops.mean(target_divergence.conjugate(-v_real))
        loss = real_term + fake_term + penalty
        return loss, {
            "loss": loss,
            "real": real_term,
            "fake": fake_term,
            "penalty": penalty,
            "cost": ops.mean(cost),
        }

    def _table(self, v_fake, costs):
        """v(T(xᵢ)) − c(xⱼ) of all pairs within a block: (blocks, rows of v, rows of c)."""
        blocks = self._blocks()
        return ops.reshape(v_fake, (blocks, -1, 1)) - ops.reshape(costs, (blocks, 1, -1))

    def generator_loss(self, source, latent) -> tuple[Any, dict[str, Any]]:
        """The generator's loss and its parts, see `update_generator`."""
        fake = self.transport_map(source, latent, training=True)
        cost = ops.mean(self.cost_of(source, latent, fake))
        potential = ops.mean(self._potential_of(fake))
        loss = cost - potential
        return loss, {"loss": loss, "cost": cost, "potential": potential}
