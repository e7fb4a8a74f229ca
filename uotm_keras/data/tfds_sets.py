"""Image datasets of TensorFlow Datasets, with random access and without TensorFlow.

Reading array_record files does not need TensorFlow; writing them does, so a dataset that is
not prepared yet is prepared in another process, where TensorFlow cannot take the accelerator.
"""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uotm_keras.data.dataset import content_key
from uotm_keras.data.decoding import CACHE_BYTES, DecodingDataset
from uotm_keras.data.pixels import CHANNELS, convert_channels, fit_picture, parse_background
from uotm_keras.data.tfds_prepare import check_obtainable, is_prepared, open_builder, prepare_tfds
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import atomic_path

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

__all__ = ["TFDSDataset"]

CELEBA_TRAIN = "celeba_train"
_MAPPING_FILE = "CelebA-HQ-to-CelebA-mapping.txt"
_LAST_CELEBA_TRAIN = 162_769  # zero-based; CelebA's list_eval_partition.txt


class TFDSDataset(DecodingDataset):
    """One split of an image dataset of TensorFlow Datasets.

    Args:
        name: TFDS's name with the configuration, such as "cifar10" or "celeb_a_hq/256".
        image_size: side in pixels to crop and resize to; None keeps the dataset's, and is
            refused if its images differ in size.
        channels: 1 or 3; None keeps the dataset's.
        data_dir: TFDS's folder. Defaults to TFDS_DATA_DIR or ~/tensorflow_datasets.
        split: a split in TFDS's notation, such as "train", "test" or "train[:10%]". For
            celeb_a_hq there is also "celeba_train": those of the 30 000 images that are
            in CelebA's official training partition, on which the papers train. It needs the
            file CelebA-HQ-to-CelebA-mapping.txt (of CelebAMask-HQ) in data_dir.
        cache_bytes: see `DecodingDataset`.
        background: color on which transparent images are composited. Defaults to `"white"`.

    The labels are the feature `label`, if the dataset has one. They are read at the first use,
    which reads every record once, without decoding its image.

    Raises:
        InputError: the dataset is unknown, has no uint8 images or no such split, or cannot
            be obtained (the message says which file to place where).
    """

    def __init__(
        self,
        name: str,
        image_size: int | None = None,
        channels: int | None = None,
        data_dir: str | os.PathLike | None = None,
        split: str = "train",
        cache_bytes: int = CACHE_BYTES,
        background: str = "white",
    ):
        self._background = parse_background(background)
        self.name = f"tfds:{name}"
        # A mirrored digit or letter is implausible; a mirrored photograph is not.
        self.flip_by_default = not re.search("mnist|svhn|omniglot|dmlab", name)
        builder = open_builder(name, data_dir)
        self._key, feature = _image_feature(self.name, builder.info.features)
        if not is_prepared(builder):
            _prepare_apart(name, data_dir, builder)
            builder = open_builder(name, data_dir)
        height, width, depth = feature.shape
        if image_size is not None:
            height = width = image_size
        elif height is None or width is None:
            raise InputError(
                f"{self.name} has images of different sizes: image_size must say the side in "
                "pixels to bring them to."
            )
        selected = split == CELEBA_TRAIN
        self._records = _open_split(self.name, builder, "train" if selected else split)
        self._selection = _celeba_train(self.name, builder, self._records) if selected else None
        count = len(self._records if self._selection is None else self._selection)
        if not count:
            raise InputError(f"{self.name}: split={split!r} has no examples.")
        self._image_size, self._split = image_size, split
        self.class_names = _class_names(builder.info.features)
        self._identity = f"{builder.info.full_name} {split} {count}"
        super().__init__(count, (height, width, channels or (1 if depth == 1 else 3)), cache_bytes)

    @property
    def labels(self) -> np.ndarray | None:
        return None if self.class_names is None else self._read_labels

    @functools.cached_property
    def _read_labels(self) -> np.ndarray:
        numbers = range(len(self._records)) if self._selection is None else self._selection
        labels = [_without_image(self._records, self._key, int(i))["label"] for i in numbers]
        return np.array(labels, np.int64)

    def fingerprint(self) -> str:
        return content_key(self._identity, f"bicubic {self.shape}")

    def path_of(self, index: int) -> str:
        return f"{self.name}/{self._split}[{int(index)}]"

    def _decode(self, index: int) -> np.ndarray:
        from PIL import Image

        if self._selection is not None:
            index = int(self._selection[index])
        image = self._records[index][self._key]
        if image.shape[:2] == self.shape[:2] and image.shape[2] in CHANNELS:
            return convert_channels(image, self.shape[2])
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return fit_picture(picture, self._image_size, self.shape[2], self._background)


def _prepare_apart(
    name: str, data_dir: str | os.PathLike | None, builder: "DatasetBuilder"
) -> None:
    """Prepare a dataset in another process, after checking here that it is possible."""
    check_obtainable(name, builder)
    if "tensorflow" in sys.modules:
        prepare_tfds(name, data_dir)
        return
    code = "import sys; from uotm_keras.data.tfds_prepare import main; main(*sys.argv[1:])"
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", code, name, *([] if data_dir is None else [str(data_dir)])],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        lines = done.stdout.strip().splitlines() or ["the process that prepared it ended early."]
        raise InputError(lines[-1])


def _image_feature(name: str, features: Any) -> tuple[str, Any]:
    import tensorflow_datasets as tfds

    images = {
        key: feature
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    }
    if not images:
        raise InputError(f"{name} has no images (it has {', '.join(features)}).")
    key = "image" if "image" in images else next(iter(images))
    if images[key].np_dtype != np.uint8:
        raise InputError(f"{name} has images of {images[key].np_dtype}: accepted is uint8.")
    return key, images[key]


def _class_names(features: Any) -> tuple[str, ...] | None:
    import tensorflow_datasets as tfds

    label = dict(features.items()).get("label")
    if not isinstance(label, tfds.features.ClassLabel) or not label.num_classes:
        return None
    return tuple(label.names)


def _open_split(name: str, builder: "DatasetBuilder", split: str) -> Any:
    try:
        return builder.as_data_source(split=split)
    except NotImplementedError as error:
        raise InputError(
            f"{name} in {builder.data_dir} is not in array_record format, which random access "
            "needs: prepare it again in another data_dir."
        ) from error
    except (ValueError, KeyError, AssertionError) as error:
        names = ", ".join(builder.info.splits)
        raise InputError(
            f"{name} has no split {split!r}: accepted are {names} and slices of them."
        ) from error


def _celeba_train(name: str, builder: "DatasetBuilder", records: Any) -> np.ndarray:
    """The indices of the records that are in CelebA's training partition."""
    if builder.name != "celeb_a_hq":
        raise InputError(f"split={CELEBA_TRAIN!r} is for tfds:celeb_a_hq, not for {name}.")
    root = Path(builder.data_dir).parents[len(builder.info.full_name.split("/")) - 1]
    mapping = root / _MAPPING_FILE
    if not mapping.is_file():
        raise InputError(
            f"split={CELEBA_TRAIN!r} needs {mapping} (columns idx, orig_idx, orig_file; it comes "
            "with CelebAMask-HQ)."
        )
    try:
        pairs = np.loadtxt(mapping, skiprows=1, usecols=(0, 1), dtype=np.int64, ndmin=2)
    except (ValueError, OSError) as error:
        raise InputError(f"{mapping} cannot be read: {error}.") from error
    training = set(pairs[pairs[:, 1] <= _LAST_CELEBA_TRAIN, 0].tolist())

    kept = Path(builder.data_dir) / "image_numbers.npy"
    if kept.is_file():
        numbers = np.load(kept, allow_pickle=False)
    else:  # every record must be read once
        numbers = np.array([_image_number(name, records, i) for i in range(len(records))])
        with atomic_path(kept) as temporary:
            np.save(temporary, numbers)
    return np.flatnonzero([number in training for number in numbers.tolist()])


def _without_image(records: Any, key: str, index: int) -> dict[str, Any]:
    """One example whose image stays encoded."""
    import tensorflow_datasets as tfds

    return records.dataset_info.features.deserialize_example_np(
        records.data_source[index], decoders={key: tfds.decode.SkipDecoding()}
    )


def _image_number(name: str, records: Any, index: int) -> int:
    """The number in the original file name, such as 123 of imgHQ00123.png."""
    filename = _without_image(records, "image", index)["image/filename"].decode()
    match = re.search(r"(\d+)\D*$", filename)
    if not match:
        raise InputError(f"{name}: the file name {filename!r} has no number.")
    return int(match.group(1))
