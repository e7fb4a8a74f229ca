"""Data: sources by name, outliers mixed in, batches that a resumed run sees again.

catalogue.py       get(name): which source a name means
source.py          what a source is; images and points held in memory
embedded.py        digits, mnist5k            npz.py     arrays of a file
tfds_sets.py       TensorFlow Datasets        folder.py  PNG, JPEG, WebP files
tfds_prepare.py    … getting them             toys.py    1-D and 2-D distributions
decoding.py        threads and memory of the sources that decode
contamination.py   outliers after the clean examples
batches.py         batch k as a function of (seed, k); the stream for fit
augmentations.py   flips, KerasCV layers by name
noise.py           images of uniform noise
pixels.py          bytes and [-1, 1], sizes, channels
"""

from uotm_keras.data.augmentations import KerasCVAugmentation
from uotm_keras.data.batches import Batches, PairBatches
from uotm_keras.data.catalog import NAMES, get
from uotm_keras.data.contamination import ContaminatedDataset
from uotm_keras.data.dataset import ArrayDataset, Dataset, PointDataset
from uotm_keras.data.folder import FolderDataset
from uotm_keras.data.pixels import from_uint8, to_uint8
from uotm_keras.data.tfds_prepare import prepare_tfds
from uotm_keras.data.tfds_sets import TFDSDataset
from uotm_keras.data.toys import TOYS, toy

__all__ = [
    "NAMES",
    "TOYS",
    "ArrayDataset",
    "Batches",
    "ContaminatedDataset",
    "FolderDataset",
    "KerasCVAugmentation",
    "PairBatches",
    "PointDataset",
    "Dataset",
    "TFDSDataset",
    "from_uint8",
    "get",
    "prepare_tfds",
    "to_uint8",
    "toy",
]
