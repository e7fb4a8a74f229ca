"""Train the toy problems of the UOTM paper with the settings of its released code.

    python -m experiments.released --toy=outliers
    python -m experiments.released --toy=mixture --iterations=30000 --learning_rate=1e-5

Variants of the training on the outliers show which setting makes the difference. The results are
written to released_TOY.csv, .md and .png."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import uotm_keras as uk
from experiments import clouds, mixture, outliers
from experiments.cases import Cases
from experiments.command import Options, PositiveNumbers, new_command, run, say
from experiments.results import Results
from uotm_keras import costs, networks, penalties
from uotm_keras.config import Enum, Enums, Float, Integer, flag
from uotm_keras.data import toy
from uotm_keras.training.step_callback import StepCallback
from uotm_keras.utils.errors import InputError

DATA_POINTS = 4_000
READINGS = 8
"""Number of times that a run is evaluated."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A way to train; the defaults are those of the released code for UOTM on the mixture."""

    label: str
    source_divergence: str = "kl"
    target_divergence: str = "kl"
    pairing: str = "all_pairs"
    penalty: float = 0.0
    potential_steps: int = 5
    generator_steps: int = 1
    near_identity: bool = False
    longer: int = 1

    @property
    def solves(self) -> tuple[str, float]:
        """The problem that the setting solves: its name, and the factor of the cost ½τ‖x − y‖².

        All pairs of KL divergences solve fixed-μ with ½·KL, and so fixed-μ at twice the cost.
        """
        if self.target_divergence == "balanced":
            return "otm", 1.0
        if self.source_divergence == "balanced":
            return "fixed_mu", 1.0
        return ("uotm", 1.0) if self.pairing == "paired" else ("fixed_mu", 2.0)


METHODS = {
    "otm": Setting("OTM", "balanced", "balanced"),
    "fixed_mu": Setting("fixed-μ", "balanced"),
    "uotm": Setting("UOTM"),
}
_IDENTITY, _ONE_TO_FOUR = {"near_identity": True}, {"potential_steps": 1, "generator_steps": 4}
_CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "uotm": ("UOTM, as released", {}),
    "no_penalty": ("λ = 0", {"penalty": 0.0}),
    "paired": ("paired", {"pairing": "paired"}),
    "one_to_four": ("1 potential step, 4 generator steps", _ONE_TO_FOUR),
    "identity": ("map begins near the identity", _IDENTITY),
    "identity_no_penalty": ("near the identity, λ = 0", {**_IDENTITY, "penalty": 0.0}),
    "all_three": (
        "near the identity, λ = 0, 1 and 4 steps", {**_IDENTITY, **_ONE_TO_FOUR, "penalty": 0.0}
    ),
    "longer": ("4 times the iterations", {"longer": 4}),
}  # fmt: skip
SETTINGS: dict[str, dict[str, Setting]] = {
    "outliers": {"otm": METHODS["otm"], "fixed_mu": METHODS["fixed_mu"]}
    | {
        name: dataclasses.replace(Setting(text, penalty=0.01), **changes)
        for name, (text, changes) in _CHANGES.items()
    },
    "mixture": METHODS,
}
"""The settings of each toy problem by name."""


@dataclasses.dataclass(frozen=True)
class ReleasedOptions(Options):
    """The flags of this experiment."""

    toy: str = flag("outliers", Enum(*SETTINGS), "Toy problem to train on.")
    variants: tuple[str, ...] | None = flag(
        None, Enums(*SETTINGS["outliers"]),
        "Settings to train with. all is every setting of the toy problem; the mixture has otm, "
        "fixed_mu and uotm.",
        none="all",
    )  # fmt: skip
    taus: tuple[float, ...] | None = flag(
        None, PositiveNumbers(),
        "Values of τ; the cost is ½τ‖x − y‖². paper is 0.1 for the outliers, and 0.1 and 0.02 "
        "for the mixture.",
        none="paper",
    )  # fmt: skip
    learning_rate: float = flag(
        1e-4, Float(0, exclusive=True), "Learning rate of both networks, which is constant."
    )
    points: int = flag(100_000, Integer(10_000, 10_000_000), "Number of samples to generate.")


COMMAND = new_command(__doc__, ReleasedOptions, width=128)
_TAUS = {"outliers": (0.1,), "mixture": (0.1, 0.02)}


def build(setting: Setting, tau: float, options: ReleasedOptions, seed: int) -> uk.UOTM:
    """Return the compiled model of a setting for points on a line."""
    keras.utils.set_random_seed(seed)
    model = uk.UOTM(
        networks.ResMLPGenerator(1, 2, options.width, affine=setting.near_identity),
        networks.ResMLPPotential(1, options.width),
        cost=costs.Quadratic(tau / 2),
        source_divergence=setting.source_divergence,
        target_divergence=setting.target_divergence,
        gradient_penalty=penalties.SourceGradient(setting.penalty) if setting.penalty else None,
        pairing=setting.pairing,
        potential_steps=setting.potential_steps,
        generator_steps=setting.generator_steps,
        ema_decay=0.0,
        source="data",
        seed=seed,
    )
    rate = options.learning_rate
    model.compile(*(uk.optimizers.Adam(rate, 0.9, 0.999) for _ in range(2)))
    return model


class _Readings(StepCallback):
    """Evaluate the map during training."""

    def __init__(self, every: int, read: Any) -> None:
        super().__init__(every)
        self.read = read
        self.found: list[list[float]] = []

    def at_step(self, step: int) -> None:
        self.found.append([step, *self.read()])


def case(setting: Setting, tau: float, seed: int, options: ReleasedOptions) -> dict:
    """Train one setting; return its row, its readings, and what the figure shows."""
    of_outliers = options.toy == "outliers"
    name = "outliers_1d" if of_outliers else "mixture_1d"
    data = toy(name, DATA_POINTS, seed)
    source = toy(f"{name}_source", options.points, seed + 1_000_000).points
    draw = (
        clouds.gaussian([0.0], [[1.0]])
        if of_outliers
        else clouds.from_array(toy(f"{name}_source", mixture.TRAINED_ON, seed).points)
    )
    model = build(setting, tau, options, seed)

    def measured() -> tuple[np.ndarray, dict[str, float]]:
        moved = clouds.transport(model, source, seed)
        found = outliers.measure(moved, -1.0) if of_outliers else mixture.measure(moved, seed)
        return moved, found

    iterations = options.iterations * setting.longer
    callback = _Readings(max(1, iterations // READINGS), lambda: measured()[1].values())
    times = clouds.train(
        model, draw, clouds.from_array(data.points), iterations, options.batch_size, seed,
        [callback],
    )  # fmt: skip
    moved, found = measured()
    weights = model.target_weights(
        data.points, 4096, costs=model.transport_costs(source[:8192], batch_size=8192)
    )
    row: dict[str, Any] = {"setting": setting.label, "tau": tau, "seed": seed, **found}
    if of_outliers:
        row["weight"] = float(weights[data.outliers].mean())
        row["others"] = float(np.delete(weights, data.outliers).mean())
    row |= {"wall": times.wall, "cpu": times.cpu}
    say(f"{setting.label}, τ {tau:g}, seed {seed}: " + ", ".join(
        f"{key} {value:.4g}" for key, value in found.items()
    ))  # fmt: skip
    return {"row": row, "readings": callback.found, "points": [source[:3000], moved[:3000]]}


def chosen(options: ReleasedOptions) -> dict[str, Setting]:
    """Return the settings to train with.

    Raises:
        InputError: If the toy problem does not have a setting.
    """
    known = SETTINGS[options.toy]
    names = known if options.variants is None else options.variants
    for name in names:
        if name not in known:
            raise InputError(f"flag --variants={name}: --toy={options.toy} has {', '.join(known)}.")
    return {name: known[name] for name in names}


def work(options: ReleasedOptions, cases: Cases) -> Results | None:
    """Run all settings and seeds and return the results."""
    settings, taus = chosen(options), options.taus or _TAUS[options.toy]
    runs, found = [], {}
    for tau in taus:
        for name, setting in settings.items():
            for seed in cases.seeds:
                key = options.toy, name, f"{tau:g}", seed
                found[name, tau, seed] = cases.case(key, case, setting, tau, seed, options)
                runs.append(found[name, tau, seed]["row"])
    if cases.is_part:
        return None
    raise NotImplementedError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("released", COMMAND, work, argv, lambda options: f"released_{options.toy}")


if __name__ == "__main__":
    raise SystemExit(main())
