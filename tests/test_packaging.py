"""What the wheel and the sdist contain, and what says which version this is."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import uotm_keras
from uotm_keras.__main__ import COMMANDS

pytestmark = pytest.mark.one_backend("torch")
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_of_code_is_in_the_wheel():
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in
             (ROOT / "uotm_keras").rglob("__init__.py")}  # fmt: skip
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"uotm_keras.configs"}


def test_every_file_of_the_checkout_is_in_the_sdist():
    manifest = (ROOT / "MANIFEST.in").read_text()
    named = set(
        re.findall(r"[\w.]+", " ".join(re.findall(r"^(?:include|graft) (.*)", manifest, re.M)))
    )
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout")
    there = {path.partition("/")[0] for path in listed.stdout.splitlines()}
    there = {name for name in there if not name.startswith(".")}
    always = {"uotm_keras", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}
    assert there - always <= named


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == uotm_keras.__version__


def test_one_command_has_all_others():
    assert PROJECT["project"]["scripts"]["uotm"] == "uotm_keras.__main__:main"
    assert {"train", "evaluate", "generate"} <= set(COMMANDS)
    for workflow in (ROOT / ".github/workflows").glob("*.yml"):
        for command in re.findall(r"\./run (\w+)", workflow.read_text()):
            assert f"\n  {command}) " in (ROOT / "run").read_text()
