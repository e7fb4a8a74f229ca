"""Commands whose stdout or stderr is closed, full, unread, or in a narrow encoding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = f"{sys.executable} train.py"
PACKAGE = f"{sys.executable} -m uotm_keras"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize("command", [f"{TRAIN} --help", f"{PACKAGE} --help"])
def test_a_reader_that_has_gone_away_ends_the_command_quietly(command):
    done = shell(f"{command} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (141, b"")


def test_training_without_a_reader_ends_quietly(tmp_path):
    flags = (
        "--dataset=toy:moons:50 --batch_size=8 --generator=resmlp --potential=resmlp "
        f"--width=4 --potential_width=4 --max_steps=5 --log_every=1 --run_dir={tmp_path}/run"
    )
    done = shell(f"{TRAIN} {flags} | true; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_that_the_encoding_lacks_are_replaced(encoding):
    done = shell(f"{TRAIN} --help", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"? of the cost" in done.stdout or b"?\xb7?x" in done.stdout
    assert b"--tau" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [f"{TRAIN} --help", f"{PACKAGE} --help"])
def test_a_full_disk_is_one_sentence(command):
    done = shell(f"{command} > /dev/full")
    assert done.returncode == 2
    assert done.stderr == b"error: cannot read or write: No space left on device.\n"


@pytest.mark.parametrize(
    "closed, code", [("--help >&-", 0), ("--max_step=1 2>&-", 2), ("--help <&- >&- 2>&-", 0)]
)
def test_closed_streams(closed, code):
    assert shell(f"{TRAIN} {closed}").returncode == code


def test_a_file_does_not_get_the_descriptor_of_a_closed_stream():
    code = (
        "import os; from uotm_keras.utils.streams import open_descriptors; open_descriptors();"
        "os._exit(os.open(os.devnull, os.O_RDONLY))"
    )
    done = shell(f"{sys.executable} -c '{code}' <&- >&- 2>&-")
    assert done.returncode >= 3
