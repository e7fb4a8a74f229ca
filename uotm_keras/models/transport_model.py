"""A potential and a generator as one Keras model: what they are used for once trained."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from uotm_keras import backend
from uotm_keras.backend import keras_hooks
from uotm_keras.backend.partition import Partition
from uotm_keras.data import Dataset
from uotm_keras.models.checks import (
    check_count,
    check_networks,
    check_rows,
    check_samples,
)  # fmt: skip
from uotm_keras.models.conditions import ConditionDistribution, condition_rows
from uotm_keras.models.fitted_source import FittedSource
from uotm_keras.models.inputs import Batch, check_range, in_order, unpack
from uotm_keras.models.optimizers import ReplicatedMean, ReplicatedSum
from uotm_keras.models.sampling import (
    TransportMap,
    frozen_copy,
    potential_outputs,
    seed_generator,
)  # fmt: skip
from uotm_keras.networks.layers import MinibatchStddev
from uotm_keras.objectives.divergences import Divergence
from uotm_keras.objectives.penalties import GradientPenalty
from uotm_keras.objectives.semi_dual import GeneratorBatch, PotentialBatch, SemiDual
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import check_seed, sample_noise
from uotm_keras.utils.typing import Tensor


class TransportModel(keras.Model):
    """The networks of a semi-dual problem: samples, transport, weights, saving.

    Subclasses define how the networks are trained.

    Args:
        generator: T, a built Keras model called as `generator([x, z])` or `generator(x)`, with
            the condition as the last input if there is one.
        potential: v, a built Keras model that returns (B, 1).
        objective: The semi-dual objective.
        source: `"gaussian"`, `"fitted"`, `"data"`, or `"auto"`; see `UOTM`.
        batch_statistics: `"global"` or `"replica"`; see `UOTM`.
        divergence_schedule: α as a function of the step, or `None`.
        ema_decay: Decay rate of the generator's exponential moving average, in [0, 1).
        seed: Seed for the training noise (int, 0 to 2**63 − 1).
        **kwargs: Arguments of `keras.Model`.
    """

    def __init__(
        self,
        generator: keras.Model,
        potential: keras.Model,
        objective: SemiDual,
        *,
        source: str,
        batch_statistics: str,
        divergence_schedule: Callable[[Tensor], Tensor] | None,
        ema_decay: float,
        seed: int,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not 0.0 <= ema_decay < 1.0:
            raise InputError(f"ema_decay={ema_decay} must be at least 0 and below 1.")
        self.objective = objective
        self.source = source
        self.divergence_schedule = divergence_schedule
        self.ema_decay = float(ema_decay)
        self.seed = check_seed(seed)

        self.generator = generator
        self.potential = potential
        shapes = check_networks(generator, potential)
        self.shapes = shapes
        self.source_shape, self.latent_dim, self.data_shape = shapes[:3]
        self.partition = Partition(
            grouped=any(
                isinstance(layer, MinibatchStddev) for layer in keras_hooks.all_layers(potential)
            ),
            batch_statistics=batch_statistics,
        )
        self.ema_generator = frozen_copy(generator, "ema_generator")
        self.fitted_source: FittedSource | None = None
        if source == "fitted":
            self.fitted_source = FittedSource(self.source_shape, self.data_shape)
            self.objective = dataclasses.replace(objective, source_points=self.fitted_source)
        self.conditions: ConditionDistribution | None = None
        if shapes.condition is not None:
            self.conditions = ConditionDistribution(shapes.condition)

        self.noise_seed = seed_generator(self.seed)
        self.step = self.add_weight(
            name="step", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        self.evaluation_seed = seed_generator(self.seed)
        self.trackers: dict[str, keras.metrics.Metric] = {
            name: ReplicatedMean(name=name)
            for name in (
                "potential_loss", "generator_loss", "cost", "penalty", "source_mass", "target_mass"
            )
        }  # fmt: skip
        self.trackers["skipped_updates"] = ReplicatedSum(name="skipped_updates")
        keras_hooks.skip_symbolic_build(self)
        self.built = True

    @property
    def cost(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The cost c(x, y)."""
        return self.objective.cost

    @property
    def source_divergence(self) -> Divergence:
        """Ψ1, without the schedule's α."""
        return self.objective.source_divergence

    @property
    def target_divergence(self) -> Divergence:
        """Ψ2, without the schedule's α."""
        return self.objective.target_divergence

    @property
    def gradient_penalty(self) -> GradientPenalty | None:
        """The penalty on ∇v."""
        return self.objective.gradient_penalty

    def objective_at_step(self) -> SemiDual:
        """Return the objective with the α that the schedule has at the current step."""
        if self.divergence_schedule is None:
            return self.objective
        return self.objective.scaled(self.divergence_schedule(self.step.value))

    # --- Batches and evaluation ----------------------------------------------------------

    def _take(self, data: Any) -> Batch:
        """This replica's rows of a batch given to `fit`."""
        return Batch(*map(self.partition.take, unpack(data, self.source, self.shapes)))

    def _draw(self, batch: Batch, seed: keras.random.SeedGenerator) -> GeneratorBatch:
        """Draw fresh x and z for one update, outside of the differentiated function."""
        source, latent = batch.source, None
        if source is None:
            source = self._normal(batch, seed, *self.source_shape)
        if self.latent_dim is not None:
            latent = self._normal(batch, seed, self.latent_dim)
        return GeneratorBatch(
            source, latent, source_weight=batch.source_weight, condition=batch.condition
        )

    def _normal(self, batch: Batch, seed: keras.random.SeedGenerator, *shape: int) -> Tensor:
        """Draw N(0, I) for the whole batch and return this replica's rows."""
        rows = self.partition.whole_batch_rows(batch.real)
        return self.partition.own_rows(backend.normal((rows, *shape), seed))

    def test_step(self, *args: Any) -> Any:
        """Compute the losses of one batch with the averaged generator; called by `evaluate`.

        The noise comes from a seed of its own, so that training is not affected. The
        penalty is left out. Metrics given to `compile` get y as `y_true` and T(x, z) as
        `y_pred`.
        """
        return backend.test_step(self, self._evaluate, *args)

    def _evaluate(self, data: Any) -> dict[str, Tensor]:
        batch = self._take(data)
        drawn = self._draw(batch, self.evaluation_seed)
        inputs = self.shapes.inputs(drawn.source, drawn.latent, drawn.condition)
        generated = self.ema_generator(inputs, training=False)

        def v(*inputs: Tensor) -> Tensor:
            values = self.potential(inputs[0] if len(inputs) == 1 else inputs, training=False)
            return ops.cast(ops.reshape(values, (-1,)), "float32")

        def transport(*inputs: Tensor | None) -> Tensor:
            return generated

        objective = dataclasses.replace(self.objective_at_step(), gradient_penalty=None)
        _, potential_logs = objective.potential_loss(
            v,
            transport,
            PotentialBatch(batch.real, *drawn, real_weight=batch.real_weight, generated=generated),
        )
        _, generator_logs = objective.generator_loss(v, transport, drawn)
        self.compute_metrics(drawn.source, batch.real, generated, batch.real_weight)
        logs = self._track(potential_logs, generator_logs)
        return {k: x for k, x in logs.items() if k not in ("penalty", "skipped_updates")}

    def _track(
        self,
        potential_logs: Mapping[str, Tensor],
        generator_logs: Mapping[str, Tensor],
        **more: Tensor,
    ) -> dict[str, Tensor]:
        """Update the running means and return them, as Keras logs them."""
        values = {
            "potential_loss": potential_logs["loss"],
            "generator_loss": generator_logs["loss"],
            "cost": generator_logs["cost"],
            **{name: potential_logs[name] for name in ("penalty", "source_mass", "target_mass")},
            **more,
        }
        for name, value in values.items():
            self.trackers[name].update_state(value)
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Tensor]:
        """Return the running means; `loss` is the sum of the two players' losses.

        It has no minimum to reach: it is there for callbacks such as `TerminateOnNaN`.
        """
        results = super().get_metrics_result()
        return {**results, "loss": results["potential_loss"] + results["generator_loss"]}

    def _require_adapted_source(self) -> None:
        if self.fitted_source is not None and not self.fitted_source.adapted:
            raise InputError(
                "source='fitted' is not fitted yet: call fit, or adapt_source(data) first."
            )

    def make_test_function(self, force: bool = False) -> None:
        self._require_adapted_source()
        keras_hooks.build_compiled_metrics(self, self.data_shape)
        super().make_test_function(force)

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Compute the losses with the averaged generator, on noise that is always the same.

        The arguments are those of `keras.Model.evaluate`, with `x` and `y` as in `fit`.
        """
        self.evaluation_seed.state.assign(seed_generator(self.seed).state)
        if self.conditions is not None and hasattr(y, "shape"):
            self.conditions.spec.array(y)
        data = in_order(x, batch_size, self.conditions is not None)
        x, batch_size = data, None if isinstance(x, Dataset) else batch_size
        return super().evaluate(x, y, batch_size, *args, **kwargs)

    def adapt_source(self, data: np.ndarray | Dataset) -> None:
        """Fit the source of a model with `source="fitted"` to data; see `FittedSource.adapt`.

        `fit` does this before the first step, from the data that it is given.
        """
        if self.fitted_source is None:
            raise InputError(f"source={self.source!r} has nothing to fit: use source='fitted'.")
        self.fitted_source.adapt(data)

    def adapt_conditions(self, conditions: np.ndarray) -> None:
        """Store the distribution that `generate` draws conditions from.

        `fit` does this before the first step, from the data that it is given: from all of an
        array or a dataset, and from the first 4 096 examples of other inputs.

        Args:
            conditions: The conditions of the training data, (N, ...). Of conditions that are
                not single labels, 4 096 are kept, evenly spaced.

        Raises:
            InputError: If the model is unconditional, or they do not fit the networks.
        """
        if self.conditions is None:
            raise InputError("this UOTM is unconditional: it has no conditions to store.")
        self.conditions.adapt(conditions)

    # --- Samples and weights -------------------------------------------------------------

    def call(self, inputs: Any, training: bool = False) -> Tensor:
        """Return T(x, z) of the averaged generator, or of the trained one if `training`."""
        network = self.generator if training else self.ema_generator
        return network(inputs, training=training)

    def generate(
        self,
        n: int,
        seed: int | None = None,
        use_ema: bool = True,
        batch_size: int = 64,
        condition: Any = None,
    ) -> np.ndarray:
        """Draw samples T(x, z) with x, z ~ N(0, I).

        Sample i depends on `seed`, i, and its condition alone, not on `n` or `batch_size`.

        Args:
            n: Number of samples.
            seed: Seed (int, 0 to 2**63 − 1). Defaults to `None`, which draws one.
            use_ema: Whether to use the averaged generator. Defaults to `True`.
            batch_size: Samples per call of the network. Defaults to 64.
            condition: c of all samples, such as a label, or of each, (n, ...). Defaults to
                `None`: conditional models draw it from the conditions of their training data.

        Returns:
            float32 array (n, *data_shape), in the network's range.

        Raises:
            InputError: If an argument is out of range, the model transports a dataset, or it is
                unconditional and `condition` is given.
        """
        keys = [(check_seed(seed), i) for i in range(check_samples(n, self.data_shape))]
        return np.concatenate(list(self.generate_batches(keys, use_ema, batch_size, condition)))

    def generate_batches(
        self,
        keys: Sequence[tuple[int, int]],
        use_ema: bool = True,
        batch_size: int = 64,
        condition: Any = None,
    ) -> Iterator[np.ndarray]:
        """Yield the samples of (seed, index) keys, a batch at a time; see `generate`."""
        if self.source == "data":
            raise InputError("this UOTM transports a dataset: call transport(source) instead.")
        batch_size = check_count("batch_size", batch_size)
        given: Any
        if self.conditions is not None and condition is None:
            given = self.conditions.draw
        else:
            given = condition_rows(self.conditions, condition, len(keys))
        yield from self._map(use_ema).samples(keys, batch_size, given)

    def transport(
        self,
        source: np.ndarray,
        latent: np.ndarray | None = None,
        use_ema: bool = True,
        batch_size: int = 64,
        condition: Any = None,
    ) -> np.ndarray:
        """Return T(x, z) of given x.

        Args:
            source: x, (B, *source_shape).
            latent: z, (B, latent_dim). Defaults to `None`, which draws it.
            use_ema: Whether to use the averaged generator. Defaults to `True`.
            batch_size: Samples per call of the network. Defaults to 64.
            condition: c of all x or of each, (B, ...); conditional models need it. Defaults to
                `None`.

        Returns:
            float32 array (B, *data_shape).

        Raises:
            InputError: If `source`, `latent` or `condition` has another shape, or `batch_size`
                is not positive.
        """
        source = np.asarray(source, "float32")
        if source.shape[1:] != self.source_shape:
            raise InputError(
                f"source of shape {source.shape} must have the shape (B, *{self.source_shape})."
            )
        if latent is None:
            keys = [(check_seed(None), i) for i in range(len(source))]
            (latent,) = sample_noise(keys, (self.latent_dim or 0,))
        latent = np.asarray(latent, "float32")
        check_rows("latent", latent, (self.latent_dim or 0,), len(source))
        given = condition_rows(self.conditions, condition, len(source))
        return self._map(use_ema)(source, latent, given, check_count("batch_size", batch_size))

    def source_weights(
        self,
        source: np.ndarray,
        latent: np.ndarray | None = None,
        batch_size: int = 64,
        condition: Any = None,
    ) -> np.ndarray:
        """Return dπ₀/dμ at x, a float32 array (B,).

        It is Ψ1*'(v(T(x, z)) − c(x, T(x, z))), and 1 for `pairing="all_pairs"`, which keeps
        the source marginal. The arguments are those of `transport`.
        """
        source = np.asarray(source, "float32")
        moved = self.transport(source, latent, batch_size=batch_size, condition=condition)
        points = self.objective.source_points(ops.convert_to_tensor(source))
        cost = self.cost(points, moved)
        values = ops.convert_to_tensor(self._potential_values(moved, batch_size, condition))
        return ops.convert_to_numpy(self.objective_at_step().source_density(values, cost))

    def target_weights(
        self,
        data: np.ndarray,
        batch_size: int = 64,
        costs: np.ndarray | None = None,
        condition: Any = None,
    ) -> np.ndarray:
        """Return dπ₁/dν at y, a float32 array (B,); near 0 for outliers.

        It is Ψ2*'(−v(y)). For `pairing="all_pairs"` with a source divergence other than
        `"balanced"`, it is Ψ2*'(−v(y)) divided by the mean of Ψ1*'(v(y) − c) over the costs c
        of a sample of the source; with KL divergences, exp(−2v(y)) / mean(exp(−c)).

        A potential with minibatch statistics sees y together with its batch.

        Args:
            data: y, (B, *data_shape).
            batch_size: Examples per call of the potential. Defaults to 64.
            costs: c(x, T(x, z)) of a sample of the source, (n,). Defaults to `None`, which
                takes `transport_costs()` where they are needed.
            condition: c of all y or of each, (B, ...); conditional models need it. Defaults to
                `None`.

        Raises:
            InputError: If `data` or `condition` has another shape, or `transport_costs` needs
                the source.
        """
        check_range(data, self.data_shape)
        values = self._potential_values(np.asarray(data, "float32"), batch_size, condition)
        objective = self.objective_at_step()
        if costs is None and objective.weights_need_costs:
            costs = self.transport_costs(batch_size=batch_size)
        density = objective.target_density(
            ops.convert_to_tensor(values),
            None if costs is None else ops.convert_to_tensor(costs, "float32"),
        )
        return ops.convert_to_numpy(density)

    def transport_costs(
        self,
        source: np.ndarray | None = None,
        latent: np.ndarray | None = None,
        batch_size: int = 64,
        condition: Any = None,
    ) -> np.ndarray:
        """Return c(x, T(x, z)) of the averaged generator, a float32 array (B,).

        Args:
            source: x, (B, *source_shape). Defaults to `None`, which draws 256 from N(0, I),
                always the same ones.
            latent: z, (B, latent_dim). Defaults to `None`, which draws it likewise.
            batch_size: Samples per call of the network. Defaults to 64.
            condition: As in `transport`; with `source=None`, `None` draws it likewise.

        Raises:
            InputError: If the model transports a dataset and `source` is `None`, or an
                argument has another shape.
        """
        if source is None and self.source == "data":
            raise InputError(
                "this UOTM transports a dataset, and with pairing='all_pairs' its weights depend "
                "on the costs: give target_weights costs=model.transport_costs(source), where "
                "source holds points of the source."
            )
        keys = [(0, i) for i in range(256 if source is None else len(source))]
        drawn, z = sample_noise(keys, self.source_shape, (self.latent_dim or 0,))
        if source is None and condition is None and self.conditions is not None:
            condition = self.conditions.draw(keys)
        source = drawn if source is None else np.asarray(source, "float32")
        latent = z if latent is None else latent
        moved = self.transport(source, latent, batch_size=batch_size, condition=condition)
        points = self.objective.source_points(ops.convert_to_tensor(source))
        return ops.convert_to_numpy(self.cost(points, moved))

    def _map(self, use_ema: bool) -> TransportMap:
        network = self.ema_generator if use_ema else self.generator
        return TransportMap(network, self.shapes)

    def _potential_values(self, data: np.ndarray, batch_size: int, condition: Any) -> np.ndarray:
        check_rows("data", data, self.data_shape, len(data))
        batch_size = check_count("batch_size", batch_size)
        given = condition_rows(self.conditions, condition, len(data))
        values = potential_outputs(self.potential, data, given, batch_size)
        return ops.convert_to_numpy(self.objective_at_step().admissible(values))

    # --- Loading and saving --------------------------------------------------------------

    @classmethod
    def from_preset(cls, name: str | os.PathLike, load_weights: bool | None = None) -> Self:
        """Return a compiled model by name.

        Args:
            name: A name of `presets.list()`, or the path of a `.keras` file.
            load_weights: Whether the generator gets the weights that ship with the package
                (the potential never does). Defaults to `None`: if there are any.

        Raises:
            InputError: If the name is unknown, it has no weights, or a file is unreadable.

        Example:

        >>> uk.UOTM.from_preset("digits").generate(16).shape
        (16, 8, 8, 1)
        """
        from uotm_keras.models.loading import from_preset

        return from_preset(cls, name, load_weights)

    def export(
        self, filepath: str | os.PathLike, format: str = "savedmodel", **kwargs: Any
    ) -> Path:
        """Write the averaged generator as a SavedModel or as ONNX; see `exporting.export`."""
        from uotm_keras.exporting import export

        return export(self, filepath, format, **kwargs)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        deserialize = keras.saving.deserialize_keras_object
        return cls(**{name: deserialize(value, custom_objects) for name, value in config.items()})

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        for name, variable in self._unsaved_variables().items():
            store[name] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(
            {key: store[key] for key in store.keys() if key.isdigit()}  # noqa: SIM118
        )
        for name, variable in self._unsaved_variables().items():
            if name in store.keys():  # files of earlier versions lack some metrics  # noqa: SIM118
                variable.assign(np.array(store[name]))

    def _unsaved_variables(self) -> dict[str, keras.Variable]:
        """The random states and running means, which Keras's own files leave out."""
        states = [
            v
            for v in self.non_trainable_variables
            if v.name == "seed_generator_state" and v is not self.evaluation_seed.state
        ]
        return {f"random_state_{i}": state for i, state in enumerate(states)} | {
            f"{name}_{variable.name}": variable
            for name, tracker in self.trackers.items()
            for variable in tracker.variables
        }
