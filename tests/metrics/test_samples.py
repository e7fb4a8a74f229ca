"""Folders and arrays of samples, and the JPEG protocol."""

import numpy as np
import pytest
from PIL import Image

from uotm_keras.metrics import (
    ImageArray,
    ImageFolder,
    authors_sample_count,
    jpeg_round_trip,
    open_images,
)
from uotm_keras.utils.errors import InputError


@pytest.fixture
def folder(tmp_path, images):
    folder = tmp_path / "samples"
    (folder / "more").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "notes.txt").write_text("ignored")
    for i, image in enumerate(images[:5]):
        Image.fromarray(image).save(folder / f"{i}.png")
    Image.fromarray(images[5]).save(folder / "more" / "5.PNG")
    return folder


def test_a_folder(folder, images):
    samples = open_images(folder)
    assert len(samples) == 6 and not samples.lossy
    batches = list(samples.batches(4))
    assert [len(batch) for batch in batches] == [4, 2]
    np.testing.assert_array_equal(np.concatenate(batches), images[:6])
    before = samples.fingerprint()
    assert before == ImageFolder(folder).fingerprint()
    Image.fromarray(images[9]).save(folder / "0.png")
    assert before != ImageFolder(folder).fingerprint()


def test_gray_and_palette_files_become_color(tmp_path):
    gray = np.arange(64, dtype="uint8").reshape(8, 8)
    Image.fromarray(gray).save(tmp_path / "a.png")
    Image.fromarray(gray).convert("P").save(tmp_path / "b.png")
    (batch,) = ImageFolder(tmp_path).batches()
    np.testing.assert_array_equal(batch, np.repeat(gray[None, ..., None], 3, -1).repeat(2, 0))


def test_bad_folders(folder, images, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it is empty"):
        open_images(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("text")
    with pytest.raises(InputError, match=r"1 other file, such as notes\.txt"):
        open_images(tmp_path / "empty")
    Image.fromarray(np.repeat(images[0], 2, 0)).save(folder / "tall.png")
    with pytest.raises(InputError, match=r"0\.png is 8x8 and tall\.png is 8x16"):
        open_images(folder)


def test_damaged_files_are_skipped_and_named(folder, images):
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("ignored")
    samples = open_images(folder)
    np.testing.assert_array_equal(next(samples.batches()), images[[0, 1, 2, 4, 5]])
    assert list(samples.skipped) == [str(folder / "3.png")]
    assert "skipped 1 file" in samples.skipped_summary()


def test_arrays(tmp_path, images):
    np.savez(tmp_path / "a.npz", images, labels=np.zeros(70))
    samples = open_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(np.concatenate(list(samples.batches(32))), images)
    assert samples.description() == "a.npz (70 images)"
    for wrong in (images / 255.0, images[0], images[..., :2]):
        with pytest.raises(InputError, match="accepted are uint8 images"):
            ImageArray(wrong)
    with pytest.raises(InputError, match="contains no images"):
        ImageArray(images[:0])
    np.savez(tmp_path / "b.npz", a=images, b=images)
    with pytest.raises(InputError, match="contains 2 arrays of four axes"):
        open_images(tmp_path / "b.npz")


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_as_pillow_saves_it(images, tmp_path, channels):
    images = images[:3, ..., :channels]
    restored = jpeg_round_trip(images)
    for image, ours in zip(images, restored, strict=True):
        Image.fromarray(image.squeeze()).save(tmp_path / "a.jpg")  # the default quality
        theirs = np.asarray(Image.open(tmp_path / "a.jpg")).reshape(image.shape)
        np.testing.assert_array_equal(ours, theirs)
    assert (restored != images).any()


def test_the_authors_number_of_samples():
    assert authors_sample_count() == 49_920
    assert authors_sample_count(50_000, 100) == 50_000
    with pytest.raises(InputError, match="num_samples=10 in batches of 100"):
        authors_sample_count(10, 100)
