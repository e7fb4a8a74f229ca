from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UOTM_KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def fid_golden():
    with np.load(GOLDEN / "fid_inception.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (70, 8, 8, 3)).astype("uint8")
