"""References: computed once, kept under a telling key, never compared with what differs."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from uotm_keras.metrics import (
    FeatureStatistics,
    Network,
    compute_reference,
    evaluate_images,
    load_reference,
    open_reference,
)
from uotm_keras.metrics.extractors import as_extractor
from uotm_keras.metrics.reference_files import read_pickled_dict
from uotm_keras.metrics.references import kept_reference_path
from uotm_keras.utils.errors import InputError

MU = np.arange(3.0)
SIGMA = np.diag([1.0, 2.0, 3.0])


class Counting:
    """Batches that know how often they were asked for."""

    def __init__(self, images):
        self.images, self.calls = images, 0

    def __call__(self):
        self.calls += 1
        yield from np.array_split(self.images, 3)


class Source:
    """A data source as the data package has them."""

    def __init__(self, images):
        self.images, self.taken = images, 0

    def __len__(self):
        return len(self.images)

    def take(self, indices):
        self.taken += len(indices)
        return self.images[indices].astype("float32") / np.float32(127.5) - 1

    def fingerprint(self):
        return "of this content"


def test_moments_and_features(encoder, images):
    reference = compute_reference(np.array_split(images, 4), encoder)
    features = encoder.predict(images, verbose=0)["features"]
    np.testing.assert_allclose(reference.features, features, atol=1e-6)
    np.testing.assert_allclose(reference.mean, features.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(reference.covariance, np.cov(features.T), rtol=1e-3, atol=1e-9)
    assert reference.count == 70 and reference.network.name == "encoder"


def test_a_second_evaluation_reads_what_was_kept(encoder, images, empty_cache):
    batches = Counting(images)
    first = compute_reference(batches, encoder, fingerprint="x")
    again = compute_reference(batches, encoder, fingerprint="x")
    assert batches.calls == 1
    np.testing.assert_array_equal(again.covariance, first.covariance)
    np.testing.assert_array_equal(again.features, first.features)
    assert again.network == first.network and again.count == 70
    compute_reference(batches, encoder, fingerprint="y")  # another content
    assert batches.calls == 2
    encoder.set_weights([w + 0.1 for w in encoder.get_weights()])  # another network
    compute_reference(batches, encoder, fingerprint="x")
    assert batches.calls == 3
    compute_reference(batches, encoder)  # content unknown: nothing can be kept
    compute_reference(batches, lambda images: images.mean(axis=(1, 2)), fingerprint="x")
    assert batches.calls == 5
    assert len(list((empty_cache / "references").iterdir())) == 3


def test_everything_that_matters_is_in_the_key(monkeypatch):
    network = Network("a", "b" * 64, "tf1")
    others = [
        replace(network, name="c"),
        replace(network, weights="c" * 64),
        replace(network, preprocessing="pytorch_fid"),
    ]
    paths = {kept_reference_path("x", n) for n in [network, *others]}
    paths.add(kept_reference_path("y", network))
    monkeypatch.setattr("uotm_keras.metrics.references.__version__", "another")
    paths.add(kept_reference_path("x", network))
    assert len(paths) == 6


def test_features_are_added_when_they_become_needed(encoder, images, empty_cache):
    batches = Counting(images)
    assert (
        compute_reference(batches, encoder, fingerprint="x", keep_features=False).features is None
    )
    assert compute_reference(batches, encoder, fingerprint="x").features is not None
    assert compute_reference(batches, encoder, fingerprint="x", keep_features=False) is not None
    assert batches.calls == 2


def test_a_damaged_kept_file_is_computed_again(encoder, images, empty_cache):
    batches = Counting(images)
    compute_reference(batches, encoder, fingerprint="x")
    (kept,) = (empty_cache / "references").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.warns(UserWarning, match="computed again"):
        compute_reference(batches, encoder, fingerprint="x")
    compute_reference(batches, encoder, fingerprint="x")
    assert batches.calls == 2


def test_what_a_user_may_name(encoder, images, tmp_path, empty_cache):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    np.savez(tmp_path / "images.npz", images)
    expected = compute_reference([images], encoder)
    expected.save(tmp_path / "statistics.npz")
    source = Source(images)
    for named in (images, folder, tmp_path / "images.npz", str(folder), source, expected):
        reference = open_reference(named, encoder)
        np.testing.assert_allclose(reference.mean, expected.mean, rtol=1e-6)
    open_reference(source, encoder)
    assert source.taken == 70
    loaded = open_reference(tmp_path / "statistics.npz", encoder)
    np.testing.assert_array_equal(loaded.covariance, expected.covariance)
    assert loaded.network == expected.network and loaded.count == 70
    statistics = FeatureStatistics(6)
    statistics.update(expected.features)
    np.testing.assert_allclose(open_reference(statistics, encoder).mean, expected.mean)


def test_another_network_or_preprocessing_is_refused(encoder, images, tmp_path):
    compute_reference([images], encoder).save(tmp_path / "a.npz")
    encoder.set_weights([w + 0.1 for w in encoder.get_weights()])
    with pytest.raises(InputError, match="cannot be compared: they differ in weights .* and "):
        open_reference(tmp_path / "a.npz", encoder)
    extractor = as_extractor(encoder)
    extractor.network = Network("FID Inception", "0" * 64, "tf1")
    compute_reference([images], extractor).save(tmp_path / "b.npz")
    extractor.network = Network("FID Inception", "0" * 64, "pytorch_fid")
    with pytest.raises(InputError, match="differ in preprocessing tf1 and pytorch_fid"):
        evaluate_images([images], tmp_path / "b.npz", extractor=extractor)


def test_pytorch_fids_files(tmp_path):
    np.savez(tmp_path / "a.npz", mu=MU, sigma=SIGMA)
    reference = load_reference(tmp_path / "a.npz")
    np.testing.assert_array_equal(reference.mean, MU)
    np.testing.assert_array_equal(reference.covariance, SIGMA)
    assert reference.network is None and reference.count is None


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_authors_pickled_dict(tmp_path, protocol):
    path = tmp_path / "a.npy"
    content = {"mu": MU, "sigma": np.asfortranarray(SIGMA + 0.5), "n": np.float64(3), "m": 4}
    content["single"] = MU.astype(">f4")
    boxed = np.empty((), object)
    boxed[()] = content
    with open(path, "wb") as file:
        header = np.lib.format.header_data_from_array_1_0(boxed)
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(boxed, file, protocol=protocol)
    read = read_pickled_dict(path)
    np.testing.assert_array_equal(read["mu"], MU)
    np.testing.assert_array_equal(read["sigma"], SIGMA + 0.5)
    np.testing.assert_array_equal(read["single"], MU)
    assert read["n"] == 3 and read["m"] == 4
    np.testing.assert_array_equal(load_reference(path).mean, MU)


def test_what_numpy_itself_writes(tmp_path):
    np.save(tmp_path / "a.npy", {"mu": MU, "sigma": SIGMA}, allow_pickle=True)
    np.testing.assert_array_equal(load_reference(tmp_path / "a.npy").covariance, SIGMA)


class Attack:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_hostile_pickle_is_refused(tmp_path):
    path, trace = tmp_path / "a.npy", tmp_path / "trace"
    np.save(path, {"mu": MU, "sigma": Attack(trace)}, allow_pickle=True)
    with pytest.raises(InputError, match="mkdir, and only tensors, arrays"):
        load_reference(path)
    assert not trace.exists()
    np.load(path, allow_pickle=True)  # the attack is a real one
    assert trace.exists()


def test_bad_files(tmp_path, images, encoder):
    def refused(message, name, **arrays):
        if arrays:
            np.savez(tmp_path / name, **arrays)
        with pytest.raises(InputError, match=message):
            load_reference(tmp_path / name)

    refused("lacks sigma", "a.npz", mu=MU)
    refused(r"accepted are \(d,\) and \(d, d\)", "b.npz", mu=MU, sigma=SIGMA[:2])
    refused("NaN", "c.npz", mu=MU * np.nan, sigma=SIGMA)
    refused("there is no file", "d.npz")
    refused("describes its network", "e.npz", mu=MU, sigma=SIGMA, network="[]")
    (tmp_path / "f.npz").write_bytes(b"text")
    refused("not a complete .npz", "f.npz")
    (tmp_path / "f.txt").write_bytes(b"text")
    refused("is not a reference file", "f.txt")
    np.save(tmp_path / "g.npy", MU)
    refused("pickled dict with mu and sigma", "g.npy")
    np.save(tmp_path / "h.npy", {"mu": MU, "sigma": SIGMA}, allow_pickle=True)
    whole = (tmp_path / "h.npy").read_bytes()
    for length in (0, 5, 60, 130, len(whole) - 3):
        (tmp_path / "h.npy").write_bytes(whole[:length])
        refused("not a complete .npy", "h.npy")
    np.save(tmp_path / "i.npy", np.array({"mu": [1], "sigma": object}, dtype=object))
    refused("asks for builtins.object", "i.npy")
    np.savez(tmp_path / "j.npz", mu=MU, sigma=SIGMA)
    with pytest.raises(InputError, match="3 dimensions and the second 6"):
        evaluate_images([images], tmp_path / "j.npz", extractor=encoder)
    with pytest.raises(InputError, match="has 1 images"):
        compute_reference([images[:1]], encoder)
    with pytest.raises(InputError, match="reference=3"):
        open_reference(3, encoder)
