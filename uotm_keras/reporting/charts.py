"""Which columns of a run's log are drawn together, and under which heading."""

from collections.abc import Mapping

import numpy as np

from uotm_keras.metrics.scorer import LABELS
from uotm_keras.reporting.curves import Chart, Line
from uotm_keras.reporting.run_files import Curve

_TRAINING = (
    ("Losses", "loss, no unit", ("potential_loss", "generator_loss")),
    ("Transport cost", "mean of c(x, T(x, z))", ("cost",)),
    ("Gradient penalty", "as in the potential's loss, no unit", ("penalty",)),
    ("Learning rates", "rate, no unit", ("generator_lr", "potential_lr")),
    ("Scale of the divergences", "α, no unit", ("alpha",)),
    ("Average of the weights", "decay a step", ("ema_decay",)),
)
_SCORES = (
    ("FID", "Fréchet distance, lower is better", ("fid",)),
    ("KID", "squared MMD, lower is better", ("kid",)),
    ("Inception Score", "higher is better", ("is",)),
    ("Digit Fréchet distance, not FID", "distance, lower is better", ("digits",)),
    ("Precision and recall", "fraction, higher is better", ("precision", "recall")),
    ("Density and coverage", "higher is better", ("density", "coverage")),
)
_MACHINE = (
    ("Throughput", "images / s", ("images_per_second",)),
    ("Memory of the process", "MiB", ("memory_mb",)),
)
# In the table of numbers alone: the same curve as another one, or no curve.
_NOT_DRAWN = {"steps_per_second", "seconds", "score_samples"}
_SCHEDULES = ("generator_lr", "potential_lr", "alpha", "ema_decay")
_LABELS = {
    **LABELS,
    "potential_loss": "potential",
    "generator_loss": "generator",
    "cost": "transport cost",
    "penalty": "gradient penalty",
    "generator_lr": "generator",
    "potential_lr": "potential",
    "alpha": "α",
    "ema_decay": "decay",
    "images_per_second": "images / s",
    "memory_mb": "memory, MiB",
}


def training_charts(curves: Mapping[str, Curve]) -> list[Chart]:
    """Losses and what they are made of; schedules where they change; unknown columns last."""
    known = {name for _, _, names in (*_TRAINING, *_SCORES, *_MACHINE) for name in names}
    spreads = {f"{name}_std" for name in known}
    others = [
        (name.replace("_", " "), "as logged", (name,))
        for name in curves
        if name not in known | spreads | _NOT_DRAWN
    ]
    return _charts(curves, (*_TRAINING, *others))


def score_charts(curves: Mapping[str, Curve]) -> list[Chart]:
    """One chart a score, or a pair of scores that belong together."""
    return _charts(curves, _SCORES)


def machine_charts(curves: Mapping[str, Curve]) -> list[Chart]:
    """Throughput and memory."""
    return _charts(curves, _MACHINE)


def constants(curves: Mapping[str, Curve]) -> dict[str, float]:
    """Columns that have no chart because they never changed."""
    found = {name: curves[name] for name in _SCHEDULES if name in curves}
    return {name: curve.values[0] for name, curve in found.items() if _is_constant(curve)}


def _charts(curves: Mapping[str, Curve], groups) -> list[Chart]:
    charts = []
    for title, unit, names in groups:
        there = [name for name in names if name in curves]
        if not there or all(_is_dull(name, curves[name]) for name in there):
            continue
        lines = [
            Line(name, _LABELS.get(name, title), curves[name], _spread(curves, name))
            for name in there
        ]
        charts.append(Chart(title, unit, lines))
    return charts


def _spread(curves: Mapping[str, Curve], name: str) -> Curve | None:
    spread = curves.get(f"{name}_std")
    return spread if spread is not None and len(spread.steps) == len(curves[name].steps) else None


def _is_dull(name: str, curve: Curve) -> bool:
    constant = _is_constant(curve)
    return constant and (name in _SCHEDULES or name == "penalty" and curve.values[0] == 0)


def _is_constant(curve: Curve) -> bool:
    return bool(np.ptp(curve.values) == 0)
