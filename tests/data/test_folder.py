import json
import os

import numpy as np
import pytest
from PIL import Image

from uotm_keras.data import Batches, FolderDataset, get, to_uint8
from uotm_keras.utils.errors import InputError


def test_finds_all_kinds_and_names_what_it_skips(picture_folder):
    source = get(f"folder:{picture_folder}", image_size=16)
    assert (len(source), source.shape, source.flip_by_default) == (12, (16, 16, 3), True)
    images = source.take(np.arange(12))
    assert images.shape == (12, 16, 16, 3) and images.dtype == np.float32
    assert np.isfinite(images).all() and np.abs(images).max() <= 1
    assert {os.path.basename(path) for path in source.skipped} == {
        "text.png",
        "empty.jpg",
        "tiny.png",
    }
    report = source.report()
    assert "skipped 3 files" in report and "3x40 pixels" in report and "text.png" in report
    assert sum("er" in os.path.dirname(source.path_of(i))[-2:] for i in range(12)) == 6


def test_pixels_are_those_of_pillow(picture_folder):
    source = FolderDataset(picture_folder, image_size=16)
    index = [os.path.basename(path) for path in source.paths].index("a.png")
    with Image.open(source.paths[index]) as picture:
        width, height = picture.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        expected = picture.resize(
            (16, 16), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
    image = to_uint8(source.take(np.array([index])))[0]
    np.testing.assert_array_equal(image, np.asarray(expected))


def test_with_and_without_memory_and_in_any_order(picture_folder):
    kept = FolderDataset(picture_folder, image_size=16)
    fresh = FolderDataset(picture_folder, image_size=16, cache_bytes=0)
    indices = np.array([7, 0, 7, 11, 3, 2, 2, 9, 5, 1])
    for _ in range(2):
        np.testing.assert_array_equal(kept.take(indices), fresh.take(indices))


def test_relative_paths_begin_at_data_dir(picture_folder):
    source = get(f"folder:{picture_folder.name}", data_dir=picture_folder.parent, image_size=16)
    assert len(source) == 12


def test_grey_folder_stays_grey(tmp_path):
    for i in range(3):
        Image.new("L", (16, 16), 40 * i).save(tmp_path / f"{i}.png")
    source = FolderDataset(tmp_path)
    assert source.shape == (16, 16, 1)
    np.testing.assert_array_equal(to_uint8(source.take(np.arange(3)))[:, 0, 0, 0], [0, 40, 80])
    assert FolderDataset(tmp_path, channels=3).shape == (16, 16, 3)


def test_different_sizes_need_image_size(picture_folder):
    with pytest.raises(InputError, match="2 different sizes: image_size"):
        get(f"folder:{picture_folder}")


def test_nothing_usable(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        FolderDataset(tmp_path / "absent", image_size=16)
    with pytest.raises(InputError, match="no usable image: there is no file"):
        FolderDataset(tmp_path, image_size=16)
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(InputError, match=r"skipped 1 file: .*broken\.png"):
        FolderDataset(tmp_path, image_size=16)
    with pytest.raises(InputError, match="is not a folder"):
        FolderDataset(tmp_path / "broken.png", image_size=16)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_broken_pixels_are_replaced_by_the_next_file_always(picture_folder):
    whole = FolderDataset(picture_folder, image_size=16)
    index = whole.paths.index(str(picture_folder / "b.jpg"))
    following = whole.take(np.array([index + 1]))[0]
    truncate(picture_folder / "b.jpg")
    for cache_bytes in (0, 1 << 20):
        source = FolderDataset(picture_folder, image_size=16, cache_bytes=cache_bytes)
        assert len(source) == 12 and len(source.skipped) == 3  # its header is good
        for _ in range(2):
            np.testing.assert_array_equal(source.take(np.array([index]))[0], following)
        assert "truncated" in source.skipped[str(picture_folder / "b.jpg")]
        assert "b.jpg" in source.report(limit=10)


def test_when_all_pixels_are_broken_it_says_so(tmp_path):
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.jpg")
        truncate(tmp_path / f"{i}.jpg")
    source = FolderDataset(tmp_path, image_size=16)
    with pytest.raises(InputError, match="no readable image"):
        source.take(np.array([1]))


def test_index_spares_reading_headers_again(picture_folder, tmp_path, monkeypatch):
    index_path = tmp_path / "run" / "index.json"
    first = FolderDataset(picture_folder, 16, index_path=index_path)
    assert len(json.loads(index_path.read_text())["files"]) == 15

    from uotm_keras.data import folder

    read = []
    real = folder._read_header
    monkeypatch.setattr(
        folder, "_read_header", lambda path, stat: read.append(os.path.basename(path))
    )
    again = FolderDataset(picture_folder, 16, index_path=index_path)
    assert read == []
    assert (again.paths, again.skipped) == (first.paths, first.skipped)
    assert again.fingerprint() == first.fingerprint()

    monkeypatch.setattr(
        folder,
        "_read_header",
        lambda path, stat: read.append(os.path.basename(path)) or real(path, stat),
    )
    Image.new("RGB", (50, 50)).save(picture_folder / "text.png")  # now it is a picture
    Image.new("RGB", (50, 50)).save(picture_folder / "new.png")
    (picture_folder / "a.png").unlink()
    changed = FolderDataset(picture_folder, 16, index_path=index_path)
    assert sorted(read) == ["new.png", "text.png"]
    assert len(changed) == 13 and changed.fingerprint() != first.fingerprint()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "folder": "/", "files": 3}'])
def test_a_damaged_index_is_made_anew(picture_folder, tmp_path, content):
    index_path = tmp_path / "index.json"
    index_path.write_text(content)
    assert len(FolderDataset(picture_folder, 16, index_path=index_path)) == 12
    assert len(json.loads(index_path.read_text())["files"]) == 15


def test_workers_give_the_same_batches(picture_folder):
    source = FolderDataset(picture_folder, image_size=16)
    expected = [Batches(source, 5, seed=1)[k] for k in range(8)]
    for workers in (0, 2):
        fresh = Batches(FolderDataset(picture_folder, image_size=16), 5, seed=1)
        stream = iter(fresh.stream(workers=workers))
        for batch in expected:
            np.testing.assert_array_equal(next(stream), batch)
