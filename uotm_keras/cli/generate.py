"""`generate.py`: samples of a generator, one per seed, or a transported dataset."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from uotm_keras.cli.conditions import parse_conditions
from uotm_keras.cli.generate_config import COMMAND, DrawConfig, GenerateConfig
from uotm_keras.cli.generator_source import Generator, open_generator
from uotm_keras.cli.sample_files import Batch, check_target, write_results
from uotm_keras.config import run_command
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path
from uotm_keras.utils.seeds import sample_noise

if TYPE_CHECKING:
    from uotm_keras.data import Dataset


_COLUMNS = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `run_command`."""
    return run_command(COMMAND, _generate, argv, "samples already written are kept.")


def _generate(config: GenerateConfig) -> int:
    out = check_target(config.output.out)
    generator = open_generator(config)
    samples = _transported if config.draw.source is not None else _drawn
    conditions = None
    if config.draw.condition is not None:
        conditions = parse_conditions(
            config.draw.condition, generator.condition, generator.class_names
        )
    batches, count = samples(generator, config.draw, conditions)
    rows = 1 if conditions is None else len(conditions)
    columns = config.output.columns or (_COLUMNS if rows == 1 else count // rows)
    before = time.perf_counter()
    write_results(_with_progress(batches, count), out, columns)
    seconds = time.perf_counter() - before
    rate = f"{count / seconds:.1f} per second, including the first call"
    print(f"{count} samples are in {out} ({rate}).")
    return 0


def _drawn(
    generator: Generator, draw: DrawConfig, conditions: np.ndarray | None
) -> tuple[Iterator[Batch], int]:
    """Samples of noise in batches, and their number: all seeds for each condition."""
    seeds, size, between = draw.chosen_seeds(), draw.batch_size, draw.interpolate
    shapes = generator.source_shape, (generator.latent_dim,)
    origins = seeds
    if not between:
        names = [f"seed_{seed:06d}" for seed in seeds]

        def noise(rows: np.ndarray) -> list[np.ndarray]:
            return sample_noise([(seeds[row], 0) for row in rows], *shapes)
    else:
        ends = sample_noise([(seed, 0) for seed in seeds], *shapes)
        paths = [great_circle(array, between) for array in ends]
        origins = [seeds[i // (between + 1)] for i in range(len(paths[0]))]
        names = [f"way_{i:06d}_from_{seed}" for i, seed in enumerate(origins)]

        def noise(rows: np.ndarray) -> list[np.ndarray]:
            return [path[rows] for path in paths]

    each, spec = len(names), generator.condition
    if spec is not None and conditions is None:
        if generator.draw_conditions is None:
            raise InputError(
                f"flag --condition is missing: this model is conditional, and takes "
                f"{spec.describe()}."
            )
        drawn = generator.draw_conditions([(seed, 0) for seed in origins])
    elif conditions is not None:
        drawn = np.repeat(conditions, each, axis=0)
        if len(conditions) > 1:
            names = [f"class_{label}_{name}" for label in conditions for name in names]

    def batches() -> Iterator[Batch]:
        for start in range(0, len(names), size):
            rows = np.arange(start, min(start + size, len(names)))
            given = None if spec is None else drawn[rows]
            source, latent = noise(rows % each)
            samples = generator.call(source, latent, given)
            yield Batch(names[start : start + size], samples, None, given)

    return batches(), len(names)


def _transported(
    generator: Generator, draw: DrawConfig, conditions: np.ndarray | None
) -> tuple[Iterator[Batch], int]:
    """Examples of --source and their images under the map in batches, and their number."""
    source, seeds, size = _open_source(generator, draw), draw.chosen_seeds(), draw.batch_size
    count = min(draw.n or len(source), len(source))
    if generator.condition is not None and (conditions is None or len(conditions) != 1):
        raise InputError("flag --condition: give one condition to transport --source with.")
    (latents,) = sample_noise([(seed, 0) for seed in seeds], (generator.latent_dim,))

    def batches() -> Iterator[Batch]:
        for start in range(0, count * len(seeds), size):
            rows = np.arange(start, min(start + size, count * len(seeds)))
            examples, which = rows // len(seeds), rows % len(seeds)
            x = source.take(examples)
            names = [
                f"{example:06d}_seed_{seeds[i]:06d}"
                for example, i in zip(examples, which, strict=True)
            ]
            given = None if conditions is None else np.repeat(conditions, len(x), axis=0)
            yield Batch(names, generator.call(x, latents[which], given), x, given)

    return batches(), count * len(seeds)


def _open_source(generator: Generator, draw: DrawConfig) -> "Dataset":
    from uotm_keras import data

    name, shape = str(draw.source), generator.source_shape
    folder = local_path(name)
    height, channels = (shape[0], shape[-1]) if len(shape) == 3 else (None, None)
    try:
        source = data.get(
            f"folder:{folder}" if folder.is_dir() else name,
            image_size=height,
            channels=channels,
            data_dir=draw.data_dir,
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
    """Interpolate between consecutive rows by spherical interpolation (Shoemake 1985).

    Angle and length change linearly, so that interpolated Gaussian noise stays typical.

    Args:
        ends: array of shape (n, ...).
        between: number of points between two rows.

    Returns:
        float32 array of shape ((n − 1)·(between + 1) + 1, ...), the rows included.
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
