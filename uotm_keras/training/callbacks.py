"""Callbacks for `fit`: scores and sample grids of the averaged generator."""

import math
import os
from pathlib import Path

from uotm_keras.models.uotm import UOTM
from uotm_keras.training.scoring import ScoreGenerator, sample_batches
from uotm_keras.training.step_callback import StepCallback
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pictures import save_picture
from uotm_keras.utils.seeds import check_seed

__all__ = ["SampleGrid", "ScoreGenerator"]


class SampleGrid(StepCallback):
    """Write grids of samples of a UOTM's averaged generator in `fit`.

    The pictures are `FOLDER/step_NNNNNN.png`, all from the same noise. Points are drawn as a
    plot of their first two coordinates. Training is not affected.

    Args:
        folder: Folder of the pictures, which is created with the first one.
        every: Training steps between two pictures (int, at least 1). Defaults to `None`, one
            picture at the end of each epoch.
        n: Number of samples (int, at least 1). Images are arranged in a square. Defaults to 64.
        seed: Seed for the samples (int, 0 to 2**63 − 1). Defaults to 0.
        source: Examples to transport, for a model with `source="data"`: an array
            (m, *source_shape) or a `uk.data.Dataset`. Defaults to `None`, Gaussian noise.

    Raises:
        InputError: If an argument is out of range.

    Example:

    ```python
    grids = uk.callbacks.SampleGrid("grids", every=1000)
    model.fit(images, batch_size=64, epochs=10, callbacks=[grids])
    ```
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        every: int | None = None,
        n: int = 64,
        seed: int = 0,
        source: object = None,
    ) -> None:
        super().__init__(every)
        if isinstance(n, bool) or int(n) != n or n < 1:
            raise InputError(f"n={n!r} must be a whole number of at least 1.")
        self.folder, self.n, self.seed, self.source = Path(folder), int(n), check_seed(seed), source

    def write(self, model: UOTM, step: int) -> Path:
        """Write the picture of a model.

        Args:
            model: The model.
            step: The training step, for the name of the file.

        Returns:
            The path of the picture.

        Raises:
            InputError: If the file cannot be written, or the samples are no images or points.
        """
        path = self.folder / f"step_{step:06d}.png"
        (samples,) = sample_batches(model, self.n, self.seed, self.n, self.source)
        save_picture(samples, path, columns=math.isqrt(self.n - 1) + 1)
        return path

    def at_step(self, step: int) -> None:
        self.write(self.model, step)
