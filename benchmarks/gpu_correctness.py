"""The section correctness of gpu.py: results of a GPU against references, with tolerances.

The tolerances were set before any GPU was measured. float32 differs from the CPU by the order of
its sums; TF32 rounds factors to 11 bits (relative error 5e-4), and a few steps of Adam, whose first
steps are signs of gradients, amplify that.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

import uotm_keras as uk
from uotm_keras import backend
from uotm_keras.metrics import fid_inception_v3

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
TOLERANCES = {
    # check: relative error by matmul precision
    "losses of three iterations": {"highest": 1e-4, "tf32": 2e-2},
    "weights after three iterations": {"highest": 1e-3, "tf32": 1e-1},
    "FID features": {"highest": 1e-4, "tf32": 1e-2},
}
POLICIES = {"mixed_bfloat16": 0.04, "mixed_float16": 0.01}
"""Largest difference of a loss from float32's, relative to the largest loss."""


def correctness(rehearse: bool) -> Iterator[dict[str, Any]]:
    """Yield one record for each check."""
    for precision in ("highest", "tf32"):
        backend.set_matmul_precision(precision)
        losses, weights = golden_errors()
        yield record("losses of three iterations", precision, losses)
        yield record("weights after three iterations", precision, weights)
        if not rehearse:
            yield record("FID features", precision, fid_error())
    backend.set_matmul_precision("tf32")
    for policy, tolerance in POLICIES.items():
        yield record(f"losses with {policy}", "tf32", policy_error(policy), tolerance)
    if not rehearse:
        yield record("a resumed run with --deterministic", "default", resume_error(), 0.0)


def record(check: str, precision: str, error: float, tolerance: float | None = None) -> dict:
    if tolerance is None:
        tolerance = TOLERANCES[check][precision]
    return {
        "backend": backend.NAME, "check": check, "matmul precision": precision,
        "error": error, "tolerance": tolerance, "passed": bool(error <= tolerance),
    }  # fmt: skip


def relative(ours: Any, theirs: Any) -> float:
    return float(np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-12))


def golden_errors() -> tuple[float, float]:
    """Return the largest errors of losses and weights against the authors' networks."""
    with np.load(GOLDEN / "tiny_kl_paper.npz") as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(str(arrays.pop("meta")))
    cfg, size = meta["cfg"], meta["cfg"]["image_size"]

    def weights(prefix: str) -> dict[str, np.ndarray]:
        return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}

    keras.config.set_dtype_policy("float32")
    generator = uk.networks.NCSNpp(
        (size, size, 3), cfg["num_channels_dae"], cfg["ch_mult"], cfg["num_res_blocks"],
        cfg["attn_resolutions"], cfg["nz"], cfg["z_emb_dim"], cfg["n_mlp"],
    )  # fmt: skip
    potential = uk.networks.SmallPotential((size, size, 3), cfg["ngf"])
    uk.convert.load_released_generator(generator, weights("init/generator/"))
    uk.convert.load_released_potential(potential, weights("init/potential/"))
    model = uk.UOTM(
        generator, potential, cost=uk.costs.Quadratic(meta["tau"]),
        gradient_penalty=uk.penalties.R1(meta["gamma"]),
    )  # fmt: skip
    model.compile(uk.optimizers.Adam(meta["lr_g"]), uk.optimizers.Adam(meta["lr_d"]))
    real, noise_d, noise_g = (
        np.moveaxis(arrays[n], -3, -1) for n in ("real", "noise_d", "noise_g")
    )
    worst = 0.0
    for i in range(meta["steps"]):
        of_potential = model.update_potential(real[i], noise_d[i], arrays["z_d"][i])
        of_generator = model.update_generator(noise_g[i], arrays["z_g"][i])
        for ours, theirs in (
            (float(of_potential["real"]) + 1, arrays["loss_real"][i]),  # without kl's −1
            (float(of_potential["fake"]) + 1, arrays["loss_fake"][i]),
            (float(of_generator["loss"]), arrays["loss_generator"][i]),
        ):
            worst = max(worst, relative(ours, theirs))
    moved = 0.0
    for name, network, state in (
        ("generator", generator, uk.convert.released_generator_state),
        ("potential", potential, uk.convert.released_potential_state),
    ):
        final = weights(f"final/{name}/")
        for key, value in state(network).items():
            if not key.endswith("NIN_1.b"):  # The keys' biases have no true gradient.
                moved = max(moved, relative(value, final[key]))
    return worst, moved


def fid_error() -> float:
    """Return the relative error of the FID network's features, with seeded random weights."""
    sys.path.insert(0, str(GOLDEN.parent / "support"))
    from seeded_inception import seeded_inception

    state = seeded_inception()
    with np.load(GOLDEN / "fid_inception.npz") as file:
        images, theirs = file["images_32"], file["pytorch_fid/pool3_32"]
    return relative(fid_inception_v3(state).predict_on_batch(images)["pool3"], theirs)


def policy_error(policy: str, steps: int = 10) -> float:
    """Return how far the potential's losses are from those of float32."""
    losses = []
    data = np.tanh(np.random.default_rng(0).normal(size=(16, 8, 8, 1))).astype("float32")
    for name in ("float32", policy):
        keras.config.set_dtype_policy(name)
        keras.utils.set_random_seed(0)
        model = uk.UOTM(
            uk.networks.ResMLPGenerator((8, 8, 1), 3, width=32, blocks=1),
            uk.networks.ResMLPPotential((8, 8, 1), width=32, blocks=1),
        )
        model.compile(uk.optimizers.Adam(1e-3), uk.optimizers.Adam(1e-3))
        losses.append(
            [model.train_on_batch(data, return_dict=True)["potential_loss"] for _ in range(steps)]
        )
    keras.config.set_dtype_policy("float32")
    exact, ours = map(np.asarray, losses)
    return float(np.abs(ours - exact).max() / np.abs(exact).max())


def resume_error() -> float:
    """Return the largest difference of a weight between a resumed and an uninterrupted run."""
    flags = [
        "--dataset=digits", "--generator=ncsnpp", "--base_channels=8", "--channel_multipliers=1,2",
        "--num_res_blocks=1", "--potential=small", "--potential_base_channels=8",
        "--batch_size=16", "--checkpoint_every=10", "--log_every=10", "--deterministic",
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("UOTM_BENCHMARK")}
    with tempfile.TemporaryDirectory() as folder:
        for run, steps in (("whole", 20), ("resumed", 10), ("resumed", 20)):
            arguments = [*flags, f"--run_dir={folder}/{run}", f"--max_steps={steps}"]
            subprocess.run(
                [sys.executable, str(ROOT / "train.py"), *arguments],
                check=True, stdout=subprocess.DEVNULL, env=environment,
            )  # fmt: skip
        states = [read_weights(f"{folder}/{run}/checkpoints") for run in ("whole", "resumed")]
    if states[0].keys() != states[1].keys():
        raise RuntimeError("the two runs have different variables")
    return max(float(np.abs(a - states[1][name]).max()) for name, a in states[0].items())


def read_weights(folder: str) -> dict[str, np.ndarray]:
    """Return the numbers of a checkpoint of step 20 by name."""
    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.size:
            arrays[name] = item[()]

    with h5py.File(f"{folder}/step_000020.weights.h5") as file:
        file.visititems(visit)
    return arrays
