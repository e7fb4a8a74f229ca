"""Every file in configs/ parses, says what it is, and has networks that fit its data."""

import functools
import inspect
import json
import math
from pathlib import Path

import pytest

from uotm_keras.cli.train import COMMAND
from uotm_keras.cli.train import main as train
from uotm_keras.config import TrainConfig, flags_of, updated
from uotm_keras.config.fields import value_of
from uotm_keras.models import build
from uotm_keras.networks import NCSNpp

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.flags"))
SHAPES = {
    "digits": (8, 8, 1),
    "mnist5k": (32, 32, 1),
    "mnist5k:bold": (32, 32, 1),
    "tfds:fashion_mnist": (32, 32, 1),
    "tfds:cifar10": (32, 32, 3),
    "tfds:celeb_a_hq/256": (256, 256, 3),
    "folder:images": (64, 64, 3),
}
# The same architecture with few channels.
TINY = {"base_channels": 8, "potential_base_channels": 4, "style_dim": 8, "width": 8,
        "potential_width": 8, "num_res_blocks": 1, "latent_dim": 4}  # fmt: skip
NETWORKS = ("generator", "channel_multipliers", "num_res_blocks", "attention_resolutions",
            "mapping_layers", "blocks", "potential", "potential_blocks")  # fmt: skip


def parsed(name: str) -> TrainConfig:
    return COMMAND.parse([f"--config={name}"])


def test_all_are_there():
    variants = (
        "all_pairs chi2 softplus fixed_mu otm otm_retuned wgan_gp wgan_r1 uotm_sd sjko sjko_jsd "
        "small small_otm small_fixed_mu mnist_outliers"
    )
    names = "digits mnist5k cifar10 folder celeba_hq_256".split()
    names += [f"cifar10_{name}" for name in variants.split()]
    family = "translate uotm_sd uotm_sd_cosine uotm_sd_step sjko sjko_jsd"
    names += [f"mnist5k_{name}" for name in family.split()]
    assert {path.stem for path in CONFIGS} >= set(names)


@functools.cache
def model_of(shape: tuple, networks: tuple):
    return build.build_model(updated(TrainConfig(), **{**dict(networks), **TINY}), shape, 10)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config(path):
    config = parsed(path.stem)
    shape = SHAPES[config.data.dataset]
    assert config.data.image_size in (0, shape[0])
    known = flags_of(TrainConfig)
    networks = tuple((name, value_of(config, known[name])) for name in NETWORKS)
    # As many halvings fit 64 px as 256 px, in less time.
    small = (min(shape[0], 64), min(shape[1], 64), shape[2])
    assert shape[0] % small[0] == 0
    assert model_of(small, networks).data_shape == small
    header = path.read_text().split("\n\n")[0]
    assert f"python train.py --config={path.stem}" in header
    assert "Published: " in header or "Nothing published" in header


@pytest.mark.parametrize(
    "name", [path.stem for path in CONFIGS if path.stem.startswith("mnist5k_")]
)
def test_a_few_steps_of_the_family(name, tmp_path):
    short = {
        "run_dir": tmp_path / "run", "max_steps": 4, "log_every": 2, "checkpoint_every": 4,
        "sample_every": 0, "batch_size": 8, "width": 8, "potential_width": 8, "grid_size": 2,
        "num_workers": 0, "jko_phase_steps": 2, "alpha_until": 2,
    }  # fmt: skip
    given = [f"--{flag}={value}" for flag, value in short.items()]
    assert train([f"--config={name}", *given]) == 0
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    assert logged[-1]["step"] == 4
    for values in logged:
        for key in ("potential_loss", "generator_loss", "cost"):
            assert math.isfinite(values[key])
    pictures = {path.name for path in (tmp_path / "run/samples").iterdir()}
    assert ("source.png" in pictures) == (name == "mnist5k_translate")


def test_the_family_s_settings():
    sd = {kind: parsed(f"mnist5k_uotm_sd{kind}") for kind in ("", "_cosine", "_step")}
    alphas = {kind: build.build_alpha(config.objective) for kind, config in sd.items()}
    for alpha in alphas.values():
        assert float(alpha(0)) == pytest.approx(0.2)
        assert float(alpha(9000)) == pytest.approx(5)
    assert float(alphas[""](4500)) == pytest.approx(2.6)
    assert float(alphas["_cosine"](2250)) == pytest.approx(0.2 + 2.4 * (1 - math.cos(math.pi / 4)))
    assert [float(alphas["_step"](step)) for step in (4499, 4500)] == pytest.approx([0.2, 5])
    tau = parsed("mnist5k").objective.tau
    for name, target in (("sjko", "kl"), ("sjko_jsd", "jsd")):
        config = parsed(f"mnist5k_{name}")
        assert config.objective.target_divergence == target
        assert 1 / (2 * config.objective.jko_step_size * 32 * 32) == pytest.approx(tau)
        assert 5 * config.objective.jko_phase_steps == config.run.max_steps


def test_the_paper_s_cifar10():
    config = parsed("cifar10")
    # The defaults of the network are the paper's, checked by their number of parameters.
    for name, parameter in inspect.signature(NCSNpp).parameters.items():
        if hasattr(config.generator, name):
            assert getattr(config.generator, name) == parameter.default
    assert config.potential.potential_base_channels == 64
    rate, _ = build.build_rates(config, 50000 // config.data.batch_size)
    assert (rate.initial, rate.minimum, rate.total, rate.hold) == (1.6e-4, 1e-5, 1800, 195)


def test_the_follow_ups_cifar10():
    """Section 8 of the facts: β₁, the schedules to 5e-5, and the phases of S-JKO."""
    for name, steps in (
        ("otm_retuned", 120_000), ("wgan_gp", 120_000), ("wgan_r1", 120_000), ("sjko", 208_000),
        ("sjko_jsd", 408_000),
    ):  # fmt: skip
        config = parsed(f"cifar10_{name}")
        rates = build.build_rates(config, 195)
        sjko = name.startswith("sjko")
        assert config.optimization.beta_1 == (0.5 if sjko else 0)
        assert [rate.initial for rate in rates] == [2e-4 if sjko else 1.6e-4, 1e-4]
        for rate in rates:
            assert (rate.minimum, rate.total, rate.hold) == (5e-5, steps, 1)
        assert config.run.max_steps == steps and config.optimization.ema_decay == 0.9999
        penalty = build.build_penalty(config.objective).get_config()
        right = {"weight": 10} if name == "wgan_gp" else {"gamma": 0.2, "fraction": 1.0}
        assert penalty == right
        assert (config.objective.tau == 0) == name.startswith("wgan")
        if sjko:
            chosen = config.objective
            assert (chosen.jko_step_size, chosen.jko_data_noise) == (0.1, 1 / 32)
            later = steps - chosen.jko_first_phase_steps
            assert later == (99 if name == "sjko" else 199) * chosen.jko_phase_steps
    assert build.build_rates(parsed("cifar10_uotm_sd"), 195) == (2e-4, 1e-4)
