"""The writer: whole files, permissions, odd names."""

import os
import stat

import pytest

from uotm_keras.utils.errors import InputError, printable
from uotm_keras.utils.files import (
    atomic_folder,
    atomic_path,
    local_path,
    require_regular_file,
    require_writable,
    write_text,
)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def test_home_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(local_path("~/run")) == "/home/me/run"
    assert str(local_path("a/~")) == "a/~"
    with pytest.raises(InputError, match="path ~nosuchuser/run: ~nosuchuser is not the home"):
        local_path("~nosuchuser/run")


def test_new_files_honor_the_umask(tmp_path, umask):
    write_text(tmp_path / "a.txt", "text")
    assert mode(tmp_path / "a.txt") == 0o666 & ~umask
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "x").write_text("x")
    assert mode(tmp_path / "folder") == 0o777 & ~umask


def test_replaced_files_keep_their_mode(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o640)
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new" and mode(tmp_path / "a.txt") == 0o640
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o750)
    with atomic_folder(tmp_path / "folder"):
        pass
    assert mode(tmp_path / "folder") == 0o750


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"n" * 255, "ümläut.txt".encode() * 20])
def test_names(tmp_path, name):
    path = tmp_path / os.fsdecode(name[:255])
    write_text(path, "text \udce9")
    assert path.read_bytes() == b"text \\udce9"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_too_long_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        write_text(tmp_path / ("n" * 300), "text")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_a_failure(tmp_path):
    with pytest.raises(RuntimeError):
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError
    with pytest.raises(InputError, match="cannot write"):
        write_text(_file(tmp_path) / "b.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _file(folder):
    (folder / "file").write_text("a file, not a folder")
    return folder / "file"


def test_messages_can_be_printed():
    name = os.fsdecode(b"caf\xe9")
    assert str(InputError(f"no file {name}")) == "no file caf\\udce9"
    assert printable("\ud800 é") == "\\ud800 é"


def test_regular_files_only(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path, "is a folder"),
        (tmp_path / "none", "there is no file"),
        (tmp_path / ("n" * 300), "File name too long"),
        ("a\0b", "null"),
    ):
        with pytest.raises(InputError, match=words):
            require_regular_file(path, "--x")
    require_writable(tmp_path / "new" / "er", "--out=x")
    with pytest.raises(InputError, match="--out=x cannot be written"):
        require_writable(_file(tmp_path) / "x", "--out=x")
