"""A run so small that each test can afford some."""

import json
from pathlib import Path

import numpy as np

from uotm_keras.cli.train import main


class TinyRun:
    """The training command on 300 points, in a folder of its own."""

    FLAGS = {
        "dataset": "toy:moons:300",
        "batch_size": 32,
        "generator": "resmlp",
        "width": 8,
        "blocks": 1,
        "latent_dim": 3,
        "potential": "resmlp",
        "potential_width": 8,
        "potential_blocks": 1,
        "alpha_schedule": "linear",
        "alpha_until": 50,
        "lr_schedule": "cosine",
        "lr_periods": 20,
        "max_steps": 60,
        "log_every": 7,
        "checkpoint_every": 10,
        "sample_every": 25,
    }

    def __init__(self, folder: Path):
        self.folder = folder

    def arguments(self, **changes) -> list[str]:
        flags = {"run_dir": self.folder, **self.FLAGS, **changes}
        return [f"--{name}={value}" for name, value in flags.items()]

    def train(self, **changes) -> int:
        return main(self.arguments(**changes))

    def lines(self) -> list[dict]:
        """The metrics without what depends on the clock and the memory."""
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        clock = ("steps_per_second", "images_per_second", "memory_mb", "seconds")
        return [{k: v for k, v in line.items() if k not in clock} for line in lines]

    def weights(self, step: int) -> dict[str, np.ndarray]:
        import h5py

        arrays = {}
        with h5py.File(self.folder / f"checkpoints/step_{step:06d}.weights.h5") as file:
            file.visititems(
                lambda name, item: (
                    arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
        return arrays

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }


def assert_same(one: TinyRun, other: TinyRun, step: int) -> None:
    """Both runs have the same metrics and the same state at `step`, bit for bit."""
    assert one.lines() == other.lines()
    a, b = one.weights(step), other.weights(step)
    assert a.keys() == b.keys()
    assert len(a) > 40
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
