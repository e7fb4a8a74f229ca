"""Outliers mixed into a clean dataset, as in the paper's robustness experiment.

Section 5 of arXiv 2305.14777: CIFAR-10 with the first 500 MNIST digits, 1 % of the 50 000
clean images.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from uotm_keras.data.dataset import Dataset, content_key
from uotm_keras.utils.errors import InputError

__all__ = ["ContaminatedDataset", "parse_contamination"]


class ContaminatedDataset(Dataset):
    """The clean examples, followed by the first round(fraction · N) of another dataset.

    The labels are those of the clean examples, and −1 for those of the other dataset.

    Args:
        clean: N examples.
        other: dataset of the outliers; its examples have the same shape.
        fraction: number of outliers per clean example, in (0, 1).

    Raises:
        InputError: the fraction is outside (0, 1) or gives no outlier, the shapes differ,
            or `other` has too few examples.
    """

    def __init__(self, clean: Dataset, other: Dataset, fraction: float):
        if not 0 < fraction < 1:
            raise InputError(
                f"contaminate={other.name}:{fraction}: accepted is a fraction between 0 and 1."
            )
        count = round(fraction * len(clean))
        if count < 1:
            raise InputError(
                f"contaminate={other.name}:{fraction} gives no outlier among {len(clean)} "
                f"examples: accepted are fractions of at least {1 / len(clean):.2g}."
            )
        if count > len(other):
            raise InputError(
                f"contaminate={other.name}:{fraction} needs {count} outliers, but {other.name} "
                f"has {len(other)}: accepted are fractions up to {len(other) / len(clean):.4g}."
            )
        if clean.shape != other.shape:
            raise InputError(
                f"contaminate={other.name}: its examples have shape {other.shape}, those of "
                f"{clean.name} have {clean.shape}: the shapes must be equal."
            )
        self.clean, self.other = clean, other
        self.name = f"{clean.name}+{other.name}:{fraction:g}"
        self.shape = clean.shape
        self.flip_by_default = clean.flip_by_default
        self.in_memory = clean.in_memory and other.in_memory
        self._count = len(clean) + count
        self.skipped = {**clean.skipped, **other.skipped}
        self.outliers = np.union1d(clean.outliers, np.arange(len(clean), self._count))
        self.class_names = clean.class_names

    def __len__(self) -> int:
        return self._count

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        labels = self.clean.labels
        if labels is None:
            return None
        return np.concatenate([labels, np.full(self._count - len(labels), -1)])

    def take(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices)
        is_other = indices >= len(self.clean)
        if not is_other.any():
            return self.clean.take(indices)
        examples = np.empty((len(indices), *self.shape), np.float32)
        examples[~is_other] = self.clean.take(indices[~is_other])
        examples[is_other] = self.other.take(indices[is_other] - len(self.clean))
        return examples

    def fingerprint(self) -> str:
        count = str(self._count - len(self.clean))
        return content_key(self.clean.fingerprint(), self.other.fingerprint(), count)

    def path_of(self, index: int) -> str:
        if index < len(self.clean):
            return self.clean.path_of(index)
        return self.other.path_of(index - len(self.clean))

    def parts(self) -> Iterator[Dataset]:
        yield from self.clean.parts()
        yield from self.other.parts()

    def skipped_summary(self, limit: int = 5) -> str:
        parts = (self.clean.skipped_summary(limit), self.other.skipped_summary(limit))
        return " ".join(filter(None, parts))


def parse_contamination(text: str, open_dataset: Callable[[str], Dataset]) -> tuple[Dataset, float]:
    """Parse DATASET:FRACTION, such as mnist5k:0.01 or tfds:mnist:0.01.

    Args:
        text: the text.
        open_dataset: opens the dataset of a name.

    Raises:
        InputError: the text has another form, or the fraction is not in (0, 1).
    """
    name, _, fraction = text.rpartition(":")
    try:
        number = float(fraction)
    except ValueError:
        number = None
    if not name or number is None or not 0 < number < 1:
        raise InputError(
            f"contaminate={text!r}: accepted is DATASET:FRACTION with a fraction between 0 and 1, "
            "such as tfds:mnist:0.01."
        )
    return open_dataset(name), number
