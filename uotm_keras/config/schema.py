"""`TrainConfig`: every setting of a training run, and the checks across them.

The flags of `train.py`, their help, the record in `config.json`, the check whether a run may
resume, the flags that the run's page points out, and the presets are derived from it.
"""

import dataclasses

from uotm_keras.config.fields import group
from uotm_keras.config.groups import DataConfig, DeviceConfig, RunConfig, ScoreConfig
from uotm_keras.config.model_groups import (
    GeneratorConfig,
    ObjectiveConfig,
    OptimizationConfig,
    PotentialConfig,
)
from uotm_keras.utils.errors import InputError


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run.

    Example:
        >>> from uotm_keras.config import from_flags
        >>> config = from_flags(TrainConfig, {"dataset": "digits", "batch_size": 64})
        >>> config.data.batch_size
        64
    """

    run: RunConfig = group(RunConfig, "Run")
    devices: DeviceConfig = group(DeviceConfig, "Devices, precision, memory")
    scores: ScoreConfig = group(ScoreConfig, "Scores during training")
    data: DataConfig = group(DataConfig, "Data")
    generator: GeneratorConfig = group(GeneratorConfig, "Generator")
    potential: PotentialConfig = group(PotentialConfig, "Potential")
    objective: ObjectiveConfig = group(ObjectiveConfig, "Objective")
    optimization: OptimizationConfig = group(OptimizationConfig, "Optimization (Adam)")

    def check(self) -> None:
        """Check that the values fit together.

        Raises:
            InputError: two flags exclude each other.
        """
        self._check_intervals()
        self._check_objective()
        self._check_conditional()
        if self.generator.rematerialize and self.generator.dropout:
            raise InputError(
                f"flag --dropout={self.generator.dropout:g} must be 0 with --rematerialize: "
                "recomputed activations would drop other units."
            )
        if self.generator.generator == "ncsnpp" and self.generator.latent_dim < 1:
            raise InputError(
                f"flag --latent_dim={self.generator.latent_dim} must be at least 1 with "
                "--generator=ncsnpp."
            )
        smallest = min(self.optimization.generator_lr, self.optimization.potential_lr)
        decays = self.optimization.lr_schedule == "cosine"
        if decays and self.optimization.lr_minimum > smallest:
            raise InputError(
                f"flag --lr_minimum={self.optimization.lr_minimum:g} must be at most the "
                f"smaller initial learning rate, {smallest:g}."
            )

    def _check_intervals(self) -> None:
        many = self.devices.steps_per_execution
        intervals = {
            "log_every": self.run.log_every,
            "checkpoint_every": self.run.checkpoint_every,
            "sample_every": self.run.sample_every,
            "eval_every": self.scores.eval_every,
            "max_steps": self.run.max_steps,
        }
        for name, steps in intervals.items():
            if steps % many:
                raise InputError(f"flag --steps_per_execution={many} must divide --{name}={steps}.")
        if self.scores.keep_best and not self.scores.eval_every:
            raise InputError("flag --keep_best needs scores: set --eval_every above 0.")

    def _check_conditional(self) -> None:
        if not self.data.conditional:
            return
        for name, reason in (
            ("contaminate", "outliers have no class"),
            ("source_dataset", "its examples have no classes of the dataset"),
        ):
            value = getattr(self.data, name)
            if value:
                raise InputError(f"flags --{name}={value} and --conditional exclude each other: "
                                 f"{reason}.")  # fmt: skip
        if self.objective.pairing == "all_pairs":
            raise InputError(
                "flags --pairing=all_pairs and --conditional exclude each other: pairs would mix "
                "classes."
            )
        if self.generator.generator == "small":
            raise InputError(
                "flag --generator=small cannot be conditional: use ncsnpp, light or resmlp."
            )

    def _check_objective(self) -> None:
        chosen = self.objective
        penalties = [
            f"--{name}={weight:g}"
            for name in (
                "r1_gamma",
                "wgan_gp_weight",
                "optimality_weight",
                "source_gradient_weight",
            )
            if (weight := getattr(chosen, name))
        ]
        if len(penalties) > 1:
            raise InputError(
                f"flags {' and '.join(penalties)} exclude each other: set all but one to 0."
            )
        if chosen.jko_step_size and chosen.source_divergence != "balanced":
            raise InputError(
                f"flag --source_divergence={chosen.source_divergence} must be balanced with "
                f"--jko_step_size={chosen.jko_step_size:g}."
            )
        for name in ("jko_first_phase_steps", "jko_data_noise"):
            if getattr(chosen, name) and not chosen.jko_step_size:
                raise InputError(
                    f"flag --{name}={getattr(chosen, name):g} is for S-JKO: set --jko_step_size "
                    "above 0."
                )
        if chosen.alpha_schedule != "none" and chosen.alpha_warmup >= chosen.alpha_until:
            raise InputError(
                f"flag --alpha_warmup={chosen.alpha_warmup} must be below "
                f"--alpha_until={chosen.alpha_until}."
            )
