import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uotm_keras.data import ArrayDataset, Batches, PairBatches, PointDataset, get
from uotm_keras.utils.errors import InputError


def numbered(count, dimension=1):
    """Points that carry their own index, so that a batch shows which it holds."""
    points = np.repeat(np.arange(count, dtype=np.float32)[:, None], dimension, axis=1)
    return PointDataset(points, "numbered")


def lopsided(count):
    """Images dark on the left and bright on the right, with their index in the first row."""
    images = np.zeros((count, 4, 6, 1), np.uint8)
    images[:, :, 3:] = 255
    images[:, 0] = np.arange(count)[:, None, None]
    return ArrayDataset(images, "lopsided")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**40), st.integers(0, 50))
def test_every_epoch_holds_every_example_once(count, batch_size, seed, first_epoch):
    batch_size = min(batch_size, count)
    batches = Batches(numbered(count), batch_size, seed)
    # `batch_size` epochs are a whole number of batches, wherever they begin.
    first = first_epoch * count
    row = np.concatenate([batches[first + k][:, 0] for k in range(count)])
    for epoch in row.reshape(batch_size, count):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(count))


def test_batch_depends_on_seed_and_number_alone():
    dataset = lopsided(50)
    forward = [Batches(dataset, 16, seed=5)[k] for k in range(12)]
    batches = Batches(dataset, 16, seed=5)
    for k in (11, 3, 0, 7, 7, 10, 1):
        np.testing.assert_array_equal(batches[k], forward[k])
    assert not np.array_equal(Batches(dataset, 16, seed=6)[0], forward[0])
    assert not np.array_equal(forward[0], forward[1])


def test_iteration_begins_at_start():
    batches = Batches(numbered(20), 8, seed=1, start=7)
    for k, batch in zip(range(7, 15), batches, strict=False):
        np.testing.assert_array_equal(batch, batches[k])


@pytest.mark.parametrize("workers", [None, 0, 1, 3])
def test_stream_is_the_same_whatever_the_workers(workers):
    dataset = lopsided(50)
    batches = Batches(dataset, 16, seed=5, start=3)
    stream = iter(batches.stream(workers=workers))
    for k in range(3, 23):
        np.testing.assert_array_equal(next(stream), Batches(dataset, 16, seed=5)[k])
    stream = iter(batches.stream(start=100, workers=workers))
    np.testing.assert_array_equal(next(stream), batches[100])


def test_threads_only_where_they_help(picture_folder):
    digits, pictures = get("digits"), get(f"folder:{picture_folder}", image_size=8, channels=1)
    assert Batches(digits, 8).default_workers == 0
    assert Batches(digits, 8, augmentations=[lambda images, rng: images]).default_workers == 2
    assert Batches(pictures, 8).default_workers == 2
    assert PairBatches(pictures, digits, 8).default_workers == 2


def test_orders_of_epochs_look_random():
    """Where example 0 lands is uniform over the epoch (χ², 1 in 10 000 by chance)."""
    from scipy.stats import chisquare

    batches = Batches(numbered(10), 10, seed=0)
    places = [int(np.flatnonzero(batches.indices(k) == 0)[0]) for k in range(1000)]
    assert chisquare(np.bincount(places, minlength=10)).pvalue > 1e-4


def test_flips_mirror_half_of_the_images():
    batches = Batches(lopsided(100), 100, seed=2)
    assert batches.flip
    batch = batches[0]
    mirrored = batch[:, 1, 0, 0] > 0
    assert 30 < mirrored.sum() < 70
    np.testing.assert_array_equal(
        batch[mirrored][:, :, ::-1][:, 1:], batch[~mirrored][:1, 1:].repeat(mirrored.sum(), 0)
    )
    plain = Batches(lopsided(100), 100, seed=2, flip=False)[0]
    np.testing.assert_array_equal(plain[:, 0], batch[:, 0])  # the order is the same
    assert (plain[:, 1, 0, 0] == -1).all()


def test_digits_are_not_flipped_by_default():
    assert not Batches(get("digits"), 8).flip
    assert Batches(get("digits"), 8, flip=True).flip


def test_pairs_have_independent_orders():
    x, y = numbered(30), numbered(40, dimension=2)
    pairs = PairBatches(x, y, 10, seed=4)
    assert pairs.steps_per_epoch == 4
    first, second = pairs[5]
    assert first.shape == (10, 1) and second.shape == (10, 2)
    np.testing.assert_array_equal(second, Batches(y, 10, seed=4)[5])
    same = PairBatches(x, x, 30, seed=4)
    a, b = same[0]
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(np.sort(a, 0), np.sort(b, 0))
    stream = iter(pairs.stream(start=5, workers=2))
    for part, expected in zip(next(stream), pairs[5], strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 51}, "batch_size=51 exceeds the 50"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"batch_size": 4, "seed": -1}, "seed=-1"),
        ({"batch_size": 4, "start": -1}, "start=-1"),
        ({"batch_size": 4, "augmentations": [3]}, "augmentation 3"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(InputError, match=words):
        Batches(lopsided(50), **arguments)


def test_points_are_not_flipped():
    with pytest.raises(InputError, match="points"):
        Batches(numbered(5), 2, flip=True)
    with pytest.raises(InputError, match="workers=-1"):
        Batches(numbered(5), 2).stream(workers=-1)


# --- keras fit --------------------------------------------------------------------------


class Recorder(keras.Model):
    """A model whose one step a batch adds the batch's mean to its only weight.

    Written with what Keras offers on every backend: the loss is -w · mean(batch), whose
    gradient is the mean, and SGD with rate 1 adds it.
    """

    def __init__(self):
        super().__init__()
        self.total = self.add_weight(shape=(1, 1), initializer="zeros", name="total")

    def call(self, x):
        if isinstance(x, (tuple, list)):
            x = x[0]
        return keras.ops.mean(keras.ops.reshape(x, (-1, 1)), keepdims=True) * self.total

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        del x, y, sample_weight, training
        return -keras.ops.sum(y_pred)


class Totals(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.means, self.last = [], 0.0

    def on_train_batch_end(self, batch, logs=None):
        total = float(keras.ops.convert_to_numpy(self.model.total.value)[0, 0])
        self.means.append(total - self.last)
        self.last = total


def fit_and_record(stream, **options):
    model, totals = Recorder(), Totals()
    model.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
    model.fit(stream, verbose=0, callbacks=[totals], **options)
    return totals.means


@pytest.mark.every_backend
@pytest.mark.parametrize("workers", [0, 2])
def test_fit_sees_the_batches_in_order(workers):
    """Over several epochs, from `start` on, none skipped and none twice."""
    batches = Batches(get("toy:gaussian_2d:500"), 16, seed=3, start=40)
    means = fit_and_record(batches.stream(workers=workers), steps_per_epoch=4, epochs=3)
    expected = [batches[k].mean() for k in range(40, 52)]
    np.testing.assert_allclose(means, expected, atol=1e-5)


def test_fit_takes_images_and_pairs():
    images = Batches(get("digits"), 16, seed=3)
    means = fit_and_record(images.stream(), steps_per_epoch=3)
    np.testing.assert_allclose(means, [images[k].mean() for k in range(3)], atol=1e-5)
    pairs = PairBatches(get("toy:gaussian_2d:500"), get("toy:moons:500"), 16, seed=3)
    means = fit_and_record(pairs.stream(), steps_per_epoch=3)
    np.testing.assert_allclose(means, [pairs[k][0].mean() for k in range(3)], atol=1e-5)


def test_nothing_here_imports_tensorflow_or_optional_packages():
    """In a fresh process: importing, then reading batches through Grain, under torch or JAX."""
    if keras.backend.backend() == "tensorflow":
        pytest.skip("the TensorFlow backend imports TensorFlow")
    program = (
        "import sys, keras; before = set(sys.modules); import uotm_keras.data as data; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "assert not new & {'grain', 'tensorflow_datasets', 'mlxtend', 'keras_cv', 'cv2'}, new; "
        "next(iter(data.Batches(data.get('digits'), 8).stream(workers=1))); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("augmentations", [(), (lambda images, rng: -images[::-1],)])
def test_some_rows_are_those_of_the_whole_batch(augmentations):
    """Flips and augmentations included, as each of several processes takes its own."""
    rows = np.array([14, 2, 3, 9])
    batches = Batches(lopsided(50), 16, seed=5, flip=True, augmentations=augmentations)
    for k in (0, 3, 7):
        np.testing.assert_array_equal(batches.part(k, rows), batches[k][rows])
    streamed = next(iter(batches.stream(start=3, workers=2, rows=rows)))
    np.testing.assert_array_equal(streamed, batches[3][rows])
    pairs = PairBatches(lopsided(50), numbered(40), 16, seed=5, flip=False)
    for some, whole in zip(pairs.part(2, rows), pairs[2], strict=True):
        np.testing.assert_array_equal(some, whole[rows])


def test_labels_stay_with_their_images():
    images = lopsided(20).images
    dataset = ArrayDataset(images, "mine", labels=np.arange(20) // 5)

    def turned(batch, rng):
        return batch[:, ::-1].copy()

    options = {"batch_size": 8, "seed": 3, "flip": True, "augmentations": [turned]}
    plain, labeled = Batches(dataset, **options), Batches(dataset, **options, labeled=True)
    rows = np.array([6, 1])
    for k in (0, 3, 7):
        examples, labels = labeled[k]
        np.testing.assert_array_equal(examples, plain[k])
        index = np.rint((examples[:, -1, 0, 0] + 1) * 127.5).astype(int)
        np.testing.assert_array_equal(labels, index // 5)
        some, theirs = labeled.part(k, rows)
        np.testing.assert_array_equal(some, examples[rows])
        np.testing.assert_array_equal(theirs, labels[rows])
        assert labels.dtype == np.int32
    contaminated = get("digits", contaminate="noise:0.01")
    with pytest.raises(InputError, match="18 examples without a class"):
        Batches(contaminated, 8, labeled=True)
