"""Runs of the training command that tests share."""

import pytest
from tiny_run import TinyRun


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> TinyRun:
    """A run that was never stopped. Tests must not change it."""
    run = TinyRun(tmp_path_factory.mktemp("finished") / "run")
    assert run.train() == 0
    return run


@pytest.fixture
def tiny(tmp_path) -> TinyRun:
    return TinyRun(tmp_path / "run")
