"""Fixtures for the run page tests."""

import pytest
from run_pages import Run


@pytest.fixture
def run(tmp_path) -> Run:
    """A run directory to be filled."""
    return Run(tmp_path / "run")
