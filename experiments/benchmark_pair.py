"""Compare trained maps with the true map of a public Wasserstein-2 benchmark.

    python -m experiments.benchmark_pair
    python -m experiments.benchmark_pair --variants=all --iterations=5000

A pair is an .npz file with x_train and y_train (unpaired samples), x_test and y_test (points and
their images under the true map) and optionally var_y, the total variance of the target. The
default pair is 4-D, a mixture of 3 Gaussians to one of 10 (Korotin et al., NeurIPS 2021)."""

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

import uotm_keras as uk
from experiments import clouds
from experiments.cases import Cases
from experiments.command import Options, new_command, run, say
from experiments.figures import COLORS, GRAY, LINES, MARKERS, Figure, label, new_figure
from experiments.results import Results, Table, deviations, over_seeds
from uotm_keras import InputError, backend, costs, networks, penalties, presets, schedules
from uotm_keras.config import Enums, Integer, Text, flag
from uotm_keras.utils.files import local_path

PAIR = Path(__file__).parents[1] / "tests" / "golden" / "w2_mix3to10_4d.npz"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
LEAST_POINTS = 256


class Setting(NamedTuple):
    """A setting of the model and of its training; the defaults are `presets.point_cloud`."""

    map: str = "affine"
    potential: str = "quadratic"
    inner: int = 4
    rate: float = 2e-3
    decay: bool = True
    average: float = 0.999
    betas: tuple[float, float] = (0.5, 0.9)
    optimality: float | None = 1.0
    r1: float | None = None
    width: int = 96
    batch_size: int = 256


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    # name: (description in the table, changes of the default setting)
    "recommended": ("the recommended setting", {}),
    "no_optimality": ("without the gradient-optimality penalty", {"optimality": None}),
    "no_optimality_low_rate": ("without the penalty, learning rates 1e-3",
                               {"optimality": None, "rate": 1e-3}),
    "light_optimality": ("gradient-optimality weight × 0.1", {"optimality": 0.1}),
    "heavy_optimality": ("gradient-optimality weight × 10", {"optimality": 10.0}),
    "r1": ("R1 penalty with γ = 0.01 instead", {"optimality": None, "r1": 0.01}),
    "low_rate": ("learning rates 1e-3", {"rate": 1e-3}),
    "constant_rate": ("constant learning rates", {"decay": False}),
    "no_average": ("without weight averaging", {"average": 0.0}),
    "constant_no_average": ("constant learning rates, without weight averaging",
                            {"decay": False, "average": 0.0}),
    "smooth_adam": ("Adam(0.9, 0.999)", {"betas": (0.9, 0.999)}),
    "plain": ("plain networks without affine map and quadratic form",
              {"map": "plain", "potential": "plain"}),
    "residual": ("identity instead of the affine map, no quadratic form",
                 {"map": "residual", "potential": "plain"}),
    "one_inner": ("1 map step per potential step", {"inner": 1}),
    "ten_inner": ("10 map steps per potential step", {"inner": 10}),
    "narrow": ("networks of width 64", {"width": 64}),
    "wide": ("networks of width 128", {"width": 128}),
    "large_batch": ("batches of 1024", {"batch_size": 1024}),
}  # fmt: skip


class Pair(NamedTuple):
    """A benchmark pair: arrays of shape (n, d), and the total variance of the target."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    variance: float


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions(Options):
    """The flags of this experiment."""

    pair: str = flag(
        str(PAIR.relative_to(PAIR.parents[2])),
        Text("the path of an .npz file"),
        "The benchmark pair.",
    )
    variants: tuple[str, ...] = flag(
        ("recommended",), Enums("all", *VARIANTS), "Variants of the setting to train."
    )
    readings: int = flag(10, Integer(1, 1_000), "Number of evaluations during a training run.")

    def check(self) -> None:
        """Check the pair's file."""
        load(self.pair)


COMMAND = new_command(__doc__, BenchmarkOptions, iterations=20_000, width=Setting().width)


def load(path: str) -> Pair:
    """Read a pair.

    Raises:
        InputError: the file is not a pair, its dimensions differ, or it has too few points.
    """
    file = local_path(path)
    if not file.is_absolute() and not file.exists():
        file = PAIR.parents[2] / file
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name], "float32") for name in ARRAYS}
            variance = archive["var_y"] if "var_y" in archive.files else None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"--pair={path} cannot be read ({error}); use an .npz file with {', '.join(ARRAYS)}."
        ) from None
    shapes = {name: array.shape for name, array in arrays.items()}
    if (
        any(len(shape) != 2 for shape in shapes.values())
        or len({s[1] for s in shapes.values()}) > 1
    ):
        raise InputError(
            f"--pair={path} has arrays of shapes {shapes}; use arrays of shape (n, d) with the "
            "same d."
        )
    if len(arrays["x_test"]) != len(arrays["y_test"]):
        raise InputError(
            f"--pair={path} has {len(arrays['x_test'])} x_test and {len(arrays['y_test'])} y_test "
            "points; use equal numbers."
        )
    for name, array in arrays.items():
        if len(array) < LEAST_POINTS:
            raise InputError(
                f"--pair={path} has {len(array)} points in {name}; use at least {LEAST_POINTS}."
            )
    spread = arrays["y_train"].var(axis=0).sum() if variance is None else variance
    return Pair(**arrays, variance=float(spread))


def build(setting: Setting, dim: int, iterations: int, seed: int) -> uk.UOTM:
    """Return the compiled model of a setting; the default one is `presets.point_cloud`."""
    keras.utils.set_random_seed(seed)
    model = uk.UOTM(
        networks.ResMLPGenerator(
            dim, 0, setting.width, blocks=2,
            affine=setting.map == "affine", residual=setting.map == "residual",
        ),
        networks.ResMLPPotential(
            dim, setting.width, blocks=2, quadratic=setting.potential == "quadratic"
        ),
        cost=costs.Quadratic(1.0), source_divergence="balanced", target_divergence="balanced",
        gradient_penalty=_penalty(setting, dim),
        generator_steps=setting.inner, ema_decay=setting.average, source="data", seed=seed,
    )  # fmt: skip
    last = 0.0 if setting.decay else setting.rate
    rates = [
        schedules.CosineAnnealing(setting.rate, last, iterations * steps)
        for steps in (model.generator_steps, 1)
    ]
    model.compile(*(uk.optimizers.Adam(rate, *setting.betas) for rate in rates))
    return model


def _penalty(setting: Setting, dim: int) -> penalties.GradientPenalty | None:
    if setting.optimality:
        weight = setting.optimality * presets.optimality_weight(dim, tau=1.0)
        return penalties.GradientOptimality(weight)
    return penalties.R1(setting.r1) if setting.r1 else None


class _Readings(keras.callbacks.Callback):
    """Evaluate the averaged map every so many steps."""

    def __init__(self, pair: Pair, every: int) -> None:
        super().__init__()
        self.pair, self.every = pair, every
        self.found: list[tuple[int, float]] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if (batch + 1) % self.every == 0:
            backend.sync(self.model)
            self.found.append((batch + 1, error(self.model, self.pair)))


def error(model: uk.UOTM, pair: Pair) -> float:
    """Return the L2-UVP of the averaged map at the test points."""
    moved = clouds.transport(model, pair.x_test)
    return clouds.l2_uvp(moved, pair.y_test, pair.variance)


def case(variant: str, pair: Pair, seed: int, options: BenchmarkOptions) -> dict:
    """Train one variant; return its row and the errors during training."""
    given = Setting(width=options.width, batch_size=options.batch_size)
    setting = given._replace(**VARIANTS[variant][1])
    iterations = options.iterations
    model = build(setting, pair.x_train.shape[1], iterations, seed)
    readings = _Readings(pair, max(1, iterations // options.readings))
    times = clouds.train(
        model, clouds.from_array(pair.x_train), clouds.from_array(pair.y_train),
        iterations, setting.batch_size, seed, [readings],
    )  # fmt: skip
    last = error(model, pair)
    least = min([last, *(value for _, value in readings.found)])
    row = {"variant": variant, "seed": seed, "uvp": last, "least": least}
    say(f"{variant}, seed {seed}: L2-UVP {last:.4f} %, {times.wall:.0f} s")
    return {"row": {**row, "wall": times.wall, "cpu": times.cpu}, "readings": readings.found}


def simple_maps(pair: Pair) -> list[dict]:
    """Return the errors of the identity and of the best affine map."""
    x, y = pair.x_test.astype(float), pair.y_test.astype(float)
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    affine = ones @ np.linalg.lstsq(ones, y, rcond=None)[0]
    return [
        {"what": name, "uvp": clouds.l2_uvp(moved, y, pair.variance)}
        for name, moved in (("identity", x), ("best affine map (fitted to the true map)", affine))
    ]


def work(options: BenchmarkOptions, cases: Cases) -> Results | None:
    """Run all variants and seeds and return the results."""
    pair = load(options.pair)
    variants = VARIANTS if "all" in options.variants else options.variants
    runs: list[dict] = []
    curves: dict[str, list] = {}
    for variant in variants:
        for seed in cases.seeds:
            found = cases.case((variant, seed), case, variant, pair, seed, options)
            runs.append(found["row"])
            curves.setdefault(variant, []).append(found["readings"])
    if cases.is_part:
        return None
    summary = over_seeds(runs, ["variant"])
    for row in summary:
        row["what"] = VARIANTS[row["variant"]][0]
    tables = [
        Table(
            {
                "what": ("setting", ""), "uvp": ("L2-UVP, %", ".3f"),
                "least": ("smallest during training", ".3f"), "seeds": ("seeds", ""),
                "wall": ("seconds per run", ".0f"), "cpu": ("CPU seconds", ".0f"),
            },
            summary + simple_maps(pair),
        )
    ]  # fmt: skip
    text = f"""
Balanced transport is trained on a public benchmark pair, {Path(options.pair).name}, with
{len(pair.x_train):,} source and {len(pair.y_train):,} target samples that are not paired, and
{len(pair.x_test):,} test points with their images under the true map. Unless the table says
otherwise, training takes {options.iterations:,} iterations of {Setting().inner} map steps and one
potential step on batches of {options.batch_size}, with networks of width {options.width}.
{deviations(options.seeds)}

L2-UVP is 100·E‖T̂(x) − T(x)‖²/Var(ν) at the test points, which training does not use. "Smallest
during training" is what early stopping on the test points would have achieved. The penalty, the
learning rates and the width of the recommended setting were chosen on the same test points, from
runs with another seed."""
    return Results(
        "A public benchmark of transport maps", text, tables, runs, _figure(curves),
        "Error of the averaged map during training (mean over the seeds).",
    )  # fmt: skip


def _name(options: BenchmarkOptions) -> str:
    # The table of the variants must not replace that of the recommended setting.
    return "benchmark_pair" + ("" if options.variants == ("recommended",) else "_variants")


def _figure(curves: dict[str, list]) -> Figure:
    figure, axes = new_figure(width=6.4, height=3.8)
    ax = axes[0, 0]
    for i, (variant, found) in enumerate(curves.items()):
        steps = [step for step, _ in found[0]]
        ax.plot(
            steps, np.mean([[value for _, value in readings] for readings in found], axis=0),
            LINES[i // len(COLORS) % len(LINES)], marker=MARKERS[i % len(MARKERS)], markersize=4,
            color=COLORS[i % len(COLORS)], linewidth=1.2, label=VARIANTS[variant][0],
        )  # fmt: skip
    ax.axhline(0.3, color=GRAY, linewidth=1.5)
    ax.text(
        0.98, 0.3, "target: 0.3 %", fontsize=8, color="#555555", ha="right", va="top",
        transform=ax.get_yaxis_transform(),
    )  # fmt: skip
    ax.set_yscale("log")
    for axis in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "1235" else "")
    label(ax, "iteration", "error of the map, L2-UVP in %")
    ax.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and return the exit code."""
    return run("benchmark_pair", COMMAND, work, argv, _name)


if __name__ == "__main__":
    raise SystemExit(main())
