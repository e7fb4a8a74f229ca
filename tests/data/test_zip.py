"""Zip archives of images: as folders, and everything that an archive can do wrong."""

import os
import stat
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from uotm_keras.data import (
    Batches,
    FolderDataset,
    get,
    refuse_changed_data,
    save_index,
    to_uint8,
    zip_files,
)
from uotm_keras.utils.errors import InputError

pytestmark = pytest.mark.one_backend


def pack(folder, path, method=zipfile.ZIP_DEFLATED):
    """Zip a folder, with the extra files that macOS adds."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for root, _, names in os.walk(folder):
            for name in names:
                relative = os.path.relpath(os.path.join(root, name), folder)
                archive.write(os.path.join(folder, relative), relative)
                archive.writestr(f"__MACOSX/{relative}", b"not an image")
        archive.writestr(".hidden/a.png", b"not an image")
        archive.writestr("deep/.a.png", b"not an image")
        archive.writestr("later/", b"")
    return path


@pytest.fixture
def archive(picture_folder, tmp_path):
    return pack(picture_folder, tmp_path / "pictures.zip")


def relative(paths, start):
    return [os.path.relpath(path, start) for path in paths]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_is_read_as_the_folder_that_it_holds(picture_folder, tmp_path, method):
    path = pack(picture_folder, tmp_path / "pictures.ZIP", method)
    zipped, folder = get(f"folder:{path}", image_size=16), FolderDataset(picture_folder, 16)
    assert relative(zipped.paths, path) == relative(folder.paths, picture_folder)
    assert relative(zipped.skipped, path) == relative(folder.skipped, picture_folder)
    assert list(zipped.skipped.values()) == list(folder.skipped.values())
    assert zipped.fingerprint() == folder.fingerprint()
    assert zipped.path_of(0) == f"{path}/a.png"
    np.testing.assert_array_equal(zipped.take(np.arange(12)), folder.take(np.arange(12)))
    also = get("zip:pictures.ZIP", data_dir=tmp_path, image_size=16)
    assert also.fingerprint() == folder.fingerprint()


def test_threads_read_one_archive(picture_folder, archive):
    expected = Batches(FolderDataset(picture_folder, 16), 5, seed=1)
    stream = iter(Batches(FolderDataset(archive, 16, cache_bytes=0), 5, seed=1).stream(workers=3))
    for k in range(8):
        np.testing.assert_array_equal(next(stream), expected[k])

    dataset, whole = FolderDataset(archive, 16, cache_bytes=0), expected.dataset.take(np.arange(12))
    wrong = []

    def read(seed):
        for _ in range(10):
            order = np.random.default_rng(seed).permutation(12)
            if not np.array_equal(dataset.take(order), whole[order]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_changed_archive_is_refused(picture_folder, archive, tmp_path, monkeypatch):
    from uotm_keras.data import folder

    index = tmp_path / "run" / "index.json"
    save_index(index, {"dataset": FolderDataset(archive, 16)})
    inspected = []
    real = folder.inspect_file
    monkeypatch.setattr(folder, "inspect_file", lambda *a: inspected.append(a[1]) or real(*a))
    os.utime(archive, (0, 0))
    refuse_changed_data(index, {"dataset": FolderDataset(archive, 16, index_path=index)})
    assert inspected == []
    Image.new("RGB", (30, 30)).save(picture_folder / "a.png")
    pack(picture_folder, archive)
    changed = FolderDataset(archive, 16, index_path=index)
    assert inspected == ["a.png"]
    with pytest.raises(InputError, match=r"1 file changed \(a.png\)"):
        refuse_changed_data(index, {"dataset": changed})


def test_files_that_an_archive_should_not_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_files, "_LARGEST_FILE", 10_000)
    Image.new("RGB", (16, 16), (9, 8, 7)).save(tmp_path / "a.png")
    image = (tmp_path / "a.png").read_bytes()
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside.png", image)
        archive.writestr("/absolute.png", image)
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret.png", image)
        archive.writestr("bzip2.png", image, zipfile.ZIP_BZIP2)
        archive.writestr("large.png", bytes(20_000), zipfile.ZIP_DEFLATED)
        archive.writestr("lies.png", bytes(9_000_000), zipfile.ZIP_DEFLATED)
        archive.getinfo("lies.png").file_size = 100  # for the central directory
        archive.getinfo("secret.png").flag_bits |= 1
    dataset = FolderDataset(path)
    assert dataset.paths == [f"{path}//absolute.png"]
    assert (to_uint8(dataset.take(np.arange(1))) == [9, 8, 7]).all()
    reasons = {os.path.basename(name): reason for name, reason in dataset.skipped.items()}
    assert reasons.pop("lies.png")
    assert reasons == {
        "link.png": "not a regular file",
        "secret.png": "encrypted",
        "bzip2.png": "compressed by a method other than deflate",
        "large.png": "20000 bytes, more than the 10000 accepted",
    }


def test_no_more_is_decompressed_than_declared(tmp_path, monkeypatch):
    """The first bytes of a file that declares 100 of its 50 000 000 are all that is made."""
    import tracemalloc

    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lies.png", bytes(50_000_000), zipfile.ZIP_DEFLATED)
        archive.getinfo("lies.png").file_size = 100
    tracemalloc.start()
    with pytest.raises(InputError, match=r"no usable image: skipped 1 file: .*lies\.png"):
        FolderDataset(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_archives_that_expand_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_files, "_ALWAYS_ACCEPTED", 1_000_000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(4):
            archive.writestr(f"{i}.png", bytes(500_000))
    with pytest.raises(InputError, match="would expand to 2000000: accepted are"):
        FolderDataset(path)


def test_archives_that_cannot_be_read(archive, tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        get("zip:absent.zip", data_dir=tmp_path)
    with pytest.raises(InputError, match="is not a folder; give a folder or a .zip file"):
        get("zip:pictures/a.png", data_dir=tmp_path)
    whole = archive.read_bytes()
    for content in (b"", b"no archive", whole[:-30]):
        archive.write_bytes(content)
        with pytest.raises(InputError, match="is not a complete zip archive: File is not"):
            FolderDataset(archive)
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("notes.txt", "no image")
    with pytest.raises(InputError, match="contains no usable image: it contains 1 other file"):
        FolderDataset(archive)


def test_a_file_that_breaks_later_ends_the_work(archive):
    dataset = FolderDataset(archive, 16)
    content = bytearray(archive.read_bytes())
    first = content.find(b"b.jpg") + 60
    content[first : first + 50] = bytes(50)
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"b\.jpg could be decoded when the folder was opened"):
        dataset.take(np.arange(12))


def test_damaged_bytes_are_skipped_or_named(tmp_path):
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.png", "a.png")
        archive.write(tmp_path / "a.png", "b/b.png")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(2)
    opened = 0
    for _ in range(400):
        damaged = whole.copy()
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged.tobytes())
        try:
            dataset = FolderDataset(path)
            dataset.take(np.arange(len(dataset)))
            opened += 1
        except InputError:
            pass
    assert 100 < opened < 400
