"""Weight files: found, downloaded, checked, kept, refused."""

import hashlib
import socket

import numpy as np
import pytest

from uotm_keras.metrics import inception_weights
from uotm_keras.metrics.inception import fid_inception_v3
from uotm_keras.metrics.inception_weights import is_published, load_inception_weights
from uotm_keras.utils.errors import InputError


@pytest.fixture
def small_state():
    return {"a.weight": np.arange(6, dtype="f4").reshape(2, 3), "b.bias": np.ones(4, "f4")}


def save(state, path, **options):
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(value) for name, value in state.items()}, path, **options)


@pytest.fixture
def published(tmp_path, monkeypatch, small_state):
    """A stand-in for the published file on a server."""
    path = tmp_path / "server" / "weights.pth"
    path.parent.mkdir()
    save(small_state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(inception_weights, "FID_URL", path.as_uri())
    monkeypatch.setattr(inception_weights, "FID_SHA256", digest)
    monkeypatch.setattr(inception_weights, "FID_FILE", f"weights-{digest[:8]}.pth")
    return path


def equal(ours, theirs):
    assert set(ours) == set(theirs)
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_download_once(published, empty_cache, small_state):
    equal(load_inception_weights("fid"), small_state)
    published.unlink()
    equal(load_inception_weights("fid"), small_state)
    kept = list((empty_cache / "inception").iterdir())
    assert [path.name for path in kept] == [inception_weights.FID_FILE]
    assert inception_weights.published_weights_at_hand()


def test_a_file_put_there_by_hand(published, empty_cache, small_state):
    folder = empty_cache / "inception"
    folder.mkdir(parents=True)
    published.rename(folder / inception_weights.FID_FILE)
    equal(load_inception_weights("fid"), small_state)
    assert (folder / inception_weights.FID_FILE).exists()  # the user's, not ours to delete


def test_an_altered_download_is_refused_and_not_kept(published, empty_cache, small_state):
    save({**small_state, "b.bias": np.zeros(4, "f4")}, published)
    with pytest.raises(InputError, match="cannot be downloaded .*(hash|corrupted)"):
        load_inception_weights("fid")
    assert not list((empty_cache / "inception").iterdir())


def test_offline_says_what_to_put_where(published, empty_cache, monkeypatch):
    published.unlink()
    with pytest.raises(
        InputError, match=r"download file://.* and save it as .*inception/weights-.{8}\.pth"
    ):
        load_inception_weights("fid")

    def no_network(*arguments, **options):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(inception_weights, "FID_URL", "https://example.invalid/x.pth")
    with pytest.raises(InputError, match="network is unreachable"):
        fid_inception_v3("fid")


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_other_programs(tmp_path, inception_state, zipped):
    path = tmp_path / "inception.pth"
    save(inception_state, path, _use_new_zipfile_serialization=zipped)
    equal(load_inception_weights(path), inception_state)
    named = tmp_path / f"inception-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(named)
    equal(load_inception_weights(str(named)), inception_state)
    with open(named, "r+b") as file:
        file.truncate(named.stat().st_size // 2)
    with pytest.raises(InputError, match="truncated or altered"):
        load_inception_weights(named)


def test_an_altered_cached_file(published, empty_cache):
    load_inception_weights("fid")
    (kept,) = (empty_cache / "inception").iterdir()
    kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(InputError, match="truncated or altered"):
        load_inception_weights("fid")


def test_other_input(tmp_path):
    with pytest.raises(InputError, match="is not a file: accepted are 'fid'"):
        load_inception_weights("fidd")
    (tmp_path / "x.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="not a complete PyTorch file"):
        load_inception_weights(tmp_path / "x.pth")


def test_what_counts_as_published():
    assert is_published("fid")
    assert is_published("/x/weights-inception-2015-12-05-6726825d.pth")
    assert not is_published("/x/inception.pth") and not is_published({})
