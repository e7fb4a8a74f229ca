"""What `evaluate.py` scores, and against what."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from uotm_keras import data, metrics
from uotm_keras.cli.evaluate_config import EvaluateConfig
from uotm_keras.cli.scores import EMBEDDED
from uotm_keras.config.groups import DataConfig
from uotm_keras.config.parsers import near_matches
from uotm_keras.metrics.samples import open_images
from uotm_keras.training.runs import load_run
from uotm_keras.training.scoring import sample_batches
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path
from uotm_keras.utils.npz import array_names

_DEFAULT_SAMPLES = 50_000
_KINDS = ("tfds", "folder", "zip", "idx", "npz", "toy")


@dataclasses.dataclass(frozen=True)
class Subject:
    """Images to score.

    Attributes:
        name: a description for people.
        about: what the result records about them.
        count: how many are scored.
        batches: a function that returns them in batches, the same at each call.
        shape: the shape of one image.
        value_range: the values of black and white; None for uint8.
        protocol: the scorer's protocol. Samples already stored as JPEG are not re-encoded.
        data: the data settings of the run; the defaults for images from files.
        digits: the embedded dataset that the run was trained on, or None.
        notes: sentences to show with the scores.
    """

    name: str
    about: dict[str, Any]
    count: int
    batches: Callable[[], Iterable[np.ndarray]]
    shape: tuple[int, ...]
    value_range: tuple[float, float] | None
    protocol: str
    data: DataConfig = DataConfig()  # noqa: RUF009 (it is frozen)
    digits: str | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reference:
    """The real images.

    Attributes:
        images: the argument of `metrics.Scorer`; None if no metric needs it.
        description: a description for the results; None leaves it to the scorer.
        count: the number of images; None if it is not known.
        digits: the embedded dataset that it is, or None.
    """

    images: object = None
    description: str | None = None
    count: int | None = None
    digits: str | None = None


def open_subject(config: EvaluateConfig) -> Subject:
    """Open --run_dir or --samples.

    Raises:
        InputError: it does not exist, holds no images, or has fewer than --num_samples.
    """
    if config.samples is not None:
        return _samples(config, config.samples)
    return _run(config, str(config.run_dir))


def _run(config: EvaluateConfig, run_dir: str) -> Subject:
    run = load_run(run_dir, lambda text: print(text, flush=True), config.checkpoint)
    model, trained_on = run.model, run.config.data
    if len(model.data_shape) != 3:
        raise InputError(
            f"flag --run_dir={run_dir} was trained on points ({trained_on.dataset}): only images "
            "can be scored."
        )
    count = config.num_samples or _DEFAULT_SAMPLES
    if config.protocol == "jpeg":
        count = metrics.authors_sample_count(count, config.batch_size)
    source = None
    if trained_on.source_dataset:
        source = data.get(
            trained_on.source_dataset,
            image_size=model.source_shape[0],
            channels=model.source_shape[-1],
            data_dir=config.data_dir or trained_on.data_dir,
            seed=run.config.run.seed,
        )
    return Subject(
        name=f"{run_dir} at step {run.step}",
        about={
            "run_dir": run_dir,
            "checkpoint": run.checkpoint.name,
            "step": run.step,
            "seed": config.seed,
        },
        count=count,
        batches=lambda: sample_batches(
            model, count, config.seed, min(config.batch_size, count), source
        ),
        shape=tuple(model.data_shape),
        value_range=(-1.0, 1.0),
        protocol=config.protocol,
        data=trained_on,
        digits=digits_of(trained_on.dataset),
    )


def _samples(config: EvaluateConfig, name: str) -> Subject:
    path = local_path(name)
    if not path.exists():
        raise InputError(f"flag --samples={name} does not exist: give a folder or an .npz file.")
    if path.is_file() and path.suffix != ".npz":
        raise InputError(f"flag --samples={name} is neither a folder nor an .npz file: give one.")
    images = open_images(path)
    count = config.num_samples or min(_DEFAULT_SAMPLES, len(images))
    if count > len(images):
        raise InputError(
            f"flag --num_samples={count} is more than the {len(images)} images of "
            f"--samples={name}: use at most that many."
        )
    notes = []
    if count < len(images):
        notes.append(f"the first {count} of {len(images)} images are scored.")
    lossy = getattr(images, "lossy", False)
    if lossy:
        notes.append("samples stored as JPEG are scored as they are.")
    if isinstance(images, metrics.ImageFolder) and images.skipped_summary():
        notes.append(images.skipped_summary())

    def batches() -> Iterable[np.ndarray]:
        left = count
        for batch in images.batches():
            if left <= 0:
                return
            yield batch[:left]
            left -= len(batch)

    return Subject(
        name=images.description(),
        about={"samples_from": str(path), "checkpoint": None, "step": None, "seed": None},
        count=count,
        batches=batches,
        shape=next(iter(images.batches(1))).shape[1:],
        value_range=None,
        protocol="uint8" if lossy else config.protocol,
        notes=tuple(notes),
    )


def open_reference(config: EvaluateConfig, subject: Subject, names: Iterable[str]) -> Reference:
    """Open --reference, by default the run's data or --dataset.

    Args:
        config: the command's configuration.
        subject: what is scored.
        names: the metrics.

    Raises:
        InputError: it is missing or does not exist, or its images have another size.
    """
    if set(names) == {"is"}:
        return Reference()
    given = {
        name: value
        for name in ("dataset", "data_dir", "image_size", "channels")
        if (value := getattr(config, name)) is not None
    }
    chosen = dataclasses.replace(subject.data, **given)
    name = config.reference or chosen.dataset
    if not name:
        raise InputError(
            "flag --reference is missing: with --samples give the real images, a dataset, a "
            "folder, an .npz or an .npy file."
        )
    reference, shape = _open(name, chosen)
    if shape is not None and tuple(shape[:2]) != tuple(subject.shape[:2]):
        size = subject.shape[0]
        raise InputError(
            f"the samples are {_pixels(subject.shape)} pixels and the images of the reference "
            f"{name} {_pixels(shape)}: resize the reference (--image_size={size} does so for a "
            "dataset or --reference=folder:PATH)."
        )
    return reference


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}×{shape[1]}"


def _open(name: str, chosen: DataConfig) -> tuple[Reference, tuple[int, ...] | None]:
    """The reference of that name, and the shape of its images if it has any."""
    kind, colon, _ = name.partition(":")
    if kind in EMBEDDED or (colon and kind in _KINDS):
        dataset = data.get(
            name,
            image_size=chosen.image_size or None,
            channels=chosen.channels or None,
            data_dir=chosen.data_dir,
        )
        if not dataset.is_images:
            raise InputError(f"the reference {name} holds points: only images can be scored.")
        return Reference(dataset, None, len(dataset), digits_of(name)), dataset.shape
    path = local_path(name)
    if statistics_only(name) or (path.suffix == ".npz" and "mu" in _arrays(path)):
        return Reference(str(path)), None
    if not path.exists() or (path.is_file() and path.suffix != ".npz"):
        raise InputError(
            f"flag --reference={name} does not exist{near_matches(name, data.NAMES)}: accepted "
            "are a dataset (digits, mnist5k, tfds:NAME, folder:PATH, idx:PATH, npz:PATH), a "
            "folder of images, an .npz and an .npy file."
        )
    images = open_images(path)
    return Reference(images, None, len(images)), next(iter(images.batches(1))).shape[1:]


def digits_of(*names: str | None) -> str | None:
    """Return the first of the names that is an embedded dataset of digits."""
    return next((name for name in names if name in EMBEDDED), None)


def statistics_only(name: str) -> bool:
    """Return whether a reference is a file of a mean and a covariance, without features."""
    path = local_path(name)
    if not path.is_file():
        return False
    return path.suffix == ".npy" or (
        path.suffix == ".npz" and "mu" in _arrays(path) and "features" not in _arrays(path)
    )


def _arrays(path: Path) -> set[str]:
    return set(array_names(path)) if path.is_file() else set()
