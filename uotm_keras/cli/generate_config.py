"""The command line of `generate.py`."""

import dataclasses
from typing import Any

from absl import flags

from uotm_keras.cli.shared_flags import checkpoint_flag
from uotm_keras.config import Command, Enum, Integer, Text, flag, group
from uotm_keras.config.groups import FOLDER
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import MAX_SEED

MODELS = ("run_dir", "exported", "preset")
"""The flags that name a generator, of which one is given."""
_MANY = 10_000_000
_DEFAULT_SEEDS = 16


class Seeds(flags.ArgumentParser):
    """Integers and ranges, separated by commas: "3,7,10-12" is (3, 7, 10, 11, 12)."""

    syntactic_help = "integers and ranges such as 0-999, separated by commas"

    def parse(self, argument: Any) -> tuple[int, ...]:
        seeds: list[int] = []
        for part in str(argument).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise ValueError(f"{part.strip()!r} is not an integer or a range such as 0-999")
            low, high = int(first), int(last or first)
            if not low <= high <= MAX_SEED or high - low >= _MANY:
                raise ValueError(
                    f"{part.strip()} must rise, stay below {MAX_SEED + 1} and name at most "
                    "10 million seeds"
                )
            seeds += range(low, high + 1)
        return tuple(seeds)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which generator is used."""

    run_dir: str | None = flag(None, FOLDER, "Folder of a run of train.py.", none="none")
    checkpoint: str = checkpoint_flag()
    weights: str = flag(
        "ema", Enum("ema", "raw"),
        "Weights of a run's generator: their exponential moving average, or the trained ones.",
    )  # fmt: skip
    exported: str | None = flag(
        None, FOLDER,
        "Folder that the export command wrote. A SavedModel needs TensorFlow, ONNX needs "
        "onnxruntime.",
        none="none",
    )  # fmt: skip
    preset: str | None = flag(
        None, Text("the name of a preset with weights"), "Preset, such as digits.", none="none"
    )


@dataclasses.dataclass(frozen=True)
class DrawConfig:
    """What is drawn or transported."""

    n: int | None = flag(
        None, Integer(1, _MANY),
        "Number of samples, with the seeds 0 to n − 1; auto is 16. With --source, the number of "
        "its examples; auto is all.",
        none="auto",
    )  # fmt: skip
    seeds: tuple[int, ...] | None = flag(
        None, Seeds(),
        "Seeds of the samples, instead of --n. With --source, seeds of the latent vectors; auto "
        "is 0.",
        none="auto",
    )  # fmt: skip
    condition: str | None = flag(
        None, Text("labels, ranges and names of classes, or the numbers of a vector"),
        "Condition of a conditional model, such as 3, 0-9 or cat,dog: each of several classes "
        "is drawn with every seed, one class per row of a grid. auto draws the condition of each "
        "seed from those of the training data.",
        none="auto",
    )  # fmt: skip
    interpolate: int = flag(
        0, Integer(0, 1000),
        "Number of samples between each seed and the next, on a great circle of the noise.",
    )  # fmt: skip
    source: str | None = flag(
        None, Text("a dataset as for train.py, or a folder of images"),
        "Examples to transport. They are written beside their images under the map.",
        none="none",
    )  # fmt: skip
    data_dir: str | None = flag(
        None, FOLDER, "Folder for TFDS data. none uses the default of TFDS.", none="none"
    )
    batch_size: int = flag(64, Integer(1, 100_000), "Number of samples per generator call.")

    def chosen_seeds(self) -> list[int]:
        """Return the seeds to draw."""
        if self.seeds is not None:
            return list(self.seeds)
        return [0] if self.source is not None else list(range(self.n or _DEFAULT_SEEDS))


@dataclasses.dataclass(frozen=True)
class OutputConfig:
    """Where the samples are written."""

    columns: int | None = flag(
        None, Integer(1, 1000),
        "Number of images per row of a grid. auto is 8, or the number of samples per class if "
        "--condition names several.",
        none="auto",
    )  # fmt: skip
    out: str = flag(
        "samples", Text("the path of a folder, a .png or an .npz file"),
        "A folder gets one PNG per sample (with --source, in before/ and after/). A .png file "
        "gets one grid (with --source, of pairs). An .npz file gets uint8 images or float32 "
        "points as samples and before, as names their names, which contain the seeds, and as "
        "conditions those of a conditional model.",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """The configuration of sampling."""

    model: ModelConfig = group(ModelConfig, "Generator")
    draw: DrawConfig = group(DrawConfig, "Samples")
    output: OutputConfig = group(OutputConfig, "Output")

    def check(self) -> None:
        """Check that the flags fit together.

        Raises:
            InputError: two flags exclude each other, or one needs another.
        """
        model, draw = self.model, self.draw
        if sum(getattr(model, name) is not None for name in MODELS) != 1:
            raise InputError("give exactly one of the flags --run_dir, --exported and --preset.")
        if model.run_dir is None:
            for name in ("checkpoint", "weights"):
                if getattr(model, name) != getattr(ModelConfig(), name):
                    raise InputError(f"flag --{name} is for runs: it needs --run_dir.")
        if draw.n is not None and draw.seeds is not None and draw.source is None:
            raise InputError("flags --n and --seeds exclude each other: give one of them.")
        if draw.interpolate and draw.source is not None:
            raise InputError("flags --interpolate and --source exclude each other: give one.")
        if draw.interpolate and len(draw.chosen_seeds()) < 2:
            raise InputError(f"flag --interpolate={draw.interpolate} needs at least two seeds.")


COMMAND = Command(
    """\
Draw samples from a trained generator. Each seed gives one image, whatever the batch size.

    python generate.py --run_dir=runs/digits --n=64 --out=grid.png
    python generate.py --preset=digits --seeds=0-999 --out=samples
    python generate.py --run_dir=runs/digits_conditional --condition=0-9 --n=8 --out=grid.png
    python generate.py --exported=digits_model --seeds=3,7,10-20 --out=samples.npz
    python generate.py --run_dir=runs/digits --seeds=1,2,3 --interpolate=8 --out=paths.png
    python generate.py --run_dir=runs/thin_to_bold --source=my_images --out=translated

Give one of --run_dir, --exported and --preset. A model that was trained with a source dataset
needs --source, and transports each of its examples once per seed.

Exit codes: 0 done; 2 a flag or a file is wrong; 130 interrupted.""",
    GenerateConfig,
)
