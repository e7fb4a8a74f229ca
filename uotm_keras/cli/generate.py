"""The sampling command: a generator's images, one seed one image, or a data set transported."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from uotm_keras.cli.entry import run_command
from uotm_keras.cli.generator_source import SOURCES, Generator, open_generator
from uotm_keras.cli.runs import add_checkpoint_flag
from uotm_keras.cli.sample_files import Batch, check_target, write_results
from uotm_keras.config.flags import Choice, Command, Text, WholeNumber
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import MAX_SEED, sample_noise

USAGE = """\
Draws samples of a trained generator. One seed is one image, whatever the batch size.

    python generate.py --run_dir=runs/digits --n=64 --out=grid.png
    python generate.py --preset=digits --seeds=0-999 --out=samples
    python generate.py --exported=digits_model --seeds=3,7,10-20 --out=samples.npz
    python generate.py --run_dir=runs/digits --seeds=1,2,3 --interpolate=8 --out=ways.png
    python generate.py --run_dir=runs/thin_to_bold --source=my_images --out=translated

Give one of --run_dir, --exported and --preset. A model that was trained with a data set as
its source needs --source, and gives each of its examples once for each seed. Exit codes:
0 done; 2 a flag or a file is wrong; 130 interrupted."""


def command() -> Command:
    """The flags of this command."""
    c = Command(USAGE)
    c.group("The generator")
    c.add("run_dir", Text("the path of a folder"), None, "A run of train.py.")
    add_checkpoint_flag(c)
    c.add("weights", Choice("ema", "raw"), "ema", "Of the run: the average's, or the last.")
    c.add(
        "exported", Text("the path of a folder"), None,
        "What the export command wrote; needs TensorFlow, or onnxruntime for ONNX.",
    )  # fmt: skip
    c.add("preset", Text("the name of a preset with weights"), None, "digits has some.")
    c.group("What to draw")
    c.add(
        "n", WholeNumber(1, 10_000_000), None,
        "Draws the seeds 0 to n - 1 (16 of them); of --source, takes the first n (all).",
    )  # fmt: skip
    c.add(
        "seeds", Text("whole numbers and ranges such as 0-999, separated by commas"), None,
        "Which seeds to draw, instead of --n; with --source, of the latents (0).",
    )  # fmt: skip
    c.add(
        "interpolate", WholeNumber(0, 1000), 0,
        "Samples on the way from each seed to the next, on a great circle of the noise.",
    )  # fmt: skip
    c.add(
        "source", Text("a data set as for train.py, or a folder of images"), None,
        "Transports these examples, and writes them beside what became of them.",
    )  # fmt: skip
    c.add("data_dir", Text("the path of a folder"), None, "Where TFDS keeps its data.")
    c.add("batch_size", WholeNumber(1, 100_000), 64, "Samples a call of the generator.")
    c.group("Where to")
    c.add("columns", WholeNumber(1, 1000), 8, "Images a row of a grid.")
    c.add(
        "out", Text("the path of a folder, a .png or an .npz file"), "samples",
        "A folder takes a PNG a sample (with --source in before/ and after/); .png one grid\n"
        "(pairs side by side); .npz uint8 images, or float32 points, under `samples` and\n"
        "`before`, with their names, which hold the seeds, under `names`.",
    )  # fmt: skip
    return c


def main(argv: Sequence[str] | None = None) -> int:
    """Samples as the flags say.

    Args:
        argv: the flags; None takes those of the command line.

    Returns:
        The exit code: 0, or 2 after one sentence on stderr, 130 (interrupted).
    """
    return run_command(
        argv, command, lambda arguments: _generate(parse(arguments)), "what is written stays."
    )


def parse(arguments: Sequence[str]) -> dict:
    """All flags by name; `seeds` as a list of numbers.

    Raises:
        InputError: a flag is unknown, has a bad value, or does not go with another.
    """
    flags, given = command().parse(arguments), command().given(arguments)
    if sum(flags[name] is not None for name in SOURCES) != 1:
        raise InputError("give one of the flags --run_dir, --exported and --preset.")
    if flags["run_dir"] is None:
        for name in ("checkpoint", "weights"):
            if name in given:
                raise InputError(f"flag --{name} is of a run: it needs --run_dir.")
    transported = flags["source"] is not None
    if "n" in given and "seeds" in given and not transported:
        raise InputError("flags --n and --seeds exclude each other: give one.")
    if flags["interpolate"] and transported:
        raise InputError("flags --interpolate and --source exclude each other: give one.")
    if flags["seeds"]:
        flags["seeds"] = parse_seeds(flags["seeds"])
    else:
        flags["seeds"] = [0] if transported else list(range(flags["n"] or 16))
    if flags["interpolate"] and len(flags["seeds"]) < 2:
        raise InputError("flag --interpolate needs two seeds or more.")
    return flags


def parse_seeds(text: str) -> list[int]:
    """ "3,7,10-12" as [3, 7, 10, 11, 12].

    Raises:
        InputError: something else, or a number out of range.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(
                f"flag --seeds={text}: {part.strip()!r} is not a whole number or a range such as "
                "0-999."
            )
        low, high = int(first), int(last or first)
        if not low <= high <= MAX_SEED or high - low >= 10_000_000:
            raise InputError(
                f"flag --seeds={text}: {part.strip()} must rise, stay below {MAX_SEED + 1} and "
                "name at most 10 million."
            )
        seeds += range(low, high + 1)
    return seeds


def _generate(flags: dict) -> int:
    out = check_target(flags["out"])
    generator = open_generator(flags)
    samples = _transported if flags["source"] else _drawn
    batches, count = samples(generator, flags)
    before = time.perf_counter()
    write_results(_with_progress(batches, count), out, flags["columns"])
    seconds = time.perf_counter() - before
    print(f"{count} samples in {out} ({count / seconds:.1f} a second, the first call included).")
    return 0


def _drawn(generator: Generator, flags: dict) -> tuple[Iterator[Batch], int]:
    """Samples of noise, a batch at a time, and their number."""
    seeds, size = flags["seeds"], flags["batch_size"]
    shapes = generator.source_shape, (generator.latent_dim,)
    between = flags["interpolate"]
    if not between:
        names = [f"seed_{seed:06d}" for seed in seeds]

        def noise(start):
            keys = [(seed, 0) for seed in seeds[start : start + size]]
            return sample_noise(keys, *shapes)
    else:
        ends = sample_noise([(seed, 0) for seed in seeds], *shapes)
        ways = [great_circle(array, between) for array in ends]
        names = [
            f"way_{i:06d}_from_{seeds[i // (between + 1)]}" for i in range(len(ways[0]))
        ]  # fmt: skip

        def noise(start):
            return [way[start : start + size] for way in ways]

    starts = range(0, len(names), size)
    batches = (
        Batch(names[start : start + size], generator.call(*noise(start))) for start in starts
    )
    return batches, len(names)


def _transported(generator: Generator, flags: dict) -> tuple[Iterator[Batch], int]:
    """Examples of --source and what became of them, a batch at a time, and their number."""
    source, seeds, size = _open_source(generator, flags), flags["seeds"], flags["batch_size"]
    count = min(flags["n"] or len(source), len(source))
    (latents,) = sample_noise([(seed, 0) for seed in seeds], (generator.latent_dim,))

    def batches():
        for start in range(0, count * len(seeds), size):
            rows = np.arange(start, min(start + size, count * len(seeds)))
            examples, which = rows // len(seeds), rows % len(seeds)
            x = source.take(examples)
            names = [
                f"{example:06d}_seed_{seeds[i]:06d}"
                for example, i in zip(examples, which, strict=True)
            ]
            yield Batch(names, generator.call(x, latents[which]), x)

    return batches(), count * len(seeds)


def _open_source(generator: Generator, flags: dict):
    from uotm_keras import data

    name, shape = flags["source"], generator.source_shape
    folder = Path(name).expanduser()
    height, channels = (shape[0], shape[-1]) if len(shape) == 3 else (None, None)
    try:
        source = data.get(
            f"folder:{folder}" if folder.is_dir() else name,
            image_size=height,
            channels=channels,
            data_dir=flags["data_dir"],
        )
    except InputError as error:
        raise InputError(f"flag --source={name}: {error}") from None
    if tuple(source.shape) != tuple(shape):
        raise InputError(
            f"flag --source={name} holds examples of shape {tuple(source.shape)}: this model "
            f"transports {tuple(shape)}."
        )
    return source


def great_circle(ends: np.ndarray, between: int) -> np.ndarray:
    """`between` points on the way from each row to the next, and the rows themselves.

    Angle and length change evenly, so that Gaussian noise stays typical on the way
    (spherical interpolation, Shoemake 1985).

    Args:
        ends: (n, ...).
        between: points between two rows.

    Returns:
        float32 ((n − 1)·(between + 1) + 1, ...).
    """
    flat = ends.reshape(len(ends), -1).astype("float64")
    if not flat.shape[1]:
        return np.zeros(((len(ends) - 1) * (between + 1) + 1, *ends.shape[1:]), "float32")
    points = []
    for a, b in zip(flat, flat[1:], strict=False):
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        angle = np.arccos(np.clip(a @ b / max(lengths[0] * lengths[1], 1e-30), -1.0, 1.0))
        for t in np.arange(between + 1) / (between + 1):
            if np.sin(angle) < 1e-6:
                points.append((1 - t) * a + t * b)
                continue
            unit = np.sin((1 - t) * angle) * a / lengths[0] + np.sin(t * angle) * b / lengths[1]
            points.append(unit / np.sin(angle) * ((1 - t) * lengths[0] + t * lengths[1]))
    points.append(flat[-1])
    return np.stack(points).astype("float32").reshape(-1, *ends.shape[1:])


def _with_progress(batches: Iterator[Batch], count: int) -> Iterator[Batch]:
    from uotm_keras.cli.console import Bars

    with Bars() as bars:
        advance = bars.bar("samples", count)
        for batch in batches:
            advance(len(batch.samples))
            yield batch
