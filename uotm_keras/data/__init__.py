"""Datasets by name, contamination, and batches that a resumed run repeats exactly.

catalog.py         get(name): opens the dataset of a name
dataset.py         what a dataset is; images and points held in memory
embedded.py        digits, mnist5k            array_file.py  arrays of an .npz file
tfds_sets.py       TensorFlow Datasets        idx_files.py   MNIST's file format
tfds_prepare.py    preparing them             toys.py        1-D and 2-D distributions
folder.py          PNG, JPEG and WebP files of a folder or an archive
image_files.py     the one reader of image files, for training and scoring
zip_files.py       those of a zip archive
index.py           what a run remembers of its datasets
decoding.py        threads and a cache for datasets that decode
contamination.py   outliers after the clean examples
batches.py         batch k as a function of (seed, k); the stream for fit
augmentations.py   flips, KerasCV layers by name
noise_images.py    images of uniform noise
pixels.py          bytes and [-1, 1], sizes, channels, transparency
"""

from uotm_keras.data.augmentations import KerasCVAugmentation
from uotm_keras.data.batches import Batches, PairBatches
from uotm_keras.data.catalog import NAMES, get, natural_size
from uotm_keras.data.contamination import ContaminatedDataset
from uotm_keras.data.dataset import ArrayDataset, Dataset, PointDataset
from uotm_keras.data.folder import FolderDataset
from uotm_keras.data.index import refuse_changed_data, save_index, skipped_csv
from uotm_keras.data.pixels import from_uint8, parse_background, to_uint8
from uotm_keras.data.tfds_prepare import prepare_tfds
from uotm_keras.data.tfds_sets import TFDSDataset
from uotm_keras.data.toys import TOYS, toy

__all__ = [
    "NAMES",
    "TOYS",
    "ArrayDataset",
    "Batches",
    "ContaminatedDataset",
    "Dataset",
    "FolderDataset",
    "KerasCVAugmentation",
    "PairBatches",
    "PointDataset",
    "TFDSDataset",
    "from_uint8",
    "get",
    "natural_size",
    "parse_background",
    "prepare_tfds",
    "refuse_changed_data",
    "save_index",
    "skipped_csv",
    "to_uint8",
    "toy",
]
