"""`.pth` files: read without torch, refused when hostile or damaged."""

import argparse
import collections
import io
import os
import pickle
import struct
import sys
import time
import zipfile

import numpy as np
import pytest

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.pth import read_state_dict


class _Named:
    """Pickles as a call of the named function: what a file's `torch` objects look like."""

    def __init__(self, module, name, *arguments):
        self.call = (module, name, arguments)


class _Pickler(pickle._Pickler):
    """Writes _Named calls and ("storage", …) identifiers without torch being there."""

    def persistent_id(self, value):
        return value if isinstance(value, tuple) and value[:1] == ("storage",) else None

    def save(self, value, *arguments, **options):
        if isinstance(value, _Named):
            module, name, call = value.call
            self.write(f"c{module}\n{name}\n".encode())
            if call:
                self.save(call)
                self.write(b"R")
        else:
            super().save(value, *arguments, **options)


def dumps(value) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def tensor(key, kind, offset, shape, strides, count, legacy=False):
    storage = ("storage", _Named("torch", f"{kind}Storage"), key, "cpu", count)
    storage += (None,) if legacy else ()
    return _Named(
        "torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False,
        collections.OrderedDict(),
    )  # fmt: skip


def write_zip(path, content, storages, order="little"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", order)
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)


def write_legacy(path, content, storages):
    with open(path, "wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            file.write(pickle.dumps(head, protocol=2))
        file.write(content)
        file.write(pickle.dumps(sorted(storages), protocol=2))
        for key in sorted(storages):
            file.write(struct.pack("<q", len(storages[key])) + storages[key].tobytes())


FLAT = np.arange(12, dtype="f4")


def test_zip_format(tmp_path):
    content = {
        "whole": tensor("0", "Float", 0, (3, 4), (4, 1), 12),
        "transposed part": tensor("0", "Float", 2, (2, 3), (1, 4), 12),
        "scalar": tensor("1", "Long", 0, (), (), 1),
        "nested": {
            "list": [1, 2.5, "text", None],
            "empty": tensor("0", "Float", 0, (0,), (1,), 12),
        },
    }
    write_zip(tmp_path / "a.pth", dumps(content), {"0": FLAT.tobytes(), "1": np.int64(7).tobytes()})
    state = read_state_dict(tmp_path / "a.pth")
    np.testing.assert_array_equal(state["whole"], FLAT.reshape(3, 4))
    np.testing.assert_array_equal(state["transposed part"], FLAT.reshape(3, 4).T[2:, :3])
    assert state["scalar"] == 7 and state["scalar"].dtype == np.int64
    assert state["nested"]["list"] == [1, 2.5, "text", None]
    assert state["nested"]["empty"].shape == (0,)


def test_big_endian_and_bfloat16(tmp_path):
    bits = (FLAT.view("u4") >> 16).astype(">u2")  # small integers are exact in bfloat16
    content = dumps({"x": tensor("0", "BFloat16", 0, (12,), (1,), 12)})
    write_zip(tmp_path / "a.pth", content, {"0": bits.tobytes()}, order="big")
    state = read_state_dict(tmp_path / "a.pth")
    assert state["x"].dtype == np.float32
    np.testing.assert_array_equal(state["x"], FLAT)


def test_legacy_format(tmp_path):
    content = {
        "x": tensor("0", "Float", 0, (3, 4), (4, 1), 12, legacy=True),
        "tied": tensor("0", "Float", 4, (4,), (1,), 12, legacy=True),
    }
    write_legacy(tmp_path / "a.pth", dumps(content), {"0": FLAT})
    state = read_state_dict(tmp_path / "a.pth")
    np.testing.assert_array_equal(state["x"], FLAT.reshape(3, 4))
    np.testing.assert_array_equal(state["tied"], FLAT[4:8])


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_itself_writes(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    linear = torch.nn.Linear(5, 3)
    content = {
        "model": linear.state_dict(),
        "parameter": linear.weight,
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "step": 3,
        "args": argparse.Namespace(nz=100, names=["a"]),
    }
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    state = read_state_dict(path)
    np.testing.assert_array_equal(state["model"]["weight"], linear.weight.detach().numpy())
    np.testing.assert_array_equal(state["parameter"], linear.weight.detach().numpy())
    np.testing.assert_array_equal(state["transposed"], np.arange(6.0).reshape(2, 3).T)
    assert state["half"] == 1.5 and state["step"] == 3
    assert state["args"] == {"nz": 100, "names": ["a"]}
    assert type(state["model"]) is dict


class Attack:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("writer", ["zip", "legacy", "bare"])
def test_hostile_pickle_is_refused(tmp_path, writer):
    content = pickle.dumps({"x": Attack(tmp_path / "trace")}, protocol=2)
    path = tmp_path / "a.pth"
    if writer == "zip":
        write_zip(path, content, {})
    elif writer == "legacy":
        write_legacy(path, content, {})
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"mkdir, and only tensors"):
        read_state_dict(path)
    assert not (tmp_path / "trace").exists()
    pickle.loads(content)  # the attack is a real one
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "torch.load", "collections.defaultdict"])
def test_other_names_are_refused(tmp_path, name):
    content = dumps({"x": _Named(*name.split("."), "1")})
    write_zip(tmp_path / "a.pth", content, {})
    with pytest.raises(InputError, match=name):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "view",
    [
        (0, (13,), (1,)),
        (12, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2**40,), (0,)),
        (0, (2, 2), (1,)),
        (0, (1.5,), (1,)),
    ],
)
def test_views_outside_their_storage(tmp_path, view):
    content = dumps({"x": tensor("0", "Float", *view, 12)})
    write_zip(tmp_path / "a.pth", content, {"0": FLAT.tobytes()})
    with pytest.raises(InputError, match="not a complete PyTorch file"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("legacy", [True, False])
def test_truncation(tmp_path, legacy):
    content = dumps({"x": tensor("0", "Float", 0, (12,), (1,), 12, legacy=legacy)})
    path = tmp_path / "a.pth"
    if legacy:
        write_legacy(path, content, {"0": FLAT})
    else:
        write_zip(path, content, {"0": FLAT.tobytes()})
    whole = path.read_bytes()
    for length in {0, 1, 20, len(whole) // 2, len(whole) - 40, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_state_dict(path)
    path.write_bytes(whole)
    assert read_state_dict(path)["x"][11] == 11


def test_a_changed_byte_in_a_zip_is_noticed(tmp_path):
    content = dumps({"x": tensor("0", "Float", 0, (12,), (1,), 12)})
    write_zip(tmp_path / "a.pth", content, {"0": FLAT.tobytes()})
    whole = bytearray((tmp_path / "a.pth").read_bytes())
    at = whole.index(FLAT.tobytes())
    whole[at + 5] ^= 1
    (tmp_path / "a.pth").write_bytes(whole)
    with pytest.raises(InputError, match="CRC"):
        read_state_dict(tmp_path / "a.pth")


def test_not_a_dictionary_and_no_file(tmp_path):
    write_zip(tmp_path / "a.pth", dumps([1, 2]), {})
    with pytest.raises(InputError, match="contains a list"):
        read_state_dict(tmp_path / "a.pth")
    with pytest.raises(InputError, match="there is no file"):
        read_state_dict(tmp_path / "b.pth")


def test_it_does_not_import_torch():
    import subprocess

    code = "import uotm_keras.utils.pth, sys; assert 'torch' not in sys.modules"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


# --- work out of proportion ---------------------------------------------------------------


def refused_quickly(path, match="not a complete PyTorch file"):
    start = time.perf_counter()
    with pytest.raises(InputError, match=match):
        read_state_dict(path)
    assert time.perf_counter() - start < 20


def test_a_storage_that_inflates_beyond_what_it_declares(tmp_path):
    content = dumps({"x": tensor("0", "Float", 0, (2,), (1,), 2)})
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", bytes(2**20))
    refused_quickly(tmp_path / "a.pth", "1048576 bytes, but 8 are declared")


def test_a_small_file_of_many_bytes(tmp_path):
    count = 2**25
    content = dumps({"x": tensor("0", "Float", 0, (count,), (1,), count)})
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", content)
        with archive.open("archive/data/0", "w") as file:
            for _ in range(128):
                file.write(bytes(2**20))
    assert (tmp_path / "a.pth").stat().st_size < 2**20
    refused_quickly(tmp_path / "a.pth", "many times larger than the file")


def test_many_views_of_one_storage(tmp_path):
    flat = np.zeros(2**20, "f4")
    views = {str(i): tensor("0", "Float", 0, (2**20,), (1,), 2**20) for i in range(64)}
    write_zip(tmp_path / "a.pth", dumps(views), {"0": flat.tobytes()})
    refused_quickly(tmp_path / "a.pth", "many times larger than the file")


def doubled(depth, start, pair):
    """A pickle whose object has 2**depth leaves."""
    program = start
    for number in range(depth):
        slot = struct.pack("<B", number % 250)
        program += b"q" + slot + b"0" + b"(h" + slot + b"h" + slot + pair
    return program


@pytest.mark.parametrize("pair", [b"l", b"t"])
def test_containers_that_share_are_not_copied(tmp_path, pair):
    """2**60 leaves in some hundred bytes: read at once, or refused at once."""
    content = b"\x80\x02}X\x01\x00\x00\x00x" + doubled(60, b"]", pair) + b"s."
    write_zip(tmp_path / "a.pth", content, {})
    assert list(read_state_dict(tmp_path / "a.pth")) == ["x"]


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}" + doubled(60, b")", b"t") + b"K\x01s.",  # the hash of a nested tuple
        b"\x80\x04\x8f(" + doubled(60, b")", b"t") + b"\x90.",  # a set of it
        b"\x80\x04\x96" + struct.pack("<Q", 2**40) + b"x.",  # a bytearray of a terabyte
        b"\x80\x02X" + struct.pack("<I", 2**31) + b"x.",
        b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".",  # a slot of a huge memo is free
    ],
)
def test_pickles_that_ask_for_the_world(tmp_path, content):
    write_zip(tmp_path / "a.pth", content, {})
    start = time.perf_counter()
    try:
        assert read_state_dict(tmp_path / "a.pth") == {}
    except InputError:
        pass
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    "name", ["collections OrderedDict", "argparse Namespace", "torch FloatStorage",
             "torch._utils _rebuild_tensor_v2", "torch Size"],
)  # fmt: skip
@pytest.mark.parametrize("state", [{"array": 1}, ({}, {"array": 1}), (None, {"build": 1})])
def test_known_names_cannot_be_altered(tmp_path, name, state):
    """BUILD on a name sets attributes of what it stands for, in Python's own unpickler."""
    program = b"\x80\x02}X\x01\x00\x00\x00xc" + name.replace(" ", "\n").encode() + b"\n"
    write_zip(tmp_path / "a.pth", program + pickle.dumps(state, 2)[2:-1] + b"bs.", {})
    refused_quickly(tmp_path / "a.pth")
    test_zip_format(tmp_path)


@pytest.mark.parametrize("legacy", [True, False])
def test_bit_flips(tmp_path, legacy):
    """2 000 flips: nothing but `InputError`."""
    content = dumps({"x": tensor("0", "Float", 0, (12,), (1,), 12, legacy=legacy), "n": [1, "a"]})
    path = tmp_path / "a.pth"
    if legacy:
        write_legacy(path, content, {"0": FLAT})
    else:
        write_zip(path, content, {"0": FLAT.tobytes()})
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        damaged = whole.copy()
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged.tobytes())
        try:
            read_state_dict(path)
        except InputError:
            refused += 1
    assert refused > 500
