import json
import os

import numpy as np
import pytest
from PIL import Image

from uotm_keras.data import (
    Batches,
    FolderDataset,
    get,
    refuse_changed_data,
    save_index,
    skipped_csv,
    to_uint8,
)
from uotm_keras.utils.errors import InputError


def test_finds_all_kinds_and_names_what_it_skips(picture_folder):
    dataset = get(f"folder:{picture_folder}", image_size=16)
    assert (len(dataset), dataset.shape, dataset.flip_by_default) == (12, (16, 16, 3), True)
    images = dataset.take(np.arange(12))
    assert images.shape == (12, 16, 16, 3) and images.dtype == np.float32
    assert np.isfinite(images).all() and np.abs(images).max() <= 1
    assert {os.path.basename(path) for path in dataset.skipped} == {
        "text.png",
        "empty.jpg",
        "tiny.png",
    }
    summary = dataset.skipped_summary()
    assert "skipped 3 files" in summary and "3x40 pixels" in summary and "text.png" in summary
    assert sum("er" in os.path.dirname(dataset.path_of(i))[-2:] for i in range(12)) == 6


def test_pixels_are_those_of_pillow(picture_folder):
    dataset = FolderDataset(picture_folder, image_size=16)
    index = [os.path.basename(path) for path in dataset.paths].index("a.png")
    with Image.open(dataset.paths[index]) as picture:
        width, height = picture.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        expected = picture.resize(
            (16, 16), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
    image = to_uint8(dataset.take(np.array([index])))[0]
    np.testing.assert_array_equal(image, np.asarray(expected))


def test_with_and_without_memory_and_in_any_order(picture_folder):
    kept = FolderDataset(picture_folder, image_size=16)
    fresh = FolderDataset(picture_folder, image_size=16, cache_bytes=0)
    indices = np.array([7, 0, 7, 11, 3, 2, 2, 9, 5, 1])
    for _ in range(2):
        np.testing.assert_array_equal(kept.take(indices), fresh.take(indices))


def test_relative_paths_begin_at_data_dir(picture_folder):
    dataset = get(f"folder:{picture_folder.name}", data_dir=picture_folder.parent, image_size=16)
    assert len(dataset) == 12


def test_gray_folder_stays_gray(tmp_path):
    for i in range(3):
        Image.new("L", (16, 16), 40 * i).save(tmp_path / f"{i}.png")
    dataset = FolderDataset(tmp_path)
    assert dataset.shape == (16, 16, 1)
    np.testing.assert_array_equal(to_uint8(dataset.take(np.arange(3)))[:, 0, 0, 0], [0, 40, 80])
    assert FolderDataset(tmp_path, channels=3).shape == (16, 16, 3)


def test_different_sizes_need_image_size(picture_folder):
    with pytest.raises(InputError, match=r"mixes sizes, 2 different ones: .* image_size must say"):
        get(f"folder:{picture_folder}")


def test_nothing_usable(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        FolderDataset(tmp_path / "absent", image_size=16)
    with pytest.raises(InputError, match="no usable image: it is empty"):
        FolderDataset(tmp_path, image_size=16)
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(InputError, match=r"skipped 1 file: .*broken\.png"):
        FolderDataset(tmp_path, image_size=16)
    with pytest.raises(InputError, match="is not a folder"):
        FolderDataset(tmp_path / "broken.png", image_size=16)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_damaged_files_are_excluded_from_the_start(picture_folder):
    whole = FolderDataset(picture_folder, image_size=16)
    index = whole.paths.index(str(picture_folder / "b.jpg"))
    truncate(picture_folder / "b.jpg")  # its header is still good
    dataset = FolderDataset(picture_folder, image_size=16)
    assert dataset.paths == whole.paths[:index] + whole.paths[index + 1 :]
    assert len(dataset) == 11 and len(dataset.skipped) == 4
    np.testing.assert_array_equal(
        dataset.take(np.arange(11)), whole.take(np.delete(np.arange(12), index))
    )
    rows = skipped_csv({"dataset": dataset}).splitlines()
    assert rows[0] == "path,reason" and len(rows) == 5
    assert any("b.jpg" in row and "truncated" in row for row in rows)
    assert "skipped 4 files" in dataset.skipped_summary()


def test_when_all_files_are_damaged_it_says_so(tmp_path):
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.jpg")
        truncate(tmp_path / f"{i}.jpg")
    with pytest.raises(InputError, match="no usable image: skipped 3 files"):
        FolderDataset(tmp_path, image_size=16)


def test_a_file_that_breaks_later_ends_the_work(picture_folder):
    dataset = FolderDataset(picture_folder, image_size=16)
    truncate(picture_folder / "b.jpg")
    with pytest.raises(InputError, match=r"b\.jpg could be decoded when the folder was opened"):
        dataset.take(np.arange(12))


def saved(dataset, path):
    save_index(path, {"dataset": dataset})
    return dataset


def test_index_spares_decoding_again(picture_folder, tmp_path, monkeypatch):
    index_path = tmp_path / "run" / "index.json"
    first = saved(FolderDataset(picture_folder, 16, index_path=index_path), index_path)
    from uotm_keras.data import folder

    read = []
    real = folder.inspect_file

    def counted(files, relative, found):
        read.append(os.path.basename(relative))
        return real(files, relative, found)

    monkeypatch.setattr(folder, "inspect_file", counted)
    again = FolderDataset(picture_folder, 16, index_path=index_path)
    assert read == []
    assert (again.paths, again.skipped) == (first.paths, first.skipped)
    assert again.fingerprint() == first.fingerprint()
    refuse_changed_data(index_path, {"dataset": again})

    Image.new("RGB", (50, 50)).save(picture_folder / "text.png")  # now it is a picture
    Image.new("RGB", (50, 50)).save(picture_folder / "new.png")
    (picture_folder / "a.png").unlink()
    changed = FolderDataset(picture_folder, 16, index_path=index_path)
    assert sorted(read) == ["new.png", "text.png"]
    assert len(changed) == 13 and changed.fingerprint() != first.fingerprint()
    with pytest.raises(InputError) as caught:
        refuse_changed_data(index_path, {"dataset": changed})
    message = str(caught.value)
    assert "1 file added (new.png), 1 file removed (a.png), 1 file changed (text.png)" in message
    index_path.unlink()
    refuse_changed_data(index_path, {"dataset": changed})


def test_new_times_and_other_places_are_the_same_content(picture_folder, tmp_path):
    first = FolderDataset(picture_folder, 16)
    save_index(tmp_path / "index.json", {"dataset": first})
    os.utime(picture_folder / "a.png", (0, 0))
    moved = picture_folder.rename(tmp_path / "elsewhere")
    refuse_changed_data(tmp_path / "index.json", {"dataset": FolderDataset(moved, 16)})


def test_other_datasets_that_changed(tmp_path):
    save_index(tmp_path / "index.json", {"dataset": get("toy:moons:50")})
    refuse_changed_data(tmp_path / "index.json", {"dataset": get("toy:moons:50")})
    with pytest.raises(InputError, match="its content is different"):
        refuse_changed_data(tmp_path / "index.json", {"dataset": get("toy:moons:51")})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2, "folders": 3}', "[" * 9999])
def test_a_damaged_index_is_ignored(picture_folder, tmp_path, content):
    index_path = tmp_path / "index.json"
    index_path.write_text(content)
    dataset = FolderDataset(picture_folder, 16, index_path=index_path)
    assert len(dataset) == 12
    refuse_changed_data(index_path, {"dataset": dataset})
    saved(dataset, index_path)
    (files,) = json.loads(index_path.read_text())["folders"].values()
    assert len(files) == 15


def test_workers_give_the_same_batches(picture_folder):
    dataset = FolderDataset(picture_folder, image_size=16)
    expected = [Batches(dataset, 5, seed=1)[k] for k in range(8)]
    for workers in (0, 2):
        fresh = Batches(FolderDataset(picture_folder, image_size=16), 5, seed=1)
        stream = iter(fresh.stream(workers=workers))
        for batch in expected:
            np.testing.assert_array_equal(next(stream), batch)
