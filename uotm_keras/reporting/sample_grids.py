"""The pictures of samples that training writes."""

from collections.abc import Callable

import numpy as np

from uotm_keras import data
from uotm_keras.config.schema import TrainConfig
from uotm_keras.models.uotm import UOTM
from uotm_keras.training.data import TrainingData
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.utils.pictures import save_picture, side_by_side
from uotm_keras.utils.seeds import sample_noise

_POINTS_SHOWN = 2000
_CLASSES_SHOWN = 20


def sample_saver(
    config: TrainConfig, opened: TrainingData, directory: RunDirectory
) -> Callable[[UOTM, int], None]:
    """Return a function of (model, step) that writes `samples/step_NNNNNN.png`.

    All its pictures are made from the same noise. `samples/real.png`, and
    `samples/source.png` if there is a source dataset, are written at once. Transported
    images are shown beside the images that they were made from if both have one shape. Each row
    of a conditional run's pictures is one class, of at most 20.

    Args:
        config: the run's configuration.
        opened: the run's datasets.
        directory: the run's directory.
    """
    columns, seed = config.run.grid_size, config.run.seed
    count = columns**2 if opened.target.is_images else _POINTS_SHOWN
    classes = None
    if opened.num_classes is not None and opened.target.is_images:
        shown_classes = np.arange(min(opened.num_classes, _CLASSES_SHOWN), dtype="int32")
        classes = np.repeat(shown_classes, columns)
        count = len(classes)

    def some(dataset: data.Dataset, count: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(dataset))
        if classes is not None and dataset.labels is not None:
            labels = dataset.labels[order]
            rows = (order[labels == label] for label in shown_classes)
            return dataset.take(np.concatenate([np.resize(row, columns) for row in rows]))
        return dataset.take(order[:count])

    real = some(opened.target, count)
    save_picture(real, directory.samples / "real.png", columns)
    axes_of = None if opened.target.is_images else real
    sources, paired = None, False
    if opened.source is not None:
        paired = opened.target.is_images and opened.source.shape == opened.target.shape
        sources = some(opened.source, columns * max(1, columns // 2) if paired else count)
        save_picture(sources, directory.samples / "source.png", columns)

    def save(model: UOTM, step: int) -> None:
        width = columns
        if sources is None:
            shown = model.generate(count, seed=seed, condition=classes)
        else:
            keys = [(seed, i) for i in range(len(sources))]
            (latent,) = sample_noise(keys, (model.latent_dim or 0,))
            shown = model.transport(sources, latent)
            if paired:
                shown, width = side_by_side(sources, shown, columns)
        save_picture(shown, directory.sample_grid(step), width, axes_of)

    return save
