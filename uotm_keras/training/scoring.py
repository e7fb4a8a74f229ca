"""Scores of the averaged generator while it trains, and the best checkpoint so far."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from uotm_keras import backend
from uotm_keras.metrics import Options, Scorer
from uotm_keras.metrics.scorer import LOWER_IS_BETTER
from uotm_keras.models.uotm import UOTM
from uotm_keras.training.checkpoints import Checkpoints
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import sample_noise

BEST = "best"
"""The name of the best checkpoint's files: `best_N.weights.h5` and `best_N.json`."""
_COMPARED = ("samples", "seed", "protocol", "reference", "network", "weights", "preprocessing")


def sample_batches(
    model: UOTM, count: int, seed: int = 0, batch_size: int = 64, source=None
) -> Iterator[np.ndarray]:
    """Samples of the averaged generator, always the same of a seed.

    Args:
        model: see `UOTM.generate`.
        count: samples in all.
        seed: of the noise and, with a source, of the order in which it is transported.
        batch_size: samples a batch.
        source: a data source to transport, as often as needed; None for Gaussian noise.

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
        x = source.take(order[[i % len(source) for _, i in batch]])
        yield model.transport(x, latent, batch_size=batch_size)


class ScoreGenerator(keras.callbacks.Callback):
    """Scores a UOTM's averaged generator in `fit`, and may keep the best checkpoint.

    The scores are in `history`, and in the logs at the end of each epoch, where Keras's
    own callbacks find them. Samples come from noise of their own: training goes on as if
    nothing had been scored, and a resumed run has the scores of one never stopped.

    Args:
        reference: real images or their statistics, see `metrics.open_reference`; or a
            `metrics.Scorer`, and then `metrics` and `extractor` do not count.
        every: steps between two scores; None scores at the end of each epoch.
        num_samples: samples scored each time.
        metrics: names, see `metrics.Scorer`.
        extractor: the feature network, see `metrics.as_extractor`.
        seed: of the samples, the same at every step.
        batch_size: samples a call of the generator.
        source: the data source to transport, where the model does not start from noise.
        value_range: what is black and what white in the model's samples.
        options: the metrics' settings.
        keep_best: a folder for the best checkpoint by the first metric: `best_N.weights.h5`,
            and `best_N.json` with its score and step. None keeps none.

    Attributes:
        history: (step, values by name) of each score.
        best: the record of the best checkpoint, or None.

    Raises:
        InputError: arguments that do not fit, too few samples, or a best checkpoint in the
            folder whose score cannot be compared.

    Example:
        >>> scores = ScoreGenerator(real_images, every=1000, keep_best="run/best")  # doctest: +SKIP
        >>> model.fit(images, epochs=10, callbacks=[scores])  # doctest: +SKIP
        >>> scores.history[-1]  # doctest: +SKIP
        (5000, {'fid': 12.3})
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
    ):
        super().__init__()
        if every is not None and every < 1:
            raise InputError(f"every={every!r} must be a whole number of at least 1, or None.")
        self.every, self.num_samples, self.seed = every, num_samples, seed
        self.batch_size, self.source, self.value_range = batch_size, source, value_range
        if not isinstance(reference, Scorer):
            reference = Scorer(reference, metrics, extractor, options=options)
        self.scorer = reference
        self.scorer.check_enough(num_samples)
        self.history: list[tuple[int, dict[str, float]]] = []
        self.best: dict | None = None
        self._best_files = None
        if keep_best is not None:
            self.metric = _deciding(self.scorer.metrics)
            self._best_files = Checkpoints(Path(keep_best), keep=None, name=BEST)
            self.best = self._known_best()
        self._step = self._batch = 0

    def score(self, model: UOTM, step: int) -> dict[str, float]:
        """Scores the model as it stands, and keeps its checkpoint if it is the best.

        The model's variables must be up to date (`backend.sync`).

        Returns:
            Values by name: `fid`; `kid` and `kid_std`; and so on.

        Raises:
            NotFinite: a variable is NaN or infinite, where the best checkpoint is kept.
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
        self.history.append((step, values))
        if self._best_files is not None:
            self._keep_if_best(model, step, result)
        return values

    def _keep_if_best(self, model: UOTM, step: int, result: Mapping) -> None:
        record = self._record(result)
        if self.best is not None:
            self._check_comparable(record)
        if self.best is None or self._penalty(record) < self._penalty(self.best):
            self._best_files.save(model, step, record)
            self.best = {"step": step, **record}
        # Now, as a kill before leaves both the old and the new one.
        self._best_files.keep_only(self.best["step"])

    def _penalty(self, record: Mapping) -> float:
        return record["score"] if LOWER_IS_BETTER[self.metric] else -record["score"]

    def _record(self, result: Mapping) -> dict:
        judged = result["metrics"][self.metric]
        about = {**judged, "seed": self.seed, "protocol": result["protocol"]}
        return {
            "metric": self.metric,
            "score": judged["value"],
            "scores": {name: record["value"] for name, record in result["metrics"].items()},
            **{name: about[name] for name in _COMPARED},
            "version": result["version"],
        }

    def _known_best(self) -> dict | None:
        records = [self._best_files.record(step) for step in self._best_files.steps()]
        records = [record for record in records if record is not None and "score" in record]
        for record in records:
            # What can be known before the first score; the rest is compared then.
            now = {"metric": self.metric, "samples": self.num_samples, "seed": self.seed}
            _require_same(record, now, self._best_files.folder)
        return min(records, key=self._penalty, default=None)

    def _check_comparable(self, record: Mapping) -> None:
        now = {name: record[name] for name in ("metric", *_COMPARED)}
        _require_same(self.best, now, self._best_files.folder)

    # --- in `fit` ----------------------------------------------------------------------

    def on_train_begin(self, logs=None):
        self._step = int(keras.ops.convert_to_numpy(self.model.step.value))

    def on_epoch_begin(self, epoch, logs=None):
        self._batch = -1

    def on_train_batch_end(self, batch, logs=None):
        # Keras may run several steps between two calls.
        before, self._step = self._step, self._step + batch - self._batch
        self._batch = batch
        if self.every is not None and before // self.every < self._step // self.every:
            self._score_in_fit()

    def on_epoch_end(self, epoch, logs=None):
        if self.every is None:
            self._score_in_fit()
        if self.history and logs is not None:
            logs.update(self.history[-1][1])

    def _score_in_fit(self) -> None:
        backend.sync(self.model)
        self.score(self.model, self._step)


def _deciding(metrics: Iterable[str]) -> str:
    """The metric that says which checkpoint is best: the first that is a single number.

    Raises:
        InputError: there is none.
    """
    for name in metrics:
        if name in LOWER_IS_BETTER:
            return name
    raise InputError(
        f"the best checkpoint cannot be told by {', '.join(metrics)}: accepted is one of "
        f"{', '.join(LOWER_IS_BETTER)} among the metrics."
    )


def _require_same(there: Mapping, now: Mapping, folder: Path) -> None:
    differing = [
        f"{name} {value} (there {there.get(name)})"
        for name, value in now.items()
        if there.get(name) != value
    ]
    if differing:
        raise InputError(
            f"the best checkpoint in {folder} was scored otherwise: {'; '.join(differing)}; "
            f"give what is there, or move {BEST}_{there['step']:06d}.json away."
        )
