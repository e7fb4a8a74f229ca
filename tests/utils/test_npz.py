"""`.npz` and `.npy` files: read whole, refused in one sentence when damaged or hostile."""

import io
import os
import zipfile

import numpy as np
import pytest

from uotm_keras.data import get
from uotm_keras.metrics.reference_files import read_statistics
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.npz import array_names, read_arrays

ARRAYS = {
    "images": np.arange(2 * 4 * 4 * 3, dtype="u1").reshape(2, 4, 4, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(5, dtype=">i4"),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 7), "f4"),
    "text": np.array(["a", "bcd"]),
}


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path, write):
    write(tmp_path / "a.npz", **ARRAYS)
    read = read_arrays(tmp_path / "a.npz")
    assert array_names(tmp_path / "a.npz") == list(ARRAYS) == list(read)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def member(shape, data, kind="<f8"):
    buffer = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + data


@pytest.mark.parametrize(
    "content",
    [
        member((10**15,), b"\0" * 8),
        member((10**9, 10**9), b"\0" * 8),
        member((1,), b"\0" * 2**20),
        member((-1,), b""),
        member((2,), b"\0" * 8),
    ],
)
def test_headers_that_lie(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(InputError, match="not a complete .npz file"):
        read_arrays(tmp_path / "a.npz")


def test_pickled_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="x contains pickled objects"):
        read_arrays(tmp_path / "a.npz")


def fuzzed(whole, count, seed=0):
    """The file with a flipped bit each time."""
    rng = np.random.default_rng(seed)
    whole = np.frombuffer(whole, np.uint8)
    for _ in range(count):
        damaged = whole.copy()
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        yield damaged.tobytes()


def refused(path, contents, read):
    count = 0
    for content in contents:
        path.write_bytes(content)
        try:
            read(path)
        except InputError:
            count += 1
    return count


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_bit_flips_in_npz(tmp_path, write, recwarn, capfd):
    """2 000 flips; nothing but `InputError`, whichever of NumPy, zipfile and zlib notices."""
    path = tmp_path / "a.npz"
    write(path, points=np.arange(12.0).reshape(6, 2), other=np.arange(9, dtype="i2"))
    contents = list(fuzzed(path.read_bytes(), 2000))
    assert refused(path, contents, read_arrays) > 1000
    assert refused(path, contents[:300], lambda path: get(f"npz:{path}")) > 50
    assert not recwarn.list and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_bit_flips_in_statistics(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    content = {"mu": np.arange(3.0), "sigma": np.diag([1.0, 2.0, 3.0])}
    if ending == "npy":
        np.save(path, content, allow_pickle=True)
    else:
        np.savez(path, **content, count=np.array(7), network=np.array("{}"))
    assert refused(path, list(fuzzed(path.read_bytes(), 2000)), read_statistics) > 300


@pytest.mark.parametrize("reader", [read_arrays, read_statistics])
def test_pipes_and_absent_files(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="not a regular file"):
        reader(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="there is no file"):
        reader(tmp_path / "none.npz")
