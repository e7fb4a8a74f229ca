"""TensorFlow Datasets, from archives made here: nothing is downloaded."""

import io
import re
import socket
import subprocess
import sys
import tarfile
import urllib.error

import keras
import numpy as np
import pytest
from PIL import Image

from uotm_keras.data import get, prepare_tfds, tfds_prepare, to_uint8
from uotm_keras.utils.errors import InputError

CIFAR_FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def make_cifar_archive(path) -> tuple[np.ndarray, np.ndarray]:
    """A cifar-10-binary.tar.gz of 4 images per file; returns all 24 and labels, train first."""
    rows = np.random.default_rng(0).integers(0, 256, (6, 4, 3073), dtype=np.uint8)
    rows[..., 0] %= 10
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "cifar-10-batches-bin/batches.meta.txt", "\n".join("abcdefghij").encode())
        for name, content in zip(CIFAR_FILES, rows, strict=True):
            add(archive, f"cifar-10-batches-bin/{name}", content.tobytes())
    images = rows[..., 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, rows[..., 0].ravel()


def make_celeba_archive(path, count=6) -> np.ndarray:
    """data16x16.tar with imgHQ00000.png, …"""
    images = np.random.default_rng(1).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as archive:
        for i, image in enumerate(images):
            content = io.BytesIO()
            Image.fromarray(image).save(content, "PNG")
            add(archive, f"imgHQ{i:05d}.png", content.getvalue())
    return images


def as_set(images):
    return {image.tobytes() for image in images}


@pytest.fixture(scope="module")
def celeba(tmp_path_factory):
    """A prepared celeb_a_hq/16, by the way a user's `get` takes: in another process."""
    root = tmp_path_factory.mktemp("tfds")
    images = make_celeba_archive(root / "downloads" / "manual" / "data16x16.tar")
    source = get("tfds:celeb_a_hq/16", data_dir=root)
    return root, images, source


def test_prepares_and_reads(celeba):
    root, images, source = celeba
    assert (len(source), source.shape, source.flip_by_default) == (6, (16, 16, 3), True)
    assert as_set(to_uint8(source.take(np.arange(6)))) == as_set(images)
    again = get("tfds:celeb_a_hq/16", data_dir=root)
    np.testing.assert_array_equal(again.take(np.array([4, 1])), source.take(np.array([4, 1])))
    assert again.fingerprint() == source.fingerprint()
    assert source.labels is None and source.num_classes == 0
    assert source.path_of(3) == "tfds:celeb_a_hq/16/train[3]"


def test_size_channels_and_slices(celeba):
    root, _, source = celeba
    small = get("tfds:celeb_a_hq/16", data_dir=root, image_size=8, channels=1)
    assert small.shape == (8, 8, 1) and small.fingerprint() != source.fingerprint()
    wide = source.take(np.arange(6)).reshape(6, 8, 2, 8, 2, 3).mean(axis=(2, 4, 5))
    assert np.corrcoef(small.take(np.arange(6)).ravel(), wide.ravel())[0, 1] > 0.7
    part = get("tfds:celeb_a_hq/16", data_dir=root, split="train[:50%]")
    assert len(part) == 3
    np.testing.assert_array_equal(part.take(np.arange(3)), source.take(np.arange(3)))
    with pytest.raises(InputError, match="no split 'valid': accepted are train"):
        get("tfds:celeb_a_hq/16", data_dir=root, split="valid")


def test_official_training_partition(celeba):
    root, images, _ = celeba
    with pytest.raises(InputError, match="CelebA-HQ-to-CelebA-mapping.txt"):
        get("tfds:celeb_a_hq/16", data_dir=root, split="celeba_train")
    # 162 769 is the last of the training partition, counted from 0.
    originals = [5, 162769, 162770, 200000, 100, 182637]
    lines = ["idx orig_idx orig_file"]
    lines += [f"{i} {number} {number + 1:06d}.jpg" for i, number in enumerate(originals)]
    mapping = root / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text("\n".join(lines))
    for _ in range(2):  # the second time from the numbers kept on disk
        source = get("tfds:celeb_a_hq/16", data_dir=root, split="celeba_train")
        assert as_set(to_uint8(source.take(np.arange(len(source))))) == as_set(images[[0, 1, 4]])
    mapping.write_text("idx orig_idx orig_file\nno numbers here\n")
    with pytest.raises(InputError, match="cannot be read"):
        get("tfds:celeb_a_hq/16", data_dir=root, split="celeba_train")
    mapping.unlink()


def test_reading_needs_no_tensorflow(celeba):
    if keras.backend.backend() == "tensorflow":
        pytest.skip("the TensorFlow backend imports TensorFlow")
    program = (
        "import sys, numpy as np; from uotm_keras.data import get; "
        f"get('tfds:celeb_a_hq/16', data_dir={str(celeba[0])!r}).take(np.arange(6)); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_contaminated_by_a_set(celeba):
    root, _, source = celeba
    mixed = get("digits", data_dir=root, contaminate="tfds:celeb_a_hq/16:0.002")
    assert len(mixed) == 1797 + 4 and mixed.shape == (8, 8, 1)
    assert mixed.path_of(1798) == "tfds:celeb_a_hq/16/train[1]"


def test_a_users_own_archive_is_taken(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds
    from etils import epath
    from tensorflow_datasets.core.download import checksums

    path = tmp_path / "downloads" / "manual" / "cifar-10-binary.tar.gz"
    images, labels = make_cifar_archive(path)
    # The small archive in the place of the real one: TFDS compares checksums.
    builder = tfds.builder_cls("cifar10")
    (url,) = builder.url_infos
    info = checksums.compute_url_info(epath.Path(path))
    monkeypatch.setattr(builder, "url_infos", {url: info})
    monkeypatch.setattr(tfds_prepare, "_unreachable", lambda url: "no network in a test")

    folder = prepare_tfds("cifar10", tmp_path)
    assert folder.is_dir() and prepare_tfds("cifar10", tmp_path) == folder
    source = get("tfds:cifar10", data_dir=tmp_path)
    assert (len(source), source.shape, source.flip_by_default) == (20, (32, 32, 3), True)
    assert as_set(to_uint8(source.take(np.arange(20)))) == as_set(images[:20])
    expected = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    found = to_uint8(source.take(np.arange(20)))
    assert [expected[image.tobytes()] for image in found] == source.labels.tolist()
    assert source.labels.dtype == np.int64 and source.class_names == tuple("abcdefghij")
    test = get("tfds:cifar10", data_dir=tmp_path, split="test")
    assert as_set(to_uint8(test.take(np.arange(4)))) == as_set(images[20:])


def test_a_wrong_archive_is_named(tmp_path):
    make_cifar_archive(tmp_path / "downloads" / "manual" / "cifar-10-binary.tar.gz")
    with pytest.raises(InputError, match="cifar-10-binary.tar.gz") as caught:
        prepare_tfds("cifar10", tmp_path)
    message = str(caught.value)
    assert "wrong checksum" in message and len(re.findall("[0-9a-f]{64}", message)) == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "place cifar-10-binary.tar.gz in"),
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("lsun/church", "church_outdoor_train_lmdb.zip, church_outdoor_val_lmdb.zip in"),
        ("lsun/church_outdoor", "church_outdoor_train_lmdb.zip, church_outdoor_val_lmdb.zip in"),
        ("celeb_a_hq/256", "place data256x256.tar in"),
    ],
)
def test_absent_sets_say_what_to_place_where(tmp_path, monkeypatch, name, file):
    def refuse(*arguments, **options):
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(InputError) as caught:
        get(f"tfds:{name}", data_dir=tmp_path, image_size=32)
    message = str(caught.value)
    assert file in message and str(tmp_path / "downloads" / "manual") in message
    assert "prepare_tfds" in message and "\n" not in message


def test_a_server_in_trouble_is_not_retried_for_minutes(tmp_path, monkeypatch):
    def refuse(request, **options):
        raise urllib.error.HTTPError(request.full_url, 503, "Service Unavailable", None, None)

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(InputError, match="HTTP error 503.*place cifar-10-binary.tar.gz"):
        get("tfds:cifar10", data_dir=tmp_path)


def test_transparent_images_are_composited():
    from uotm_keras.data import TFDSDataset

    dataset = object.__new__(TFDSDataset)
    pixels = np.full((4, 4, 4), 100, np.uint8)
    pixels[:2, :, 3], pixels[2:, :, 3] = 0, 255
    dataset._selection, dataset._key, dataset._image_size = None, "image", None
    dataset._records, dataset.shape = [{"image": pixels}], (4, 4, 3)
    dataset._background = (255, 0, 0)
    image = dataset._decode(0)
    assert (image[:2] == [255, 0, 0]).all() and (image[2:] == 100).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar11", "did you mean tfds:cifar10"),
        ("lsun/churches", "did you mean 'church_outdoor'"),
        ("celeb_a_hq/250", "did you mean '256'"),
        ("cifar10:9.9.9", "cannot be opened"),
        ("imdb_reviews", "has no images"),
    ],
)
def test_names_that_cannot_be(tmp_path, name, words):
    with pytest.raises(InputError, match=words):
        get(f"tfds:{name}", data_dir=tmp_path)


def test_a_set_in_another_format_is_named(tmp_path):
    """TFDS's default format has no random access."""
    import tensorflow_datasets as tfds

    make_celeba_archive(tmp_path / "downloads" / "manual" / "data16x16.tar", count=2)
    builder = tfds.builder("celeb_a_hq/16", data_dir=str(tmp_path), file_format="tfrecord")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=str(tmp_path / "downloads" / "manual"), try_download_gcs=False
        )
    )
    with pytest.raises(InputError, match="array_record|random access"):
        get("tfds:celeb_a_hq/16", data_dir=tmp_path)


@pytest.mark.one_backend
@pytest.mark.parametrize("given, reaches", [("gs://b/tfds", "gs://b/tfds"), ("/a/../b", "/b")])
def test_the_address_of_a_bucket_reaches_tfds_unchanged(given, reaches, monkeypatch):
    import tensorflow_datasets as tfds

    from uotm_keras.data.tfds_prepare import open_builder

    monkeypatch.setattr(tfds, "builder", lambda name, data_dir, file_format: data_dir)
    assert open_builder("cifar10", given) == reaches
