"""MNIST's file format, written here byte by byte."""

import gzip
import struct

import numpy as np
import pytest

from uotm_keras.data import get, to_uint8
from uotm_keras.utils.errors import InputError

pytestmark = pytest.mark.one_backend

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 5), dtype=np.uint8)
LABELS = np.arange(12) % 3


def idx(values, kind=8):
    values = np.asarray(values)
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape)
    return head + values.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """The usual four files, the images of the training split compressed."""
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(255 - IMAGES[:4]))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx([2, 1, 0, 2])))
    return tmp_path


def images_of(dataset):
    return to_uint8(dataset.take(np.arange(len(dataset))))


def test_a_folder_gives_its_training_split(folder):
    dataset = get(f"idx:{folder}")
    assert (len(dataset), dataset.shape, dataset.flip_by_default) == (12, (6, 5, 1), False)
    np.testing.assert_array_equal(images_of(dataset)[..., 0], IMAGES)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.labels.dtype == np.int64
    assert (dataset.num_classes, dataset.class_names) == (3, None)
    assert dataset.path_of(3) == f"idx:{folder}[3]"


def test_the_test_split(folder):
    for dataset in (
        get(f"idx:{folder}:test"),
        get(f"idx:{folder}", split="test"),
        get("idx:t10k-images-idx3-ubyte", data_dir=folder),
    ):
        np.testing.assert_array_equal(images_of(dataset)[..., 0], 255 - IMAGES[:4])
        np.testing.assert_array_equal(dataset.labels, [2, 1, 0, 2])
    assert get(f"idx:{folder}:train").fingerprint() == get(f"idx:{folder}").fingerprint()


def test_size_channels_and_contamination(folder):
    dataset = get(f"idx:{folder}", image_size=8, channels=3)
    assert dataset.shape == (8, 8, 3)
    mixed = get("digits", contaminate=f"idx:{folder}:test:0.002")
    assert mixed.path_of(1798) == f"idx:{folder}:test[1]"
    np.testing.assert_array_equal(
        mixed.take(mixed.outliers), get(f"idx:{folder}:test", image_size=8).take(np.arange(4))
    )


def test_other_names(tmp_path):
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx(IMAGES))
    assert get(f"idx:{tmp_path}").labels is None
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(LABELS))
    np.testing.assert_array_equal(get(f"idx:{tmp_path}").labels, LABELS)
    (tmp_path / "anything").write_bytes(idx(IMAGES))
    assert get(f"idx:{tmp_path / 'anything'}").labels is None


HUGE = struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3)
WHOLE = gzip.compress(idx(IMAGES))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "starts with nothing instead of 00000803"),
        (b"\x89PNG\r\n", "starts with 89504e47 instead of 00000803"),
        (idx(LABELS), "starts with 00000801"),
        (idx(IMAGES, kind=13), "starts with 00000d03"),
        (idx(IMAGES)[:9], "ends within its header"),
        (idx(IMAGES)[:-1], "declares 12 × 6 × 5 bytes, more than it holds"),
        (idx(IMAGES) + b"x", "declares 12 × 6 × 5 bytes, and more follow"),
        (gzip.compress(idx(IMAGES)[:-1]), "declares 12 × 6 × 5 bytes, and 359 follow"),
        (idx(np.zeros((0, 28, 28))), "accepted are 1 to"),
        (HUGE, "accepted are 1 to"),
        (gzip.compress(HUGE), "accepted are 1 to"),
        (HUGE[:4] + struct.pack(">3I", 1000, 1000, 1000), "more than it holds"),
        (gzip.compress(HUGE[:4] + struct.pack(">3I", 1000, 1000, 1000)), "more than it holds"),
        (WHOLE[:-30], "not a complete idx file"),
        (WHOLE[:-8] + bytes(8), "not a complete idx file.*CRC"),
        (b"\x1f\x8b no gzip", "not a complete idx file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, words):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        get(f"idx:{tmp_path}")
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_damaged_bytes_are_noticed_or_read(tmp_path):
    rng = np.random.default_rng(1)
    noticed = 0
    for whole in (WHOLE, idx(IMAGES)):
        for _ in range(150):
            damaged = np.frombuffer(whole, np.uint8).copy()
            damaged[rng.integers(min(40, len(whole)))] ^= 1 << rng.integers(8)
            (tmp_path / "a").write_bytes(damaged.tobytes())
            try:
                get(f"idx:{tmp_path / 'a'}")
            except InputError:
                noticed += 1
    assert noticed > 100


def test_what_is_absent_or_does_not_match(folder):
    with pytest.raises(InputError, match="no images of the split 'train'.*train-images-idx3"):
        get("idx:.", data_dir=folder.parent)
    with pytest.raises(InputError, match=f"no usable image.* Write idx:{folder} for"):
        get(f"folder:{folder}")
    with pytest.raises(InputError, match="there is no file"):
        get(f"idx:{folder / 'absent'}")
    with pytest.raises(InputError, match="is not a folder; give its file of that split"):
        get(f"idx:{folder / 'train-images-idx3-ubyte.gz'}:test")
    with pytest.raises(InputError, match="has the splits 'train' and 'test'"):
        get(f"idx:{folder}", split="valid")
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:5]))
    with pytest.raises(InputError, match="5 labels for the 12 images"):
        get(f"idx:{folder}")
    (folder / "train-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match="train-labels-idx1-ubyte is not a complete idx file"):
        get(f"idx:{folder}")
