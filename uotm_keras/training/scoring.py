"""Scores of the averaged generator while it trains, and the best checkpoint so far."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uotm_keras.metrics import Options, Scorer
from uotm_keras.metrics.scorer import LOWER_IS_BETTER
from uotm_keras.models.uotm import UOTM
from uotm_keras.training.checkpoints import Checkpoints
from uotm_keras.training.score_reference import as_score_reference
from uotm_keras.training.step_callback import StepCallback
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import sample_noise

BEST = "best"
"""The name of the best checkpoint's files, `best_N.weights.h5` and `best_N.json`."""
_COMPARED = ("samples", "seed", "protocol", "reference", "network", "weights", "preprocessing")


def sample_batches(
    model: UOTM, count: int, seed: int = 0, batch_size: int = 64, source: Any = None
) -> Iterator[np.ndarray]:
    """Yield samples of the averaged generator, always the same ones for a seed.

    Args:
        model: The model; see `UOTM.generate`.
        count: Total number of samples.
        seed: Seed for the noise and, with a source, for the order in which it is transported.
            Defaults to 0.
        batch_size: Samples per batch. Defaults to 64.
        source: Examples to transport, repeated if necessary: an array (m, *source_shape) or a
            `uk.data.Dataset`. Defaults to `None`, Gaussian noise.

    Yields:
        float32 (batch_size or fewer, *data_shape) in the network's range.
    """
    keys = [(seed, i) for i in range(count)]
    if source is None:
        yield from model.generate_batches(keys, batch_size=batch_size)
        return
    order = np.random.default_rng(seed).permutation(len(source))
    for start in range(0, count, batch_size):
        batch = keys[start : start + batch_size]
        (latent,) = sample_noise(batch, (model.latent_dim or 0,))
        indices = order[[i % len(source) for _, i in batch]]
        # Arrays have a `take` of another meaning.
        x = source[indices] if isinstance(source, np.ndarray) else source.take(indices)
        yield model.transport(x, latent, batch_size=batch_size)


class ScoreGenerator(StepCallback):
    """Score a UOTM's averaged generator in `fit`, and optionally keep the best checkpoint.

    The scores are in `history`, and in the logs at the end of each epoch, where Keras's own
    callbacks find them. The samples come from a seed of their own, so that training is not
    affected, and a run that is resumed has the scores of one that was never interrupted.

    Args:
        reference: Real images. What `fit` accepts: an array (n, H, W, C) of floats in
            `value_range` or of uint8, a `uk.data.Dataset`, or finite batches of such arrays
            (with labels or sources, too); or what `metrics.open_reference` accepts: a folder,
            or a file of images or statistics. If it is a `metrics.Scorer`, `metrics`,
            `extractor` and `options` are not used.
        every: Training steps between two scores (int, at least 1). Defaults to `None`, which
            scores at the end of each epoch.
        num_samples: Number of samples per score. Defaults to 10 000.
        metrics: Names of metrics; see `metrics.Scorer`. Defaults to `("fid",)`.
        extractor: The feature network; see `metrics.as_extractor`. Defaults to `"fid"`.
        seed: Seed for the samples, which are the same at every step. Defaults to 0.
        batch_size: Samples per call of the generator. Defaults to 64.
        source: Examples to transport, for a model with `source="data"`: an array
            (m, *source_shape) or a `uk.data.Dataset`. Defaults to `None`, Gaussian noise.
        value_range: The values of black and white, in the model's samples and in a reference of
            floats. Defaults to (−1, 1).
        options: Settings of the metrics. Defaults to `metrics.Options()`.
        keep_best: Folder for the checkpoint that is best by the first metric,
            `best_N.weights.h5` and `best_N.json` with its score and step. Defaults to `None`,
            which keeps none.

    Attributes:
        history: A list of (step, values by name), one entry per score.
        best: The record of the best checkpoint, or `None`.

    Raises:
        InputError: If arguments do not fit together, there are too few samples, or the best
            checkpoint in the folder has a score that cannot be compared.

    Example:

    ```python
    scores = uk.callbacks.ScoreGenerator(images, every=1000, keep_best="run/best")
    model.fit(images, batch_size=64, epochs=10, callbacks=[scores])
    scores.history[-1]  # (5000, {'fid': 12.3})
    ```
    """

    def __init__(
        self,
        reference: object,
        every: int | None = None,
        num_samples: int = 10_000,
        metrics: Iterable[str] = ("fid",),
        extractor: object = "fid",
        *,
        seed: int = 0,
        batch_size: int = 64,
        source: object = None,
        value_range: tuple[float, float] = (-1.0, 1.0),
        options: Options | None = None,
        keep_best: str | os.PathLike | None = None,
    ) -> None:
        super().__init__(every)
        self.num_samples, self.seed = num_samples, seed
        self.batch_size, self.source, self.value_range = batch_size, source, value_range
        if isinstance(reference, Scorer):
            self.scorer = reference
        else:
            self.scorer = Scorer(
                as_score_reference(reference, value_range), metrics, extractor, options=options
            )
        self.scorer.check_enough(num_samples)
        self.history: list[tuple[int, dict[str, float]]] = []
        self._keeper = None
        if keep_best is not None:
            self._keeper = _BestCheckpoint(
                Path(keep_best), self.scorer.metrics, samples=num_samples, seed=seed
            )

    @property
    def best(self) -> dict[str, Any] | None:
        """The record of the best checkpoint, or `None`."""
        return None if self._keeper is None else self._keeper.best

    def score(self, model: UOTM, step: int) -> dict[str, float]:
        """Score a model, and keep its checkpoint if it is the best so far.

        Args:
            model: A model whose variables are up to date (`backend.sync`).
            step: The training step, for the history and the checkpoint.

        Returns:
            The values by name, such as `fid`; `kid` and `kid_std`; or `own` and `own_real`,
            the distance between two parts of the real images.

        Raises:
            NotFinite: If a variable is NaN or infinite and the best checkpoint is kept.
        """
        result = self.scorer.score(
            lambda: sample_batches(
                model, self.num_samples, self.seed, self.batch_size, self.source
            ),
            self.value_range,
        )
        values: dict[str, float] = {}
        for name, record in result["metrics"].items():
            values[name] = record["value"]
            if "std" in record:
                values[f"{name}_std"] = record["std"]
            if "real_against_real" in record:
                values[f"{name}_real"] = record["real_against_real"]
        self.history.append((step, values))
        if self._keeper is not None:
            self._keeper.update(model, step, result)
        return values

    def at_step(self, step: int) -> None:
        self.score(self.model, step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self.history and logs is not None:
            logs.update(self.history[-1][1])


class _BestCheckpoint:
    """The checkpoint with the best score in a folder.

    Raises:
        InputError: If no metric is a single number, or the checkpoint that is there was scored
            differently.
    """

    def __init__(self, folder: Path, metrics: Iterable[str], *, samples: int, seed: int) -> None:
        self._metric = _deciding(metrics)
        self._samples, self._seed = samples, seed
        self._files = Checkpoints(folder, keep=None, name=BEST)
        self.best = self._known()

    def update(self, model: UOTM, step: int, result: Mapping[str, Any]) -> None:
        """Keep the checkpoint of this step if its score is the best."""
        record = self._record(result)
        if self.best is not None:
            self._require_same(self.best, {name: record[name] for name in ("metric", *_COMPARED)})
        if self.best is None or self._penalty(record) < self._penalty(self.best):
            self._files.save(model, step, record)
            self.best = {"step": step, **record}
        # Each time, because a process that was killed may have left two.
        self._files.keep_only(self.best["step"])

    def _penalty(self, record: Mapping[str, Any]) -> float:
        return record["score"] if LOWER_IS_BETTER[self._metric] else -record["score"]

    def _record(self, result: Mapping[str, Any]) -> dict[str, Any]:
        deciding = result["metrics"][self._metric]
        about = {**deciding, "seed": self._seed, "protocol": result["protocol"]}
        return {
            "metric": self._metric,
            "score": deciding["value"],
            "scores": {name: record["value"] for name, record in result["metrics"].items()},
            **{name: about[name] for name in _COMPARED},
            "version": result["version"],
        }

    def _known(self) -> dict[str, Any] | None:
        found = [self._files.record(step) for step in self._files.steps()]
        records = [record for record in found if record is not None and _has_score(record)]
        for record in records:
            # What is known before the first score; the rest is compared then.
            now = {"metric": self._metric, "samples": self._samples, "seed": self._seed}
            self._require_same(record, now)
        return min(records, key=self._penalty, default=None)

    def _require_same(self, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        differing = [
            f"{name} {value} (there {there.get(name)})"
            for name, value in now.items()
            if there.get(name) != value
        ]
        if differing:
            raise InputError(
                f"the best checkpoint in {self._files.folder} was scored differently: "
                f"{'; '.join(differing)}; use the settings of that checkpoint, or move "
                f"{BEST}_{there['step']:06d}.json away."
            )


def _has_score(record: Mapping[str, Any]) -> bool:
    score = record.get("score")
    return isinstance(score, int | float) and math.isfinite(score)


def _deciding(metrics: Iterable[str]) -> str:
    """Return the metric that decides which checkpoint is best: the first single number.

    Raises:
        InputError: If there is none.
    """
    for name in metrics:
        if name in LOWER_IS_BETTER:
            return name
    raise InputError(
        f"the metrics {', '.join(metrics)} cannot decide which checkpoint is best: include one "
        f"of {', '.join(LOWER_IS_BETTER)}."
    )
