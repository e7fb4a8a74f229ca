"""From flags to the things that they name."""

import dataclasses
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from uotm_keras import data
from uotm_keras.models.optimizers import Adam
from uotm_keras.models.sjko import SJKO
from uotm_keras.models.uotm import UOTM
from uotm_keras.networks import (
    LargePotential,
    NCSNpp,
    ResMLPGenerator,
    ResMLPPotential,
    SmallGenerator,
    SmallPotential,
    SmallResNetPotential,
)
from uotm_keras.objectives import costs, penalties, schedules
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pictures import save_picture, side_by_side
from uotm_keras.utils.seeds import sample_noise

_POINTS_SHOWN = 2000
_ALPHA = {
    "linear": schedules.LinearAlpha,
    "cosine": schedules.CosineAlpha,
    "step": schedules.StepAlpha,
}
_JIT = {"auto": "auto", "on": True, "off": False}


@dataclasses.dataclass(frozen=True)
class Data:
    """What to learn from.

    Attributes:
        target: the data source; `source` that of x, None for Gaussian noise.
        batches: of which `fit` takes the stream.
    """

    target: "data.Dataset"
    source: "data.Dataset | None"
    batches: "data.Batches | data.PairBatches"


def build_data(flags: Mapping, index_path: Path | None = None) -> Data:
    """Opens the data sets that the flags name.

    Args:
        index_path: JSON file with what an earlier start found out about a folder's files.

    Raises:
        InputError: a name, size or fraction does not fit.
    """
    target = data.get(
        flags["dataset"],
        image_size=flags["image_size"] or None,
        channels=flags["channels"] or None,
        data_dir=flags["data_dir"],
        seed=flags["seed"],
        contaminate=flags["contaminate"],
        index_path=index_path,
    )
    options = {
        "batch_size": flags["batch_size"],
        "seed": flags["seed"],
        "flip": {"auto": None, "on": True, "off": False}[flags["flip"]],
        "augmentations": flags["augment"].split(",") if flags["augment"] else (),
    }
    source = None
    if flags["source_dataset"]:
        # Its images must look like the target's.
        height, channels = (target.shape[0], target.shape[-1]) if target.is_images else (None, None)
        source = data.get(
            flags["source_dataset"],
            image_size=height,
            channels=channels,
            data_dir=flags["data_dir"],
            seed=flags["seed"],
            index_path=index_path,
        )
        batches = data.PairBatches(source, target, **options)
    else:
        batches = data.Batches(target, **options)
    return Data(target, source, batches)


def build_model(flags: Mapping, shape: tuple[int, ...], steps_per_epoch: int) -> UOTM:
    """The compiled model of the flags, with weights drawn from --seed.

    Args:
        shape: of one example of the data.
        steps_per_epoch: the length of the learning rates' epochs.

    Raises:
        InputError: the networks do not fit the data or each other.
    """
    keras.config.set_dtype_policy(flags["dtype_policy"])
    # Keras's initializers draw their seeds here. Its own set_random_seed imports TensorFlow.
    random.seed(flags["seed"])
    if flags.get("jko_step_size"):
        kind = SJKO
        method = {"step_size": flags["jko_step_size"], "phase_steps": flags["jko_phase_steps"]}
    else:
        kind = UOTM
        method = {
            "cost": costs.Quadratic(flags["tau"]),
            "source_divergence": flags["source_divergence"],
        }
    model = kind(
        _network("generator", _GENERATORS, flags, shape),
        _network("potential", _POTENTIALS, flags, shape),
        **method,
        target_divergence=flags["target_divergence"],
        gradient_penalty=_penalty(flags),
        pairing=flags["pairing"],
        potential_steps=flags["potential_steps"],
        generator_steps=flags["generator_steps"],
        ema_decay=flags["ema_decay"],
        divergence_schedule=_alpha(flags),
        source="data" if flags["source_dataset"] else "gaussian",
        batch_statistics=flags.get("batch_statistics", "global"),
        seed=flags["seed"],
    )
    model.compile(
        *(
            Adam(_rate(flags, name, steps_per_epoch), flags["beta_1"], flags["beta_2"])
            for name in ("generator_lr", "potential_lr")
        ),
        jit_compile=_JIT[flags["jit_compile"]],
        accumulate=flags.get("accumulate", 1),
        steps_per_execution=flags.get("steps_per_execution", 1),
    )
    return model


def _ncsnpp(flags: Mapping, shape: tuple[int, ...]):
    return NCSNpp(
        shape,
        base_channels=flags["base_channels"],
        channel_multipliers=tuple(flags["channel_multipliers"]),
        num_res_blocks=flags["num_res_blocks"],
        attention_resolutions=tuple(flags["attention_resolutions"]),
        latent_dim=flags["latent_dim"],
        style_dim=flags["style_dim"],
        mapping_layers=flags["mapping_layers"],
        dropout=flags["dropout"],
        rematerialize=flags.get("rematerialize") == "on",
    )


def _resmlp(flags: Mapping, shape: tuple[int, ...]):
    images = len(shape) == 3
    if images and flags["residual"] == "on":
        raise InputError("flag --residual=on is for points: images end in a tanh.")
    return ResMLPGenerator(
        shape,
        flags["latent_dim"],
        width=flags["width"],
        blocks=flags["blocks"],
        output_activation="tanh" if images else None,
        residual=flags["residual"] == "on",
    )


def _small(flags: Mapping, shape: tuple[int, ...]):
    return SmallGenerator(shape, flags["base_channels"])


_GENERATORS = {"ncsnpp": _ncsnpp, "resmlp": _resmlp, "small": _small}
_POTENTIALS = {
    "small": lambda f, shape: SmallPotential(shape, f["potential_base_channels"]),
    "large": lambda f, shape: LargePotential(shape, f["potential_base_channels"]),
    "small_resnet": lambda f, shape: SmallResNetPotential(shape, f["potential_base_channels"]),
    "resmlp": lambda f, shape: ResMLPPotential(shape, f["potential_width"], f["potential_blocks"]),
}


def _network(flag: str, makers: Mapping[str, Callable], flags: Mapping, shape: tuple[int, ...]):
    name = flags[flag]
    if len(shape) != 3 and name != "resmlp":
        raise InputError(
            f"flag --{flag}={name} needs images, but the data are points of shape {shape}: "
            "accepted is resmlp."
        )
    try:
        return makers[name](flags, shape)
    except InputError as error:
        raise InputError(f"flag --{flag}={name} does not fit the data: {error}") from None


def _penalty(flags: Mapping) -> penalties.GradientPenalty | None:
    if flags["wgan_gp_weight"]:
        return penalties.WassersteinGP(flags["wgan_gp_weight"])
    if flags["optimality_weight"]:
        return penalties.GradientOptimality(flags["optimality_weight"])
    return penalties.R1(flags["r1_gamma"]) if flags["r1_gamma"] else None


def _alpha(flags: Mapping) -> schedules.AlphaSchedule | None:
    if flags["alpha_schedule"] == "none":
        return None
    return _ALPHA[flags["alpha_schedule"]](
        flags["alpha_start"], flags["alpha_end"], flags["alpha_until"], flags["alpha_warmup"]
    )


def _rate(flags: Mapping, name: str, steps_per_epoch: int):
    if flags["lr_schedule"] == "constant":
        return flags[name]
    # The optimizers count their own updates, of which a step may have several.
    updates = flags[name.replace("lr", "steps")]
    period = steps_per_epoch if flags["lr_period"] == "epoch" else 1
    return schedules.CosineAnnealing(
        flags[name], flags["lr_minimum"], flags["lr_periods"], hold=period * updates
    )


def sample_saver(flags: Mapping, data: Data, directory: RunDirectory):
    """A function of (model, step) that writes `samples/step_NNNNNN.png`: always of the same noise.

    It also writes `samples/real.png`, and `samples/source.png` where there is a source. Samples
    stand beside the images that they were made from, if these are as large.
    """
    columns = flags["grid_size"]
    count = columns**2 if data.target.is_images else _POINTS_SHOWN

    def some(source, count: int) -> np.ndarray:
        rng = np.random.default_rng(flags["seed"])
        return source.take(rng.permutation(len(source))[:count])

    real = some(data.target, count)
    save_picture(real, directory.samples / "real.png", columns)
    axes_of = None if data.target.is_images else real
    sources, paired = None, False
    if data.source is not None:
        paired = data.target.is_images and data.source.shape == data.target.shape
        sources = some(data.source, columns * max(1, columns // 2) if paired else count)
        save_picture(sources, directory.samples / "source.png", columns)

    def save(model: UOTM, step: int) -> None:
        width = columns
        if sources is None:
            shown = model.generate(count, seed=flags["seed"])
        else:
            keys = [(flags["seed"], i) for i in range(len(sources))]
            (latent,) = sample_noise(keys, (model.latent_dim or 0,))
            shown = model.transport(sources, latent)
            if paired:
                shown, width = side_by_side(sources, shown, columns)
        save_picture(shown, directory.samples / f"step_{step:06d}.png", width, axes_of)

    return save
