"""Flagfiles, and the text of --help."""

import pytest

from uotm_keras.cli import flags
from uotm_keras.config.flags import expand_flagfiles
from uotm_keras.utils.errors import InputError


def test_a_later_flag_overrides_the_file(tmp_path):
    file = tmp_path / "a.flags"
    file.write_text("# a comment\n\n--dataset=digits\n--run_dir=x\n--tau=0.5\n")
    assert flags.parse([f"--flagfile={file}"])["tau"] == 0.5
    assert flags.parse([f"--flagfile={file}", "--tau=0.25"])["tau"] == 0.25
    assert flags.parse(["--tau=0.25", "--flagfile", str(file)])["tau"] == 0.5


def test_an_included_file_lies_beside_the_one_that_includes_it(tmp_path, monkeypatch):
    (tmp_path / "base.flags").write_text("--tau=1\n--width=7\n")
    (tmp_path / "a.flags").write_text("--flagfile=base.flags\n--tau=2\n")
    monkeypatch.chdir("/")
    expanded = expand_flagfiles([f"--flagfile={tmp_path}/a.flags", "--seed=3"])
    assert expanded == ["--tau=1", "--width=7", "--tau=2", "--seed=3"]


def test_a_file_that_includes_itself(tmp_path):
    (tmp_path / "a.flags").write_text("--flagfile=a.flags\n")
    with pytest.raises(InputError, match="includes itself"):
        expand_flagfiles([f"--flagfile={tmp_path}/a.flags"])


def test_every_flag_is_in_help():
    text = flags.command().help()
    values = flags.parse(["--dataset=digits", "--run_dir=x"])
    for name in values:
        assert f"\n  --{name}  (" in text
    # Range, default and the paper's value.
    assert "--ema_decay  (a number of at least 0 and below 1; default 0.9999)" in text
    assert "Paper: 0.9999 / 0.999" in text


def test_operational_flags_exist():
    values = flags.parse(["--dataset=digits", "--run_dir=x"])
    assert flags.OPERATIONAL <= values.keys()
