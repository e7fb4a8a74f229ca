"""From the configuration to the datasets of a run and the batches of its training."""

import dataclasses
from pathlib import Path
from typing import Any

from uotm_keras import data
from uotm_keras.config.schema import TrainConfig

_FLIP = {"auto": None, "on": True, "off": False}


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        target: the dataset to learn.
        source: the dataset that is transported; None for Gaussian noise.
        batches: the batches for `fit`.
    """

    target: data.Dataset
    source: data.Dataset | None
    batches: data.Batches | data.PairBatches

    @property
    def num_classes(self) -> int | None:
        """The number of classes that the run is conditioned on; None without."""
        labeled = isinstance(self.batches, data.Batches) and self.batches.labels is not None
        return self.target.num_classes if labeled else None

    def by_flag(self) -> dict[str, data.Dataset]:
        """Return the datasets by the name of the flag that chose them."""
        datasets = {"dataset": self.target}
        return datasets if self.source is None else {**datasets, "source_dataset": self.source}


def open_target(config: TrainConfig, index_path: Path | None = None) -> data.Dataset:
    """Open the dataset that a run learns; see `open_data`."""
    chosen = config.data
    return data.get(
        chosen.dataset,
        image_size=chosen.image_size or None,
        channels=chosen.channels or None,
        data_dir=chosen.data_dir,
        seed=config.run.seed,
        contaminate=chosen.contaminate,
        index_path=index_path,
        background=chosen.background,
    )


def open_data(
    config: TrainConfig, index_path: Path | None = None, target: data.Dataset | None = None
) -> TrainingData:
    """Open the datasets of a run.

    Args:
        config: the run's configuration.
        index_path: JSON file with what an earlier start found out about a folder's files.
        target: the dataset to learn, if it is already open.

    Raises:
        InputError: a dataset is not there, or a size or a fraction does not fit it.
    """
    chosen = config.data
    target = open_target(config, index_path) if target is None else target
    source = None
    if chosen.source_dataset:
        # The images of the source must look like the target's.
        height, channels = (target.shape[0], target.shape[-1]) if target.is_images else (None, None)
        source = data.get(
            chosen.source_dataset,
            image_size=height,
            channels=channels,
            data_dir=chosen.data_dir,
            seed=config.run.seed,
            index_path=index_path,
            background=chosen.background,
        )
    options: dict[str, Any] = {
        "batch_size": chosen.batch_size,
        "seed": config.run.seed,
        "flip": _FLIP[chosen.flip],
        "augmentations": chosen.augment.split(",") if chosen.augment else (),
    }
    batches = (
        data.Batches(target, labeled=chosen.conditional, **options)
        if source is None
        else data.PairBatches(source, target, **options)
    )
    return TrainingData(target, source, batches)
