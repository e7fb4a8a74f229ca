"""What evaluate.py scores, and against what."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from uotm_keras import data, metrics
from uotm_keras.cli.runs import load_run
from uotm_keras.cli.scores import EMBEDDED
from uotm_keras.config.flags import near_matches
from uotm_keras.metrics.samples import open_images
from uotm_keras.training.scoring import sample_batches
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.npz import array_names

_DEFAULT_SAMPLES = 50_000
_KINDS = ("tfds", "folder", "npz", "toy")
_DATA_FLAGS = ("dataset", "data_dir", "image_size", "channels")


@dataclasses.dataclass(frozen=True)
class Subject:
    """Images to score.

    Attributes:
        name: for people.
        about: what the result says of them.
        count: how many are scored.
        batches: gives them, the same ones at each call.
        shape: of one image.
        value_range: what is black and what white; None for uint8.
        protocol: for the scorer; images that were JPEG files are not encoded again.
        data: the run's data flags; empty for images of files.
        digits: the embedded data set that the run was trained on, or None.
        notes: sentences that belong beside the scores.
    """

    name: str
    about: dict
    count: int
    batches: Callable[[], Iterable[np.ndarray]]
    shape: tuple[int, ...]
    value_range: tuple[float, float] | None
    protocol: str
    data: dict = dataclasses.field(default_factory=dict)
    digits: str | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Real:
    """The real side.

    Attributes:
        images: for `metrics.Scorer`; None if no metric needs any.
        description: for results; None leaves it to what is found.
        count: of images; None if it is not known.
        digits: the embedded data set that it is, or None.
    """

    images: object = None
    description: str | None = None
    count: int | None = None
    digits: str | None = None


def open_subject(flags: Mapping) -> Subject:
    """Opens --run_dir or --samples.

    Raises:
        InputError: it is not there, is no image, or has fewer samples than asked for.
    """
    return _samples(flags) if flags["samples"] is not None else _run(flags)


def _run(flags: Mapping) -> Subject:
    run = load_run(flags["run_dir"], lambda text: print(text, flush=True), flags["checkpoint"])
    model = run.model
    if len(model.data_shape) != 3:
        raise InputError(
            f"flag --run_dir={flags['run_dir']} was trained on points ({run.flags['dataset']}): "
            "scores are of images."
        )
    batch_size = flags["batch_size"]
    count = flags["num_samples"] or _DEFAULT_SAMPLES
    if flags["protocol"] == "jpeg":
        count = metrics.authors_sample_count(count, batch_size)
    source = None
    if run.flags["source_dataset"]:
        source = data.get(
            run.flags["source_dataset"],
            image_size=model.source_shape[0],
            channels=model.source_shape[-1],
            data_dir=flags["data_dir"] or run.flags["data_dir"],
            seed=run.flags["seed"],
        )
    dataset = run.flags["dataset"]
    return Subject(
        name=f"{flags['run_dir']} at step {run.step}",
        about={
            "run_dir": str(flags["run_dir"]),
            "checkpoint": run.checkpoint.name,
            "step": run.step,
            "seed": flags["seed"],
        },
        count=count,
        batches=lambda: sample_batches(
            model, count, flags["seed"], min(batch_size, count), source
        ),
        shape=tuple(model.data_shape),
        value_range=(-1.0, 1.0),
        protocol=flags["protocol"],
        data={name: run.flags[name] for name in _DATA_FLAGS},
        digits=dataset if dataset in EMBEDDED else None,
    )  # fmt: skip


def _samples(flags: Mapping) -> Subject:
    name = flags["samples"]
    path = Path(name).expanduser()
    if not path.exists():
        raise InputError(f"flag --samples={name} does not exist: give a folder or an .npz.")
    if path.is_file() and path.suffix != ".npz":
        raise InputError(f"flag --samples={name} is neither a folder nor an .npz: give one.")
    images = open_images(path)
    count = flags["num_samples"] or min(_DEFAULT_SAMPLES, len(images))
    if count > len(images):
        raise InputError(
            f"flag --num_samples={count} is more than the {len(images)} images of "
            f"--samples={name}: give at most that many."
        )
    notes = []
    if count < len(images):
        notes.append(f"the first {count} of {len(images)} images are scored.")
    lossy = getattr(images, "lossy", False)
    if lossy:
        notes.append("some samples are JPEG files; they are scored as they are.")
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
        protocol="uint8" if lossy else flags["protocol"],
        notes=tuple(notes),
    )


def open_reference(given: Mapping, subject: Subject, names: Iterable[str]) -> Real:
    """Opens --reference, by default the run's data or --dataset.

    Args:
        given: the flags that the user gave.
        subject: what is scored.
        names: the metrics.

    Raises:
        InputError: it is missing or not there, or its images are of another size.
    """
    if set(names) == {"is"}:
        return Real()
    chosen = {**subject.data, **{name: given[name] for name in _DATA_FLAGS if name in given}}
    name = given.get("reference") or chosen.get("dataset")
    if name is None:
        raise InputError(
            "flag --reference is missing: with --samples say what they are compared with, a "
            "data set, a folder, an .npz or an .npy."
        )
    real, shape = _open(name, chosen)
    if shape is not None and tuple(shape[:2]) != tuple(subject.shape[:2]):
        size = subject.shape[0]
        raise InputError(
            f"the samples are {_pixels(subject.shape)} pixels and the images of the reference "
            f"{name} {_pixels(shape)}: bring them to one size (--image_size={size} does it for a "
            "data set or --reference=folder:PATH)."
        )
    return real


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}×{shape[1]}"


def _open(name: str, chosen: Mapping) -> tuple[Real, tuple[int, ...] | None]:
    """The reference of that name, and the shape of its images where it has any."""
    kind, colon, _ = name.partition(":")
    if kind in EMBEDDED or (colon and kind in _KINDS):
        source = data.get(
            name,
            image_size=chosen.get("image_size") or None,
            channels=chosen.get("channels") or None,
            data_dir=chosen.get("data_dir"),
        )
        if not source.is_images:
            raise InputError(f"the reference {name} holds points: scores are of images.")
        return Real(source, None, len(source), digits_of(name)), source.shape
    path = Path(name).expanduser()
    if statistics_only(name) or (path.suffix == ".npz" and "mu" in _arrays(path)):
        return Real(str(path)), None
    if not path.exists() or (path.is_file() and path.suffix != ".npz"):
        raise InputError(
            f"flag --reference={name} is not there: {near_matches(name, data.NAMES)}accepted are "
            "a data set (digits, mnist5k, tfds:NAME, folder:PATH, npz:PATH), a folder of images, "
            "an .npz and an .npy."
        )
    images = open_images(path)
    return Real(images, None, len(images)), next(iter(images.batches(1))).shape[1:]


def digits_of(*names: str | None) -> str | None:
    """The first of the names that is an embedded data set of digits."""
    return next((name for name in names if name in EMBEDDED), None)


def statistics_only(name: str) -> bool:
    """Whether a reference is a file of a mean and a covariance, without features."""
    path = Path(name).expanduser()
    if not path.is_file():
        return False
    return path.suffix == ".npy" or (
        path.suffix == ".npz" and "mu" in _arrays(path) and "features" not in _arrays(path)
    )


def _arrays(path: Path) -> set[str]:
    return set(array_names(path)) if path.is_file() else set()
