"""The examples in the docstrings run, and return what they say."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

import uotm_keras as uk

PACKAGE = Path(uk.__file__).parent
ON_EACH_BACKEND = {"exporting", "models", "networks", "objectives", "presets"}
MAIN_ENTRY_POINTS = {
    "uotm_keras.data.catalog.get",
    "uotm_keras.data.pixels.from_uint8",
    "uotm_keras.metrics.frechet.FrechetInceptionDistance",
    "uotm_keras.metrics.statistics.FeatureStatistics",
    "uotm_keras.models.transport_model.TransportModel.from_preset",
    "uotm_keras.models.uotm.UOTM",
    "uotm_keras.presets.list",
    "uotm_keras.presets.point_clouds.point_cloud",
}


def doctests() -> list[doctest.DocTest]:
    """All docstrings of the package with examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            module = importlib.import_module(name.removesuffix(".__init__"))
            found += finder.find(module, extraglobs={"uk": uk, "np": np})
    return [test for test in found if test.examples]


def parameter(test: doctest.DocTest) -> object:
    marks = () if test.name.split(".")[1] in ON_EACH_BACKEND else (pytest.mark.one_backend,)
    return pytest.param(test, id=test.name, marks=marks)


@pytest.mark.parametrize("test", map(parameter, doctests()))
def test_the_example_runs(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.one_backend
def test_the_main_entry_points_have_examples():
    assert MAIN_ENTRY_POINTS <= {test.name for test in doctests()}
