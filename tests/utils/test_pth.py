"""`.pth` files: read without torch, refused when hostile or damaged."""

import argparse
import collections
import io
import os
import pickle
import struct
import sys
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
