"""Shared fixtures. A backend is chosen at import: run pytest once for each KERAS_BACKEND."""

import json
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


class Golden:
    """Three training iterations of the authors' networks, images converted to NHWC."""

    def __init__(self, name: str):
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.arrays = {
                key: file[key] if key == "meta" else _channels_last(file[key], key)
                for key in file.files
            }
        self.meta = json.loads(str(self.arrays.pop("meta")))

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def weights(self, prefix: str) -> dict[str, np.ndarray]:
        return {
            key.removeprefix(f"{prefix}/"): value
            for key, value in self.arrays.items()
            if key.startswith(f"{prefix}/")
        }


def _channels_last(array: np.ndarray, key: str) -> np.ndarray:
    images = ("real", "noise_d", "noise_g", "step0/generated_d")
    return np.moveaxis(array, -3, -1) if key in images else array


@pytest.fixture(params=["tiny_kl_paper", "tiny_kl_pairwise"])
def golden(request) -> Golden:
    return Golden(request.param)
