"""Odd image files, made here: what each looks like to training and to scoring."""

import io
import os
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from uotm_keras.data import FolderDataset, get, parse_background, to_uint8
from uotm_keras.data.image_files import FolderFiles, Found, inspect_file
from uotm_keras.metrics import ImageFolder, evaluate_images
from uotm_keras.utils.errors import InputError

SIZE = 16
RNG = np.random.default_rng(7)
COLOR = RNG.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def only_image(folder, **options):
    """The bytes of the only image of a folder, as training sees it."""
    dataset = FolderDataset(folder, channels=3, **options)
    assert len(dataset) == 1
    return to_uint8(dataset.take(np.arange(1)))[0]


def blended(pixels, alpha, background):
    a = alpha[..., None] / 255.0
    return pixels * a + np.array(background) * (1 - a)


@pytest.mark.parametrize(
    ("text", "color"),
    [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#ff8000", (255, 128, 0))],
)
def test_transparency_is_composited_on_the_background(tmp_path, text, color):
    alpha = RNG.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    alpha[:4] = 0  # below which a hidden color is stored
    Image.fromarray(np.dstack([COLOR, alpha])).save(tmp_path / "a.png")
    assert parse_background(text) == color
    image = only_image(tmp_path, background=text)
    assert np.abs(image - blended(COLOR, alpha, color)).max() <= 1
    assert (image[:4] == color).all()
    dataset = get(f"folder:{tmp_path}", background=text)
    assert "composited 1 transparent image on the background" in dataset.skipped_summary()
    assert dataset.fingerprint() != FolderDataset(tmp_path, background="#010203").fingerprint()


def test_gray_with_alpha(tmp_path):
    gray, alpha = RNG.integers(0, 256, (2, SIZE, SIZE), dtype=np.uint8)
    Image.fromarray(np.dstack([gray, alpha]), "LA").save(tmp_path / "a.png")
    expected = blended(gray[..., None].repeat(3, -1), alpha, (255, 255, 255))
    assert np.abs(only_image(tmp_path) - expected).max() <= 1


def test_palettes_with_transparency(tmp_path):
    palette = Image.fromarray(COLOR).quantize(4, dither=Image.Dither.NONE)
    shown = np.asarray(palette.convert("RGB")).copy()
    palette.save(tmp_path / "a.png", transparency=bytes([0, 255, 128, 255]))
    indices = np.asarray(palette)
    image = only_image(tmp_path)
    assert (image[indices == 0] == 255).all()
    np.testing.assert_array_equal(image[indices == 1], shown[indices == 1])
    half = (shown[indices == 2] * 128.0 + 255 * 127) / 255
    assert np.abs(image[indices == 2] - half).max() <= 1


def test_opaque_alpha_changes_nothing_and_is_not_mentioned(tmp_path):
    Image.fromarray(np.dstack([COLOR, np.full((SIZE, SIZE), 255, np.uint8)])).save(
        tmp_path / "a.png"
    )
    np.testing.assert_array_equal(only_image(tmp_path), COLOR)
    assert FolderDataset(tmp_path).skipped_summary() == ""


def test_sixteen_bits(tmp_path):
    deep = RNG.integers(0, 1 << 16, (SIZE, SIZE), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only_image(tmp_path)[..., 0], deep >> 8)
    assert FolderDataset(tmp_path).shape == (SIZE, SIZE, 1)


def test_cmyk(tmp_path):
    cmyk = Image.fromarray(np.full((SIZE, SIZE, 3), (200, 100, 50), np.uint8)).convert("CMYK")
    cmyk.save(tmp_path / "a.jpg", quality=100)
    assert np.abs(only_image(tmp_path).astype(int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, orientation):
    pixels = COLOR[:, : SIZE // 2]
    # Stored so that the EXIF instruction restores `pixels`.
    stored = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.swapaxes(0, 1), 6: np.rot90(pixels), 7: np.rot90(pixels, 2).swapaxes(0, 1),
        8: np.rot90(pixels, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(only_image(tmp_path), pixels)


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_animated_files_give_their_first_frame(tmp_path, ending):
    frames = [Image.fromarray(np.roll(COLOR, 5 * i, 0)) for i in range(3)]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(tmp_path / f"a.{ending}") as saved:
        assert saved.n_frames == 3
    np.testing.assert_array_equal(only_image(tmp_path), COLOR)


def bomb(width, height):
    """A PNG of some kilobytes that declares many pixels."""

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def make_zoo(folder):
    """One size, every odd kind; returns how many are usable."""
    (folder / "sub" / "er").mkdir(parents=True)
    Image.fromarray(COLOR).save(folder / "a.png")
    Image.fromarray(RNG.integers(0, 1 << 16, (SIZE, SIZE), dtype=np.uint16)).save(folder / "16.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOR[::-1]).save(folder / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(RNG.integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)).save(folder / "rgba.png")
    Image.fromarray(COLOR).convert("CMYK").save(folder / "sub" / "cmyk.jpg")
    Image.fromarray(COLOR[:, ::-1]).save(folder / "sub" / "er" / "lossy.webp")
    palette = Image.fromarray(COLOR).quantize(5)
    palette.save(folder / "palette.png", transparency=bytes([0, 90, 255, 255, 255]))
    Image.fromarray(COLOR[..., 0] > 99).save(folder / "bilevel.png")
    Image.fromarray(COLOR).save(folder / os.fsdecode(b"not-utf8-\xff.png"))
    Image.fromarray(COLOR).save(folder / ("n" * 240 + ".png"))
    usable = 10
    (folder / "linked.png").symlink_to(folder / "a.png")
    usable += 1
    # Ignored:
    (folder / ".ipynb_checkpoints").mkdir()
    Image.fromarray(COLOR[::2]).save(folder / ".ipynb_checkpoints" / "a-checkpoint.png")
    Image.fromarray(COLOR[::2]).save(folder / "._a.png")
    (folder / "Thumbs.db").write_bytes(b"foreign")
    Image.fromarray(COLOR).save(folder / "b.gif")
    # Skipped:
    whole = (folder / "a.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[:-200])
    (folder / "text.jpg").write_text("no image")
    (folder / "empty.webp").write_bytes(b"")
    (folder / "bomb.png").write_bytes(bomb(12_000, 12_000))
    (folder / "huge bomb.png").write_bytes(bomb(40_000, 40_000))
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "nowhere.png").symlink_to(folder / "missing.png")
    os.mkfifo(folder / "pipe.png")
    return usable, 8


@pytest.fixture
def zoo(tmp_path):
    folder = tmp_path / "zoo"
    return folder, *make_zoo(folder)


def test_the_zoo(zoo, capfd):
    folder, usable, skipped = zoo
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = FolderDataset(folder, cache_bytes=0)
        images = dataset.take(np.arange(len(dataset)))
    assert len(dataset) == len(dataset.paths) == usable and images.shape[1:] == (SIZE, SIZE, 3)
    reasons = {os.path.basename(path): reason for path, reason in dataset.skipped.items()}
    assert len(reasons) == skipped
    assert "truncated" in reasons["truncated.png"] and "pixels" in reasons["bomb.png"]
    assert "symbolic links" in reasons["loop.png"] and "regular file" in reasons["pipe.png"]
    assert "No such file" in reasons["nowhere.png"]
    dataset.skipped_summary(limit=99).encode("utf-8")
    [dataset.path_of(i).encode("utf-8") for i in range(usable)]
    assert capfd.readouterr() == ("", "")


def test_scoring_reads_what_training_reads(zoo):
    """Any folder against `folder:` of itself gives 0."""
    folder, usable, _ = zoo
    samples, dataset = ImageFolder(folder), get(f"folder:{folder}")
    assert len(samples) == usable and samples.skipped == dataset.skipped
    np.testing.assert_array_equal(
        np.concatenate(list(samples.batches(4))), to_uint8(dataset.take(np.arange(usable)))
    )

    def means(images):
        return images.reshape(len(images), -1, 3).mean(axis=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = evaluate_images(samples.batches(), dataset, ["fid"], means)
    assert result["metrics"]["fid"] == pytest.approx(0, abs=1e-6)
    assert result["samples"] == result["reference_samples"] == usable


@pytest.mark.parametrize("kind", ["L", "I;16", "turned", "RGBA"])
def test_uniform_folders_of_odd_files_against_themselves(tmp_path, kind):
    for i in range(6):
        if kind == "I;16":
            picture = Image.fromarray(RNG.integers(0, 1 << 16, (SIZE, SIZE), dtype=np.uint16))
        else:
            bands = {"L": 1, "RGBA": 4}.get(kind, 3)
            pixels = RNG.integers(0, 256, (SIZE, SIZE // 2, bands), dtype=np.uint8)
            picture = Image.fromarray(pixels[..., 0] if bands == 1 else pixels)
        exif = Image.Exif()
        exif[0x0112] = 6 if kind == "turned" else 1
        picture.save(tmp_path / f"{i}.png", exif=exif)
    result = evaluate_images(
        ImageFolder(tmp_path).batches(), get(f"folder:{tmp_path}", channels=3), ["fid"], "digits"
    )
    assert result["metrics"]["fid"] == pytest.approx(0, abs=1e-6)


def test_folders_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="does not exist"):
        get("folder:" + "n" * 300)
    with pytest.raises(InputError, match="does not exist"):
        get("folder:a\0b")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="does not exist"):
        get(f"folder:{tmp_path / 'loop'}")
    (tmp_path / "closed").mkdir()
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    real = os.scandir

    def scandir(path):
        if os.path.basename(os.path.normpath(path)) == "closed":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    dataset = FolderDataset(tmp_path)
    assert len(dataset) == 1 and "Permission denied" in dataset.skipped_summary()
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        FolderFiles(tmp_path / "closed", "folder:closed").list()


@pytest.mark.parametrize("name", ["npz:pipe.npz", "folder:pipe.npz"])
def test_a_pipe_does_not_hang(tmp_path, name):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="not a (regular file|folder)"):
        get(name, data_dir=tmp_path)


def test_threads_restore_the_filters_of_warnings(tmp_path):
    for i in range(4):
        Image.fromarray(COLOR).save(tmp_path / f"{i}.png")
    dataset = FolderDataset(tmp_path, cache_bytes=0)
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [dataset.take(np.arange(4)) for _ in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.parametrize("color", ["", "grey", "#fff", "#12345g", "rgb(0,0,0)"])
def test_bad_backgrounds(color, tmp_path):
    with pytest.raises(InputError, match="accepted are white, black and #rrggbb"):
        get(f"folder:{tmp_path}", background=color)


@pytest.mark.parametrize("ending", ["PNG", "JPEG", "WEBP"])
def test_bit_flips_are_skipped_or_decoded(tmp_path, ending, capfd):
    """2 000 flips per format; a flip need not be noticed, and never raises or warns."""
    buffer = io.BytesIO()
    Image.fromarray(COLOR).save(buffer, ending)
    whole = np.frombuffer(buffer.getvalue(), np.uint8)
    rng = np.random.default_rng(3)
    files, found = FolderFiles(tmp_path, "folder:x"), Found(0, 0)
    path = tmp_path / "a.png"
    failed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2000):
            damaged = whole.copy()
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
            path.write_bytes(damaged.tobytes())
            failed += bool(inspect_file(files, "a.png", found).error)
    assert failed > 50
    assert capfd.readouterr() == ("", "")
