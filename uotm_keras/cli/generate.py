"""The sampling command: images of a run or of a SavedModel, one seed one image."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uotm_keras.cli.entry import run_command
from uotm_keras.cli.parsing import Choice, Command, Text, WholeNumber
from uotm_keras.cli.runs import add_checkpoint_flag
from uotm_keras.errors import InputError
from uotm_keras.noise import MAX_SEED, sample_noise

_WRITERS = 4

USAGE = """\
Draws samples of a trained generator. One seed is one image, whatever the batch size.

    python generate.py --run_dir=runs/digits --n=64 --out=grid.png
    python generate.py --run_dir=runs/digits --seeds=0-999 --out=samples
    python generate.py --saved_model=exported --seeds=3,7,10-20 --out=samples.npz
    python generate.py --run_dir=runs/digits --seeds=1,2,3 --interpolate=8 --out=ways.png

Give --run_dir or --saved_model. Exit codes: 0 done; 2 a flag or a file is wrong; 130
interrupted."""


def command() -> Command:
    """The flags of this command."""
    c = Command(USAGE)
    c.group("Flags")
    c.add("run_dir", Text("the path of a folder"), None, "A run of train.py.")
    add_checkpoint_flag(c)
    c.add("weights", Choice("ema", "raw"), "ema", "Of the run: the average's, or the last.")
    c.add("saved_model", Text("the path of a folder"), None, "An export; needs TensorFlow.")
    c.add("n", WholeNumber(1, 10_000_000), 16, "Draws the seeds 0 to n - 1.")
    c.add(
        "seeds", Text("whole numbers and ranges such as 0-999, separated by commas"), None,
        "Which seeds to draw, instead of --n.",
    )  # fmt: skip
    c.add(
        "interpolate", WholeNumber(0, 1000), 0,
        "Samples on the way from each seed to the next, on a great circle of the noise.",
    )  # fmt: skip
    c.add("batch_size", WholeNumber(1, 100_000), 64, "Samples a call of the generator.")
    c.add("columns", WholeNumber(1, 1000), 8, "Images a row of a grid.")
    c.add(
        "out", Text("the path of a folder, a .png or an .npz file"), "samples",
        "A folder takes a PNG a sample; .png one grid; .npz uint8 images, or float32 points,\n"
        "under `samples`, with their names, which hold the seeds, under `names`.",
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
    if (flags["run_dir"] is None) == (flags["saved_model"] is None):
        raise InputError("give one of the flags --run_dir and --saved_model.")
    if flags["saved_model"] is not None:
        for name in ("checkpoint", "weights"):
            if name in given:
                raise InputError(f"flag --{name} is of a run, not of --saved_model.")
    if "n" in given and "seeds" in given:
        raise InputError("flags --n and --seeds exclude each other: give one.")
    flags["seeds"] = parse_seeds(flags["seeds"]) if flags["seeds"] else list(range(flags["n"]))
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


class _Generator(NamedTuple):
    """T(x, z) as a function of arrays, and the shapes of its arguments."""

    call: Callable[[np.ndarray, np.ndarray], np.ndarray]
    source_shape: tuple[int, ...]
    latent_dim: int


def _generate(flags: dict) -> int:
    out = Path(flags["out"]).expanduser()
    if out.suffix in (".png", ".npz") and out.is_dir():
        raise InputError(f"flag --out={out} is a folder: give a file, or another name.")
    if out.suffix not in (".png", ".npz") and out.exists() and not out.is_dir():
        raise InputError(f"flag --out={out} is a file: accepted are a folder, .png and .npz.")
    generator = _open_saved_model(flags) if flags["saved_model"] else _open_run(flags)
    labels, batches, count = _samples(generator, flags)
    before = time.perf_counter()
    _write(labels, _with_progress(batches, count), out, flags["columns"])
    seconds = time.perf_counter() - before
    print(f"{count} samples in {out} ({count / seconds:.1f} a second, the first call included).")
    return 0


def _open_run(flags: dict) -> _Generator:
    from uotm_keras import backend
    from uotm_keras.cli.runs import load_run

    backend.prepare_command()
    model = load_run(flags["run_dir"], checkpoint=flags["checkpoint"]).model
    if model.source == "data":
        raise InputError(
            f"flag --run_dir={flags['run_dir']}: this run transports a data set and has no noise "
            "to draw from."
        )

    def call(source, latent):
        return model.transport(source, latent, flags["weights"] == "ema", flags["batch_size"])

    return _Generator(call, model.source_shape, model.latent_dim or 0)


def _open_saved_model(flags: dict) -> _Generator:
    from uotm_keras.exporting import load_saved_model

    served = load_saved_model(flags["saved_model"])
    if not served.gaussian:
        raise InputError(
            f"flag --saved_model={flags['saved_model']}: this model transports a data set and "
            "has no noise to draw from."
        )
    return _Generator(served.call, served.source_shape, served.latent_dim or 0)


def _samples(generator: _Generator, flags: dict):
    """(a name for each sample, batches of samples, their number)."""
    seeds, size = flags["seeds"], flags["batch_size"]
    shapes = generator.source_shape, (generator.latent_dim,)
    between = flags["interpolate"]
    if not between:
        labels = [f"seed_{seed:06d}" for seed in seeds]

        def noise(start):
            keys = [(seed, 0) for seed in seeds[start : start + size]]
            return sample_noise(keys, *shapes)
    else:
        ends = sample_noise([(seed, 0) for seed in seeds], *shapes)
        ways = [great_circle(array, between) for array in ends]
        labels = [
            f"way_{i:06d}_from_{seeds[i // (between + 1)]}" for i in range(len(ways[0]))
        ]  # fmt: skip

        def noise(start):
            return [way[start : start + size] for way in ways]

    starts = range(0, len(labels), size)
    return labels, (generator.call(*noise(start)) for start in starts), len(labels)


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


def _with_progress(batches: Iterator[np.ndarray], count: int) -> Iterator[np.ndarray]:
    from uotm_keras.cli.report import Bars

    with Bars() as bars:
        advance = bars.bar("samples", count)
        for batch in batches:
            advance(len(batch))
            yield batch


# --- writing ------------------------------------------------------------------------------


def _write(labels: list[str], batches: Iterator[np.ndarray], out: Path, columns: int) -> None:
    if out.suffix in (".png", ".npz"):
        samples = np.concatenate(list(batches))
        if out.suffix == ".png":
            from uotm_keras.training.sample_grids import save_picture

            save_picture(samples, out, columns)
        else:
            _write_npz(labels, samples, out)
        return
    # The device goes on while the files are compressed and written.
    with ThreadPoolExecutor(_WRITERS) as pool:
        waiting: list[Future] = []
        start = 0
        for batch in batches:
            if batch.ndim != 4:
                raise InputError(
                    f"flag --out={out}: samples of shape {batch.shape[1:]} are no images; "
                    "accepted are a .png (a scatter plot) and an .npz."
                )
            names = labels[start : start + len(batch)]
            start += len(batch)
            for future in waiting:
                future.result()
            waiting = [
                pool.submit(_write_png, image, out / f"{name}.png")
                for name, image in zip(names, _as_uint8(batch), strict=True)
            ]
        for future in waiting:
            future.result()


def _as_uint8(images: np.ndarray) -> np.ndarray:
    from uotm_keras.metrics.extractors import to_uint8

    return to_uint8(images, (-1.0, 1.0))


def _write_png(image: np.ndarray, path: Path) -> None:
    from PIL import Image

    from uotm_keras.files import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(temporary)


def _write_npz(labels: list[str], samples: np.ndarray, path: Path) -> None:
    from uotm_keras.files import atomic_path

    if samples.ndim == 4:
        samples = _as_uint8(samples)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, samples=samples, names=np.array(labels))
