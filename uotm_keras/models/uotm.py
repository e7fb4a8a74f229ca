"""The UOTM model: two losses, two updates, one `train_step`.

Choi, Choi, Kang: "Generative Modeling through the Semi-dual Formulation of Unbalanced
Optimal Transport", NeurIPS 2023, arXiv 2305.14777.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from uotm_keras import backend
from uotm_keras.backend.partition import STATISTICS, Sharing
from uotm_keras.models.optimizers import Adam, OptimizerPair, ReplicatedMean, with_loss_scale
from uotm_keras.models.sampling import Sampling
from uotm_keras.objectives import costs, divergences, penalties
from uotm_keras.objectives.semi_dual import Losses
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import check_seed

PAIRINGS = ("paired", "all_pairs")
SOURCES = ("auto", "gaussian", "data")


@keras.saving.register_keras_serializable("uotm_keras")
class UOTM(Losses, Sharing, Sampling, keras.Model):
    r"""Unbalanced optimal transport from a source μ to the data ν by the semi-dual.

    A potential v and a generator T play (UOTM, equation 11)

        min_v  E_x[Ψ1*(v(T(x, z)) − c(x, T(x, z)))] + E_y[Ψ2*(−v(y))] + penalty(∇v)
        min_T  E_x[c(x, T(x, z)) − v(T(x, z))]

    with x from μ, z ~ N(0, I) and y from the data. With both divergences "balanced" this
    is the OTM baseline; with τ = 0 besides, WGAN with the chosen penalty; with only the
    source balanced, the semi-relaxed "fixed-μ".

    Args:
        generator: T, a built Keras model called as `generator([x, z])`, or as
            `generator(x)` if it takes no latent. T(x, z) has the data's shape; x too,
            unless the cost knows better.
        potential: v, a built Keras model giving (B, 1).
        cost: c(x, y), a callable giving (B,).
        source_divergence, target_divergence: Ψ1 and Ψ2, a name ("kl", "chi2", "softplus",
            "softplus_plain", "balanced") or a `divergences.Divergence`.
        gradient_penalty: a `penalties.GradientPenalty`, or None.
        pairing: "paired" evaluates Ψ1* at each v(T(xᵢ)) − c(xᵢ, T(xᵢ)), as in the paper;
            "all_pairs" at the whole table v(T(xᵢ)) − c(xⱼ, T(xⱼ)), as the released code.
        potential_steps, generator_steps: updates of each player an iteration, with fresh
            noise and the same batch of data.
        ema_decay: of the average of T's weights, 0 to 1; samples come from the average.
        divergence_schedule: α as a function of the step (UOTM-SD), a
            `schedules.AlphaSchedule` or a callable; None leaves α = 1.
        source: "gaussian" draws x ~ N(0, I); "data" takes pairs (x, y) of batches in
            `fit`; "auto" takes pairs where both have the networks' shapes.
        batch_statistics: over what the minibatch standard deviation and the table of all
            pairs are taken: "global", the whole batch, so that any number of devices gives
            what one does; "replica", each device's share, as the released code.
        seed: of the training noise.

    Raises:
        InputError: an argument is out of range, or the networks do not fit together.

    Example:
        >>> model = UOTM(NCSNpp((32, 32, 3)), SmallPotential((32, 32, 3)))
        >>> model.compile()
        >>> model.fit(images, batch_size=64, epochs=10)
        >>> samples = model.generate(16, seed=0)
    """

    def __init__(
        self,
        generator: keras.Model,
        potential: keras.Model,
        *,
        cost: Callable | None = None,
        source_divergence: str | divergences.Divergence = "kl",
        target_divergence: str | divergences.Divergence = "kl",
        gradient_penalty: penalties.GradientPenalty | None = penalties.R1(0.2),  # noqa: B008
        pairing: str = "paired",
        potential_steps: int = 1,
        generator_steps: int = 1,
        ema_decay: float = 0.9999,
        divergence_schedule: Callable | None = None,
        source: str = "auto",
        batch_statistics: str = "global",
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_choice("pairing", pairing, PAIRINGS)
        _check_choice("source", source, SOURCES)
        _check_choice("batch_statistics", batch_statistics, STATISTICS)
        for name, count in (
            ("potential_steps", potential_steps),
            ("generator_steps", generator_steps),
        ):
            if isinstance(count, bool) or int(count) != count or count < 1:
                raise InputError(f"{name}={count!r} must be a whole number of at least 1.")
        if not 0.0 <= ema_decay < 1.0:
            raise InputError(f"ema_decay={ema_decay} must be at least 0 and below 1.")
        self.cost = costs.Quadratic() if cost is None else cost
        self.source_divergence = divergences.get(source_divergence)
        self.target_divergence = divergences.get(target_divergence)
        self.gradient_penalty = gradient_penalty
        self.pairing = pairing
        self.potential_steps = int(potential_steps)
        self.generator_steps = int(generator_steps)
        self.ema_decay = float(ema_decay)
        self.divergence_schedule = divergence_schedule
        self.source = source
        self.batch_statistics = batch_statistics
        self.seed = check_seed(seed)

        self.generator = generator
        self.potential = potential
        self.source_shape, self.latent_dim, self.data_shape = _shapes(generator, potential)
        self.noise_dim = self.latent_dim
        self.ema_generator = type(generator).from_config(generator.get_config())
        self.ema_generator.set_weights(generator.get_weights())
        self.ema_generator.trainable = False

        self.noise_seed = keras.random.SeedGenerator(self.seed)
        self.step = self.add_weight(
            name="step", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        self.trackers = {
            name: ReplicatedMean(name=name)
            for name in ("potential_loss", "generator_loss", "cost", "penalty")
        }
        self.accumulate = 1
        self.compile_gradients = False
        self.grouped = self._groups_rows()
        self.built = True

    # --- the updates -------------------------------------------------------------------

    def update_potential(self, real, source, latent=None, mixing=None) -> dict[str, Any]:
        """One optimizer step of the potential, with the noise given.

        Args:
            real: data y, (B, *data_shape).
            source: x, (B, *source_shape).
            latent: z, (B, latent_dim); None for a generator without one.
            mixing: U(0, 1) of shape (B, 1, ...), where the penalty interpolates; drawn
                if not given.

        Returns:
            Scalars: `loss` = `real` + `fake` + `penalty`, where `real` is mean Ψ2*(−v(y))
            and `fake` mean Ψ1*(v(T) − c); `cost`, the mean transport cost.
        """
        self._require_compiled()
        penalty = self.gradient_penalty
        if mixing is None and penalty is not None and penalty.at == "points":
            shape = (self._global_rows(real), *[1] * len(self.data_shape))
            mixing = self._own_rows(backend.uniform(shape, self.noise_seed))
        real, source, latent, mixing = self._micro_batches(
            *map(_tensor, (real, source, latent, mixing))
        )
        fake, cost, table_costs = self._table_of_whole_batch(source, latent)
        return backend.minimize(
            self,
            lambda *batch: self.potential_loss(*batch, table_costs),
            (real, source, latent, mixing, fake, cost),
            self.potential.trainable_variables,
            self.potential_optimizer,
            self.accumulate,
        )

    def update_generator(self, source, latent=None) -> dict[str, Any]:
        """One optimizer step of the generator and of its average, with the noise given.

        Args:
            source: x, (B, *source_shape).
            latent: z, (B, latent_dim); None for a generator without one.

        Returns:
            Scalars: `loss` = `cost` − `potential`, their means over the batch.
        """
        self._require_compiled()
        logs = backend.minimize(
            self,
            self.generator_loss,
            self._micro_batches(_tensor(source), _tensor(latent)),
            self.generator.trainable_variables,
            self.generator_optimizer,
            self.accumulate,
        )
        backend.move_average(self.ema_generator.weights, self.generator.weights, self.ema_decay)
        return logs

    def train_step(self, *arguments):
        """One iteration of the two-player game; called by `fit`.

        The arguments are the backend's: `(data)` on TensorFlow and torch,
        `(state, data)` on JAX.
        """
        return backend.train_step(self, self._iterate, *arguments)

    def _iterate(self, data) -> None:
        real, given_source = map(self._in_groups, self._unpack(data))

        def draw(*shape):
            # The noise of the whole batch, whoever takes part in it.
            whole = backend.normal((self._global_rows(real), *shape), self.noise_seed)
            return self._own_rows(whole)

        def noise():
            source, latent = given_source, None
            if source is None:
                source = draw(*self.source_shape)
            if self.latent_dim is not None:
                latent = draw(self.noise_dim)
            return source, latent

        for _ in range(self.potential_steps):
            potential_logs = self.update_potential(real, *noise())
        for _ in range(self.generator_steps):
            generator_logs = self.update_generator(*noise())
        self.step.assign_add(1)
        self.trackers["potential_loss"].update_state(potential_logs["loss"])
        self.trackers["penalty"].update_state(potential_logs["penalty"])
        self.trackers["generator_loss"].update_state(generator_logs["loss"])
        self.trackers["cost"].update_state(generator_logs["cost"])

    def _unpack(self, data):
        """(real, source or None) from what `fit` was given; labels are dropped."""
        if not isinstance(data, (tuple, list)):
            data = (data,)
        if self.source != "gaussian" and len(data) > 1 and data[1] is not None:
            first, second = data[:2]
            shapes = tuple(first.shape[1:]), tuple(second.shape[1:])
            if shapes == (self.source_shape, self.data_shape):
                return second, first
        if self.source == "data":
            raise InputError(
                "source='data' needs fit to be given pairs of batches (x, y) of shapes "
                f"(B, *{self.source_shape}) and (B, *{self.data_shape})."
            )
        real = data[0]
        if tuple(real.shape[1:]) != self.data_shape:
            raise InputError(
                f"batches of shape {tuple(real.shape)} do not fit the networks, which take "
                f"(B, *{self.data_shape})."
            )
        return real, None

    # --- Keras -------------------------------------------------------------------------

    def compile(
        self,
        generator_optimizer=None,
        potential_optimizer=None,
        *,
        jit_compile="auto",
        accumulate: int = 1,
        **kwargs,
    ):
        """Sets the two optimizers.

        Args:
            generator_optimizer, potential_optimizer: optimizers or their names; None is
                the paper's Adam (β 0.5 and 0.9, ε 1e-8), rates 1.6e-4 and 1e-4.
            jit_compile: "auto" compiles by XLA on JAX, and on TensorFlow with a GPU.
            accumulate: micro-batches in which each replica's share of a batch is taken,
                their gradients averaged before an update: the same numbers in less memory.
            kwargs: of `keras.Model.compile`.

        Raises:
            InputError: an argument is out of range, or not possible on this backend.
        """
        if isinstance(accumulate, bool) or int(accumulate) != accumulate or accumulate < 1:
            raise InputError(f"accumulate={accumulate!r} must be a whole number of at least 1.")
        # One loss scale a player: an overflow of one must not stop the other.
        networks = self.generator, self.potential
        generator_optimizer = with_loss_scale(_optimizer(generator_optimizer, 1.6e-4), *networks)
        potential_optimizer = with_loss_scale(_optimizer(potential_optimizer, 1e-4), self.potential)
        whole_step, self.compile_gradients = backend.compile_arguments(jit_compile)
        super().compile(
            optimizer=OptimizerPair(generator_optimizer, potential_optimizer),
            jit_compile=whole_step,
            auto_scale_loss=False,
            **kwargs,
        )
        self.generator_optimizer = generator_optimizer
        self.potential_optimizer = potential_optimizer
        generator_optimizer.build(self.generator.trainable_variables)
        potential_optimizer.build(self.potential.trainable_variables)
        self.accumulate = int(accumulate)
        self._compile_options = {
            "jit_compile": jit_compile,
            "accumulate": self.accumulate,
            "steps_per_execution": self.steps_per_execution,
        }
        self._loss_tracker = None  # Keras's own loss would be logged as 0

    def make_train_function(self, force=False):
        self._check_networks()
        backend.distribution.make_train_function(self, super().make_train_function, force)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: all is built. Keras would average a batch over the replicas for it, which
        fails where a batch is a tuple and the replicas are on several hosts."""

    def _require_compiled(self) -> None:
        if not self.compiled:
            raise InputError("this UOTM has no optimizers yet: call model.compile() first.")

    def call(self, inputs, training=False):
        """T(x, z): of the averaged generator, or of the trained one if `training`."""
        network = self.generator if training else self.ema_generator
        return network(inputs, training=training)

    @classmethod
    def from_preset(cls, name: str, load_weights: bool | None = None) -> "UOTM":
        """A compiled model by name.

        Args:
            name: of `presets.list()`, or the path of a `.keras` file.
            load_weights: whether the generator gets the weights that come with the
                package (the potential never does); None: where there are some.

        Raises:
            InputError: unknown name, no such weights, or an unreadable file.

        Example:
            >>> UOTM.from_preset("digits").generate(16).shape
            (16, 8, 8, 1)
        """
        from uotm_keras.models.loading import from_preset

        return from_preset(cls, name, load_weights)

    def export(self, filepath, format: str = "savedmodel", **kwargs):
        """Writes the averaged generator as a SavedModel or as ONNX, see `exporting.export`."""
        from uotm_keras.exporting import export

        return export(self, filepath, format, **kwargs)

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "generator": serialize(self.generator),
            "potential": serialize(self.potential),
            "cost": serialize(self.cost),
            "source_divergence": serialize(self.source_divergence),
            "target_divergence": serialize(self.target_divergence),
            "gradient_penalty": serialize(self.gradient_penalty),
            "divergence_schedule": serialize(self.divergence_schedule),
            "pairing": self.pairing,
            "potential_steps": self.potential_steps,
            "generator_steps": self.generator_steps,
            "ema_decay": self.ema_decay,
            "source": self.source,
            "batch_statistics": self.batch_statistics,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects=None) -> "UOTM":
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value, custom_objects)
                for name, value in config.items()
            }
        )

    def get_compile_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "generator_optimizer": serialize(self.generator_optimizer),
            "potential_optimizer": serialize(self.potential_optimizer),
            **self._compile_options,
        }

    def compile_from_config(self, config: dict) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _random_states(self) -> list:
        """The seed generators' states, which Keras's own files leave out."""
        return [v for v in self.non_trainable_variables if v.name == "seed_generator_state"]

    def save_own_variables(self, store) -> None:
        super().save_own_variables(store)
        for i, state in enumerate(self._random_states()):
            store[f"random_state_{i}"] = ops.convert_to_numpy(state)
        for name, tracker in self.trackers.items():
            for variable in tracker.variables:
                store[f"{name}_{variable.name}"] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store) -> None:
        super().load_own_variables(
            {key: store[key] for key in store.keys() if key.isdigit()}  # noqa: SIM118
        )
        for i, state in enumerate(self._random_states()):
            state.assign(np.array(store[f"random_state_{i}"]))
        for name, tracker in self.trackers.items():
            for variable in tracker.variables:
                variable.assign(np.array(store[f"{name}_{variable.name}"]))


def _tensor(array):
    return None if array is None else ops.convert_to_tensor(array, "float32")


def _check_choice(name: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise InputError(f"{name}={value!r} must be one of {', '.join(accepted)}.")


def _optimizer(given, learning_rate: float) -> keras.optimizers.Optimizer:
    return Adam(learning_rate) if given is None else keras.optimizers.get(given)


def _shapes(generator: keras.Model, potential: keras.Model):
    """(source shape, latent dimension or None, data shape) of two built networks."""
    if not (generator.built and potential.built):
        raise InputError("the generator and the potential must be built before a UOTM is made.")
    inputs = generator.inputs
    if len(inputs) not in (1, 2):
        raise InputError(
            f"the generator has {len(inputs)} inputs: accepted are x, or x and a latent z."
        )
    source_shape = tuple(inputs[0].shape[1:])
    latent_dim = int(inputs[1].shape[-1]) if len(inputs) == 2 else None
    data_shape = tuple(generator.outputs[0].shape[1:])
    potential_shape = tuple(potential.inputs[0].shape[1:])
    if potential_shape != data_shape:
        raise InputError(
            f"the potential takes {potential_shape} but the generator gives {data_shape}: the "
            "two shapes must be the same."
        )
    return source_shape, latent_dim, data_shape
