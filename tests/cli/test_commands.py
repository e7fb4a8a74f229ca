"""The ways to start: `python -m uotm_keras`, `train.py`, the examples."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import uotm_keras
from uotm_keras.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=cwd, capture_output=True, text=True,
    )  # fmt: skip


def test_unknown_command(capsys):
    assert main(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "\n  train     train a model" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"uotm_keras {uotm_keras.__version__}\n"


def test_presets_are_listed(capsys):
    assert main(["presets"]) == 0
    text = capsys.readouterr().out
    (row,) = (line for line in text.splitlines() if line.split()[:2] == ["digits", "Demo"])
    assert row.rstrip().endswith("yes")
    assert all(name in text for name in uotm_keras.presets.list())
    assert main(["presets", "--no_such_flag=1"]) == 2


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "presets"])
def test_every_command_has_help(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "\n  --run_dir  (the path of a folder" in text
    assert main([name, "--no_such_flag=1"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown flag --no_such_flag")


def test_command_gets_its_flags(capsys):
    assert main(["train", "--max_step=3"]) == 2
    assert "'max_steps'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["train.py"], ["-m", "uotm_keras", "train"]])
def test_unknown_backend(arguments):
    done = run(*arguments, KERAS_BACKEND="pytorch")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'pytorch'" in done.stderr and "did you mean 'torch'?" in done.stderr


def test_importing_the_package_imports_little_beside_keras():
    code = (
        "import sys, keras; before = set(sys.modules); import uotm_keras;"
        "print(*{m.split('.')[0] for m in set(sys.modules) - before});"
        "print(*[m for m in sys.modules if m.startswith('uotm_keras.')])"
    )
    packages, own = run("-c", code).stdout.splitlines()
    heavy = {"tensorflow", "torch", "jax", "grain", "tensorboard", "absl", "sklearn", "scipy",
             "matplotlib", "rich", "PIL", "tensorflow_datasets", "mlxtend"}  # fmt: skip
    assert "uotm_keras" in packages and not heavy & set(packages.split())
    assert "uotm_keras.models.uotm" in own
    assert "uotm_keras.cli" not in own and "uotm_keras.training.loop" not in own


@pytest.mark.parametrize("name", ["quickstart", "custom_divergence", "custom_cost"])
def test_example(name, tmp_path):
    done = run(str(ROOT / "examples" / f"{name}.py"), "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{name}.keras").exists()
