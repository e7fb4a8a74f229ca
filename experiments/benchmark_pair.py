"""The public Wasserstein-2 benchmark: a trained map against the true one.

    python -m experiments.benchmark_pair
    python -m experiments.benchmark_pair --variants=all --iterations=5000

A pair (default: 4-D, a mixture of 3 Gaussians onto one of 10; Korotin et al., NeurIPS 2021)
is a .npz file of x_train, y_train (unpaired samples), x_test, y_test (points and their true
images) and, optionally, var_y (the target's total variance)."""

import zipfile
from pathlib import Path

import keras
import numpy as np

from experiments import clouds
from experiments.cases import Cases
from experiments.command import new_command, run, say
from experiments.figures import COLOURS, GREY, LINES, MARKERS, label, new_figure
from experiments.results import Results, Table, over_seeds
from uotm_keras import UOTM, InputError, backend, costs, networks, penalties, presets, schedules
from uotm_keras.config.flags import Names, Text, WholeNumber
from uotm_keras.models.optimizers import Adam

PAIR = Path(__file__).parents[1] / "tests" / "golden" / "w2_mix3to10_4d.npz"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
LEAST_POINTS = 256
BASE = {
    "map": "affine", "potential": "quadratic", "inner": 4, "rate": 2e-3, "decay": True,
    "average": 0.999, "betas": (0.5, 0.9), "optimality": 1.0, "r1": None, "width": 96,
    "batch_size": 256,
}  # fmt: skip
VARIANTS = {
    # name: (what it says in the table, what it changes of BASE)
    "recommended": ("the recommended setting", {}),
    "no_optimality": ("no gradient-optimality penalty", {"optimality": None}),
    "no_optimality_low_rate": ("…, and learning rates of 1e-3",
                               {"optimality": None, "rate": 1e-3}),
    "light_optimality": ("gradient optimality, weight 0.1", {"optimality": 0.1}),
    "heavy_optimality": ("gradient optimality, weight 10", {"optimality": 10.0}),
    "r1": ("R1 penalty, γ = 0.01, instead", {"optimality": None, "r1": 0.01}),
    "low_rate": ("learning rates of 1e-3", {"rate": 1e-3}),
    "constant_rate": ("learning rates that do not fall", {"decay": False}),
    "no_average": ("the map not averaged", {"average": 0.0}),
    "constant_no_average": ("neither falling rates nor average",
                            {"decay": False, "average": 0.0}),
    "smooth_adam": ("Adam(0.9, 0.999)", {"betas": (0.9, 0.999)}),
    "plain": ("plain networks: no affine part, no quadratic form",
              {"map": "plain", "potential": "plain"}),
    "residual": ("identity instead of the affine part, no quadratic form",
                 {"map": "residual", "potential": "plain"}),
    "one_inner": ("1 step of the map to one of the potential", {"inner": 1}),
    "ten_inner": ("10 steps of the map", {"inner": 10}),
    "narrow": ("networks of width 64", {"width": 64}),
    "wide": ("networks of width 128", {"width": 128}),
    "large_batch": ("batches of 1024", {"batch_size": 1024}),
}  # fmt: skip


def command():
    """The flags of this experiment."""
    c = new_command(__doc__, iterations=20_000, width=BASE["width"])
    c.add("pair", Text("the path of a .npz file"), str(PAIR.relative_to(PAIR.parents[2])),
          "The benchmark's pair.")  # fmt: skip
    c.add("variants", Names("all", *VARIANTS), ["recommended"], "Settings to train.")
    c.add("readings", WholeNumber(1, 1_000), 10, "Of the error, over a training.")
    return c


def load(path: str) -> dict[str, np.ndarray]:
    """The arrays of a pair.

    Raises:
        InputError: not such a file, dimensions that differ, or too few points.
    """
    file = Path(path).expanduser()
    if not file.is_absolute() and not file.exists():
        file = PAIR.parents[2] / file
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name], "float32") for name in ARRAYS}
            variance = archive["var_y"] if "var_y" in archive.files else None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"flag --pair={path}: accepted is a .npz file with {', '.join(ARRAYS)} ({error})."
        ) from None
    shapes = {name: array.shape for name, array in arrays.items()}
    if (
        any(len(shape) != 2 for shape in shapes.values())
        or len({s[1] for s in shapes.values()}) > 1
    ):
        raise InputError(f"flag --pair={path}: points of one dimension are needed, not {shapes}.")
    if len(arrays["x_test"]) != len(arrays["y_test"]):
        raise InputError(f"flag --pair={path}: x_test and y_test must have the same length.")
    for name, array in arrays.items():
        clouds.need_points(len(array), LEAST_POINTS, f"pair={path}, {name}")
    spread = arrays["y_train"].var(axis=0).sum() if variance is None else variance
    return {**arrays, "variance": float(spread)}


def build(setting: dict, dim: int, iterations: int, seed: int) -> UOTM:
    """The model of a setting, `presets.point_cloud` where it is `BASE`."""
    keras.utils.set_random_seed(seed)
    model = UOTM(
        networks.ResMLPGenerator(
            dim, 0, setting["width"], blocks=2,
            affine=setting["map"] == "affine", residual=setting["map"] == "residual",
        ),
        networks.ResMLPPotential(
            dim, setting["width"], blocks=2, quadratic=setting["potential"] == "quadratic"
        ),
        cost=costs.Quadratic(1.0), source_divergence="balanced", target_divergence="balanced",
        gradient_penalty=_penalty(setting, dim),
        generator_steps=setting["inner"], ema_decay=setting["average"], source="data", seed=seed,
    )  # fmt: skip
    rate = setting["rate"]
    rates = [
        schedules.CosineAnnealing(rate, 0.0 if setting["decay"] else rate, iterations * steps)
        for steps in (model.generator_steps, 1)
    ]
    model.compile(*(Adam(rate, *setting["betas"]) for rate in rates))
    return model


def _penalty(setting: dict, dim: int) -> penalties.GradientPenalty | None:
    if setting["optimality"]:
        weight = setting["optimality"] * presets.optimality_weight(dim, tau=1.0)
        return penalties.GradientOptimality(weight)
    return setting["r1"] and penalties.R1(setting["r1"])


class _Readings(keras.callbacks.Callback):
    """The error of the averaged map at some steps of a training, and at its end."""

    def __init__(self, pair: dict, every: int):
        super().__init__()
        self.pair, self.every, self.found = pair, every, []

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.every == 0:
            backend.sync(self.model)
            self.found.append((batch + 1, error(self.model, self.pair)))


def error(model: UOTM, pair: dict) -> float:
    """L2-UVP of the averaged map on the test points."""
    moved = clouds.transport(model, pair["x_test"])
    return clouds.l2_uvp(moved, pair["y_test"], pair["variance"])


def case(variant: str, pair: dict, seed: int, flags: dict) -> dict:
    """One training: its row, and the readings on the way."""
    setting = BASE | {k: flags[k] for k in ("width", "batch_size")} | VARIANTS[variant][1]
    iterations = flags["iterations"]
    model = build(setting, pair["x_train"].shape[1], iterations, seed)
    readings = _Readings(pair, max(1, iterations // flags["readings"]))
    times = clouds.train(
        model, clouds.from_array(pair["x_train"]), clouds.from_array(pair["y_train"]),
        iterations, setting["batch_size"], seed, [readings],
    )  # fmt: skip
    row = {"variant": variant, "seed": seed, "uvp": error(model, pair)}
    row["least"] = min([row["uvp"], *(value for _, value in readings.found)])
    say(f"{variant}, seed {seed}: L2-UVP {row['uvp']:.4f} %, {times.wall:.0f} s")
    return {"row": {**row, "wall": times.wall, "cpu": times.cpu}, "readings": readings.found}


def simple_maps(pair: dict) -> list[dict]:
    """What the identity and the best affine map score."""
    x, y = pair["x_test"].astype(float), pair["y_test"].astype(float)
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    affine = ones @ np.linalg.lstsq(ones, y, rcond=None)[0]
    return [
        {"what": name, "uvp": clouds.l2_uvp(moved, y, pair["variance"])}
        for name, moved in (("identity", x), ("best affine map (fitted to the true one)", affine))
    ]


def work(flags: dict, cases: Cases) -> Results | None:
    """All variants and seeds."""
    pair = load(flags["pair"])
    variants = list(VARIANTS) if "all" in flags["variants"] else flags["variants"]
    runs, curves = [], {}
    for variant in variants:
        for seed in cases.seeds:
            found = cases.case((variant, seed), case, variant, pair, seed, flags)
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
                "least": ("least on the way", ".3f"), "seeds": ("seeds", ""),
                "wall": ("s a run", ".0f"), "cpu": ("CPU s", ".0f"),
            },
            summary + simple_maps(pair),
        )
    ]  # fmt: skip
    text = f"""
Balanced transport of a public benchmark pair ({Path(flags["pair"]).name}: {len(pair["x_train"])}
and {len(pair["y_train"])} unpaired samples of source and target to train on,
{len(pair["x_test"])} test points with their true images). {flags["iterations"]} iterations of
{BASE["inner"]} steps of the map and one of the potential (unless said otherwise), batches of
{flags["batch_size"]}, width {flags["width"]}. L2-UVP is 100·E‖T̂(x) − T(x)‖²/Var(ν) on the test
points, which no choice during a training sees; "least on the way" is what stopping with their help
would have given. Means ± standard deviations over seeds. Penalty, rates and width of the
recommended setting were chosen by trainings with another seed, looked at on the same test
points."""
    return Results(
        "A public benchmark of transport maps", text, tables, runs, _figure(curves),
        "Error of the averaged map while training (mean over seeds).",
    )  # fmt: skip


def _name(flags: dict) -> str:
    """The variants' table does not replace the recommended setting's."""
    return "benchmark_pair" + ("" if flags["variants"] == ["recommended"] else "_variants")


def _figure(curves: dict):
    figure, axes = new_figure(width=6.4, height=3.8)
    ax = axes[0, 0]
    for i, (variant, found) in enumerate(curves.items()):
        steps = [step for step, _ in found[0]]
        ax.plot(
            steps, np.mean([[value for _, value in readings] for readings in found], axis=0),
            LINES[i // len(COLOURS) % len(LINES)], marker=MARKERS[i % len(MARKERS)], markersize=4,
            color=COLOURS[i % len(COLOURS)], linewidth=1.2, label=VARIANTS[variant][0],
        )  # fmt: skip
    ax.axhline(0.3, color=GREY, linewidth=1.5)
    ax.text(
        0.98, 0.3, "mark: 0.3 %", fontsize=8, color="#555555", ha="right", va="top",
        transform=ax.get_yaxis_transform(),
    )  # fmt: skip
    ax.set_yscale("log")
    for axis in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "1235" else "")
    label(ax, "iteration", "error of the map, L2-UVP in %")
    ax.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def main(argv=None) -> int:
    """Runs the experiment; 0, or 2 after one sentence on stderr."""
    return run("benchmark_pair", command, work, argv, _name)


if __name__ == "__main__":
    raise SystemExit(main())
