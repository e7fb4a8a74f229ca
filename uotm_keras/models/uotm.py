"""The UOTM model: a potential and a generator, trained against each other by `fit`.

Choi, Choi, Kang: "Generative Modeling through the Semi-dual Formulation of Unbalanced
Optimal Transport", NeurIPS 2023, arXiv 2305.14777.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

from uotm_keras import backend
from uotm_keras.backend import keras_hooks
from uotm_keras.backend.partition import ROW_ORDERS, STATISTICS, statistics_blocks
from uotm_keras.models.checks import (
    check_choice,
    check_compile,
    check_count,
    check_objective,
    check_pairing,
    check_trainable,
)  # fmt: skip
from uotm_keras.models.conditions import require_condition
from uotm_keras.models.inputs import as_batches, check_fit, conditions_in, in_order
from uotm_keras.models.optimizers import Adam, OptimizerPair, with_loss_scale
from uotm_keras.models.regularization import with_regularization
from uotm_keras.models.transport_model import TransportModel
from uotm_keras.objectives import costs, divergences, penalties
from uotm_keras.objectives.semi_dual import PAIRINGS, GeneratorBatch, PotentialBatch, SemiDual
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

Record = TypeVar("Record", GeneratorBatch, PotentialBatch)

SOURCES = ("auto", "gaussian", "fitted", "data")


@keras.saving.register_keras_serializable("uotm_keras")
class UOTM(TransportModel):
    r"""Unbalanced optimal transport from a source μ to the data ν, by the semi-dual.

    A potential v and a generator T are trained against each other (UOTM, equation 11):

        min_v  E_x[Ψ1*(v(T(x, z)) − c(x, T(x, z)))] + E_y[Ψ2*(−v(y))] + penalty(∇v)
        min_T  E_x[c(x, T(x, z)) − v(T(x, z))]

    with x from μ, z ~ N(0, I), and y from the data. If the networks have an input named
    `"condition"`, they are T(x, z | c) and v(y | c), c is drawn with the data, and the
    problem is solved within each condition; see docs/conditional.md. With both divergences
    `"balanced"` this is the OTM baseline; with τ = 0 in addition, WGAN with the chosen penalty;
    with only the source balanced, the semi-relaxed "fixed-μ" problem.

    Args:
        generator: T, a built Keras model called as `generator([x, z])`, or as
            `generator(x)` if it has no latent. T(x, z) has the shape of the data, and so
            has x unless the cost accepts another shape.
        potential: v, a built Keras model that returns (B, 1).
        cost: c(x, y), a callable that returns (B,). Defaults to `costs.Quadratic(1e-3)`.
        source_divergence: Ψ1, a name (`"kl"`, `"chi2"`, `"softplus"`, `"softplus_plain"`,
            `"balanced"`) or a `divergences.Divergence`. Defaults to `"kl"`.
        target_divergence: Ψ2, likewise, or `"jsd"` or `"jsd_logits"`. Defaults to `"kl"`.
        gradient_penalty: A `penalties.GradientPenalty`, or `None`. Defaults to
            `penalties.R1(0.2)`.
        pairing: `"paired"` evaluates Ψ1* at each v(T(xᵢ)) − c(xᵢ, T(xᵢ)), as in the paper;
            `"all_pairs"` at the table of all v(T(xᵢ)) − c(xⱼ, T(xⱼ)), as the released code
            does, which does not relax the source marginal: with KL divergences it solves
            fixed-μ with ½·KL. Defaults to `"paired"`.
        potential_steps: Updates of the potential per step, with fresh noise and the same
            batch of data. Defaults to 1.
        generator_steps: Updates of the generator per step, likewise. Defaults to 1.
        ema_decay: Decay rate of the generator's exponential moving average, in [0, 1).
            Samples come from the average. Defaults to 0.9999.
        divergence_schedule: α as a function of the step (UOTM-SD), a
            `schedules.AlphaSchedule` or a callable; `None` leaves α = 1. Defaults to `None`.
        source: `"gaussian"` draws x ~ N(0, I). `"fitted"` takes x = m + s·ξ with the mean m
            and the deviation s of the data, which `fit` estimates before the first step, and
            gives ξ ~ N(0, I) to the generator; see docs/theory. `"data"` takes pairs (x, y) of
            batches in `fit`; `"auto"` takes pairs if both have the networks' shapes, and
            otherwise N(0, I). Defaults to `"auto"`.
        batch_statistics: Over what the minibatch standard deviation and the table of all
            pairs are taken: `"global"`, the whole batch, so that any number of devices
            gives what one does; `"replica"`, each device's share, as in the released code.
            Defaults to `"global"`.
        seed: Seed for the training noise (int, 0 to 2**63 − 1). Defaults to 0.

    Raises:
        InputError: If an argument is out of range, or the networks do not fit together.

    Example:

    >>> model = uk.UOTM(
    ...     uk.networks.ResMLPGenerator((8, 8, 1), 8, output_activation="tanh"),
    ...     uk.networks.ResMLPPotential((8, 8, 1)),
    ... )
    >>> model.compile()
    >>> images = uk.data.get("digits")  # or a float32 array (n, 8, 8, 1) in [-1, 1]
    >>> history = model.fit(images, batch_size=256, epochs=1, verbose=0)
    >>> model.generate(16, seed=0).shape
    (16, 8, 8, 1)

    Reference:
        [Choi et al., 2023](https://arxiv.org/abs/2305.14777)
    """

    def __init__(
        self,
        generator: keras.Model,
        potential: keras.Model,
        *,
        cost: Callable[[Tensor, Tensor], Tensor] | None = None,
        source_divergence: str | divergences.Divergence = "kl",
        target_divergence: str | divergences.Divergence = "kl",
        gradient_penalty: penalties.GradientPenalty | None = penalties.R1(0.2),  # noqa: B008
        pairing: str = "paired",
        potential_steps: int = 1,
        generator_steps: int = 1,
        ema_decay: float = 0.9999,
        divergence_schedule: Callable[[Tensor], Tensor] | None = None,
        source: str = "auto",
        batch_statistics: str = "global",
        seed: int = 0,
        **kwargs: Any,
    ):
        check_choice("pairing", pairing, PAIRINGS)
        check_choice("source", source, SOURCES)
        check_choice("batch_statistics", batch_statistics, STATISTICS)
        check_objective(cost, gradient_penalty)
        check_pairing(pairing, generator)
        super().__init__(
            generator,
            potential,
            SemiDual(
                costs.Quadratic() if cost is None else cost,
                divergences.get(source_divergence),
                divergences.get(target_divergence),
                gradient_penalty,
                pairing,
            ),
            source=source,
            batch_statistics=batch_statistics,
            divergence_schedule=divergence_schedule,
            ema_decay=ema_decay,
            seed=seed,
            **kwargs,
        )
        self.potential_steps = check_count("potential_steps", potential_steps)
        self.generator_steps = check_count("generator_steps", generator_steps)
        self.compile_gradients = False

    # --- One training step ---------------------------------------------------------------

    def train_step(self, *args: Any) -> Any:
        """Run one step of the two-player game; called by `fit`.

        The arguments are the backend's: `(data)` on TensorFlow and PyTorch, `(state, data)`
        on JAX.
        """
        return backend.train_step(self, self._iterate, *args)

    def _iterate(self, data: Any) -> dict[str, Tensor]:
        batch = self._take(data)
        for _ in range(self.potential_steps):
            drawn = self._draw(batch, self.noise_seed)
            potential_logs = self._update_potential(
                PotentialBatch(batch.real, *drawn, real_weight=batch.real_weight)
            )
        for _ in range(self.generator_steps):
            generator_logs = self._update_generator(self._draw(batch, self.noise_seed))
        self.step.assign_add(1)
        skipped = potential_logs["skipped"] + generator_logs["skipped"]
        return self._track(potential_logs, generator_logs, skipped_updates=skipped)

    # --- The two updates -----------------------------------------------------------------

    def update_potential(
        self, real: Tensor, source: Tensor, latent: Tensor | None = None,
        mixing: Tensor | None = None, *, condition: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Take one optimizer step of the potential, on the given noise.

        Args:
            real: y, (B, *data_shape).
            source: x, (B, *source_shape).
            latent: z, (B, latent_dim), or `None` for a generator without a latent.
            mixing: U(0, 1) of shape (B, 1, ...), for a penalty between real and generated
                points. Defaults to `None`, which draws it.
            condition: c of y and x, (B, ...), for conditional networks. Defaults to `None`.

        Returns:
            Scalars: see `SemiDual.potential_loss`; and `skipped`, 1 if a gradient was not
            finite, so that the update was skipped, and 0 otherwise.
        """
        return self._update_potential(
            PotentialBatch(real, source, latent, condition=condition, mixing=mixing)
        )

    def _update_potential(self, batch: PotentialBatch) -> dict[str, Tensor]:
        self._require_compiled()
        if batch.mixing is None and self.objective.needs_mixing:
            shape = (self.partition.whole_batch_rows(batch.real), *[1] * len(self.data_shape))
            mixing = self.partition.own_rows(backend.uniform(shape, self.noise_seed))
            batch = batch._replace(mixing=mixing)
        batch = self.partition.split(self._tensors(batch))
        table: dict[str, Tensor | None] = {}
        if self.objective.pairing == "all_pairs" and not self.partition.sees_whole_batch:
            batch, table = self._with_costs_of_whole_batch(batch)
        return backend.minimize(
            self,
            lambda batch: with_regularization(
                self.potential,
                *self.objective_at_step().potential_loss(
                    self._potential, self._transport, batch,
                    blocks=self.partition.blocks, **table,
                ),
            ),
            batch,
            self.potential.trainable_variables,
            self.potential_optimizer,
            self.partition.micro_batches,
        )  # fmt: skip

    def _with_costs_of_whole_batch(
        self, batch: PotentialBatch
    ) -> tuple[PotentialBatch, dict[str, Tensor | None]]:
        """Compute T and c first: the potential's loss has no gradient through them."""

        def move(batch: PotentialBatch) -> tuple[Tensor, Tensor]:
            generated = self._transport(batch.source, batch.latent, batch.condition)
            return generated, self.objective.cost_of(batch, generated)

        generated, cost = backend.map_micro_batches(self, move, batch, self.partition.micro_batches)
        weight, gather = batch.source_weight, self.partition.gather
        table = {
            "table_costs": gather(cost),
            "table_weights": None if weight is None else gather(weight),
        }
        return batch._replace(generated=generated, cost=cost), table

    def update_generator(
        self, source: Tensor, latent: Tensor | None = None, *, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Take one optimizer step of the generator and update its average, on the given noise.

        Args:
            source: x, (B, *source_shape).
            latent: z, (B, latent_dim), or `None` for a generator without a latent.
            condition: c, (B, ...), for conditional networks. Defaults to `None`.

        Returns:
            Scalars: `loss` = `cost` − `potential`, their means over the batch; and
            `skipped`, as in `update_potential`.
        """
        return self._update_generator(GeneratorBatch(source, latent, condition=condition))

    def _update_generator(self, batch: GeneratorBatch) -> dict[str, Tensor]:
        self._require_compiled()
        logs = backend.minimize(
            self,
            lambda batch: with_regularization(
                self.generator,
                *self.objective_at_step().generator_loss(self._potential, self._transport, batch),
            ),
            self.partition.split(self._tensors(batch)),
            self.generator.trainable_variables,
            self.generator_optimizer,
            self.partition.micro_batches,
        )
        backend.update_ema(self.ema_generator.weights, self.generator.weights, self.ema_decay)
        return logs

    def _tensors(self, batch: Record) -> Record:
        """Return a record of tensors: float32, except the condition."""
        spec, condition = self.shapes.condition, batch.condition
        require_condition(spec, condition)
        tensors = type(batch)(*map(_tensor, batch._replace(condition=None)))
        if spec is None:
            return tensors
        return tensors._replace(condition=spec.tensor(ops.convert_to_tensor(condition)))

    def _transport(
        self, source: Tensor, latent: Tensor | None, condition: Tensor | None = None
    ) -> Tensor:
        """T(x, z | c) of the trained (not averaged) generator."""
        return self.generator(self.shapes.inputs(source, latent, condition), training=True)

    def _potential(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        """The potential network's values, float32 (B,)."""
        inputs = samples if condition is None else [samples, condition]
        with statistics_blocks(self.partition.blocks):
            values = self.potential(inputs, training=True)
        return ops.cast(ops.reshape(values, (-1,)), "float32")

    # --- compile and fit -----------------------------------------------------------------

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer | str | None = None,
        potential_optimizer: keras.optimizers.Optimizer | str | None = None,
        *,
        jit_compile: bool | str = "auto",
        accumulate: int = 1,
        metrics: Any = None,
        row_order: str = "blocks",
        **kwargs: Any,
    ) -> None:
        """Set the two optimizers.

        Args:
            generator_optimizer: An optimizer or its name. Defaults to the paper's Adam
                (β 0.5 and 0.9, ε 1e-8) with learning rate 1.6e-4.
            potential_optimizer: Likewise, with learning rate 1e-4.
            jit_compile: `"auto"` compiles with XLA on JAX, and on TensorFlow with a GPU.
                Defaults to `"auto"`.
            accumulate: Micro-batches in which each replica processes its share of a batch.
                Their gradients are averaged before an update: the same numbers in less
                memory. Defaults to 1.
            metrics: Keras metrics for `evaluate` and validation: y is their `y_true`, and
                samples of the averaged generator their `y_pred`. Defaults to `None`.
            row_order: How the rows of a batch reach several replicas: `"blocks"` of
                neighboring rows, as Keras distributes them, or `"groups"`, as
                `Distribution.feed` does. Defaults to `"blocks"`.
            **kwargs: Arguments of `keras.Model.compile`.

        Raises:
            InputError: If an argument is out of range or not supported by the backend.
        """
        check_choice("row_order", row_order, ROW_ORDERS)
        check_compile(generator_optimizer, potential_optimizer, kwargs)
        check_trainable(("generator", self.generator), ("potential", self.potential))
        self.partition = dataclasses.replace(
            self.partition,
            micro_batches=check_count("accumulate", accumulate),
            row_order=row_order,
        )
        with backend.distribution.scope_of(self, generator_optimizer, potential_optimizer):
            # One loss scale per player: an overflow of one must not stop the other.
            networks = self.generator, self.potential
            of_generator = with_loss_scale(_optimizer(generator_optimizer, 1.6e-4), *networks)
            of_potential = with_loss_scale(_optimizer(potential_optimizer, 1e-4), self.potential)
            whole_step, self.compile_gradients = backend.compile_arguments(jit_compile)
            super().compile(
                optimizer=OptimizerPair(of_generator, of_potential),
                jit_compile=whole_step,
                auto_scale_loss=False,
                metrics=metrics,
                **kwargs,
            )
            self.generator_optimizer, self.potential_optimizer = of_generator, of_potential
            of_generator.build(self.generator.trainable_variables)
            of_potential.build(self.potential.trainable_variables)
        self._compile_options = {
            "jit_compile": jit_compile,
            "accumulate": self.partition.micro_batches,
            "steps_per_execution": self.steps_per_execution,
        }
        keras_hooks.drop_loss_tracker(self)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train the generator and the potential against each other.

        Args:
            x: The data, (N, *data_shape) float32, images in [−1, 1]; a
                `uotm_keras.data.Dataset`; or a `tf.data.Dataset`, `grain` dataset,
                `keras.utils.PyDataset`, or `DataLoader` of batches y, (y, labels), or
                pairs (x, y). With `source="data"`, the source points, (N, *source_shape).
            y: With `source="data"` or `"auto"`, the data, if `x` is the source. If the networks
                are conditional, the conditions c of the data `x`, such as labels (N,); batches
                are then pairs (y, c). With a source they are (x, (y, c)), or (x, y, c) with
                `source="data"`. Otherwise labels are accepted and ignored. Defaults to `None`.
            batch_size: Examples per step. Defaults to 32.
            epochs: Passes over the data. Defaults to 1.
            validation_split, validation_data: As in `keras.Model.fit`; `validation_data` may
                be a `uotm_keras.data.Dataset`. They add the losses of the averaged
                generator to the logs, with `val_` before their names.
            class_weight: Not supported; use `sample_weight`.
            sample_weight: Weight of each y in ν, (N,), or a pair of the weights of x and of
                y. Weights of mean 1 keep the total mass. Defaults to equal weights.
            verbose, callbacks, shuffle, initial_epoch, steps_per_epoch, **kwargs: As in
                `keras.Model.fit`.

        Returns:
            A `History` whose `history` holds `potential_loss`, `generator_loss`, `cost`,
            `penalty`, `source_mass`, `target_mass`, `skipped_updates`, and `loss`, which is
            the sum of the two losses. An update with a gradient that is not finite is
            skipped and counted.

        Raises:
            InputError: If the data do not fit the networks, or an argument has no meaning.
        """
        check_fit(x, y, class_weight, self.shapes)
        if self.fitted_source is not None and not self.fitted_source.adapted:
            self.adapt_source(x)
        if self.conditions is not None and not self.conditions.adapted:
            self.adapt_conditions(conditions_in(x, y, self.source, self.shapes))
        x, steps = as_batches(x, batch_size, self.seed, self.conditions is not None)
        if y is None and sample_weight is not None:
            y = np.zeros(len(x), "float32")  # without labels Keras drops the weights
        if steps is not None:
            batch_size, steps_per_epoch, shuffle = None, steps_per_epoch or steps, False
        return super().fit(
            x,
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            validation_split,
            in_order(validation_data, batch_size, self.conditions is not None),
            shuffle,
            None,
            sample_weight,
            initial_epoch,
            steps_per_epoch,
            **kwargs,
        )

    def make_train_function(self, force: bool = False) -> None:
        self._require_adapted_source()
        self.partition.check_networks(
            (("generator", self.generator), ("potential", self.potential)),
            backend.distribution.replicas_of(self),
        )
        backend.distribution.make_train_function(self, super().make_train_function, force)

    def check_batch(self, batch_size: int, replicas: int) -> None:
        """Check that a batch can be shared out; see `Partition.check_batch`."""
        self.partition.check_batch(batch_size, replicas)

    def _require_compiled(self) -> None:
        if not self.compiled:
            raise InputError("this UOTM has no optimizers yet: call model.compile() first.")

    # --- Serialization -------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "generator": serialize(self.generator),
            "potential": serialize(self.potential),
            "cost": serialize(self.objective.cost),
            "source_divergence": serialize(self.objective.source_divergence),
            "target_divergence": serialize(self.objective.target_divergence),
            "gradient_penalty": serialize(self.objective.gradient_penalty),
            "divergence_schedule": serialize(self.divergence_schedule),
            "pairing": self.objective.pairing,
            "potential_steps": self.potential_steps,
            "generator_steps": self.generator_steps,
            "ema_decay": self.ema_decay,
            "source": self.source,
            "batch_statistics": self.partition.batch_statistics,
            "seed": self.seed,
        }

    def get_compile_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "generator_optimizer": serialize(self.generator_optimizer),
            "potential_optimizer": serialize(self.potential_optimizer),
            **self._compile_options,
        }

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))


def _tensor(array: Any) -> Tensor | None:
    return None if array is None else ops.convert_to_tensor(array, "float32")


def _optimizer(given: Any, learning_rate: float) -> keras.optimizers.Optimizer:
    return Adam(learning_rate) if given is None else keras.optimizers.get(given)
