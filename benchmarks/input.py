"""Speed of the input pipeline, whether training waits for it, and how fast a folder opens.

    python benchmarks/input.py [--seconds=3] [--steps=6] [--files=100000]

Prints batches and images per second for digits (batch 256), mnist5k (batch 64) and a
temporary folder of JPEG photographs (256 × 256 pixels resized to 64, batch 64; decoded
every time, and cached after the first time), with 0 and 2 workers. The median of the time
between batches is over the second half of the measured time. Then --steps of the paper's
CIFAR-10 networks are trained at batch 8 on JPEG files decoded each time: the share of the
time that is spent waiting for the next batch. Last, a folder of --files small JPEG files is
opened, first without and then with the index that train.py keeps in the run directory.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from uotm_keras import data

PICTURES = 512


def write_pictures(folder: str) -> None:
    """Write smooth random pictures, which compress about as well as photographs."""
    rng = np.random.default_rng(0)
    for i in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(Path(folder) / f"{i}.jpg")


def measure(batches: data.Batches, workers: int, seconds: float) -> tuple[float, float]:
    """Return (batches per second, median milliseconds between batches) in the steady state."""
    stream = iter(batches.stream(workers=workers))
    next(stream)
    times = [time.perf_counter()]
    while times[-1] - times[0] < seconds:
        next(stream)
        times.append(time.perf_counter())
    steady = np.diff(times)[len(times) // 2 :]
    return 1 / steady.mean(), 1e3 * float(np.median(steady))


class _Timed:
    """A stream of batches that records the time spent in it."""

    def __init__(self, stream):
        self.stream, self.seconds = iter(stream), []

    def __iter__(self):
        return self

    def __next__(self):
        begin = time.perf_counter()
        batch = next(self.stream)
        self.seconds.append(time.perf_counter() - begin)
        return batch


def share_of_waiting(folder: str, steps: int) -> float:
    """Return the share of the time of all training steps but the first spent on waiting."""
    import uotm_keras as uk

    shape = (32, 32, 3)
    model = uk.UOTM(uk.networks.NCSNpp(shape), uk.networks.SmallPotential(shape))
    model.compile()
    dataset = data.FolderDataset(folder, 32, cache_bytes=0)
    stream = _Timed(data.Batches(dataset, 8).stream(workers=2))
    model.train_on_batch(next(stream))
    stream.seconds.clear()
    begin = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(next(stream))
    return sum(stream.seconds) / (time.perf_counter() - begin)


def open_folder(files: int) -> tuple[float, float]:
    """Return the seconds to open a folder of so many JPEG files, without and with an index."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Image.fromarray(np.full((32, 32, 3), 128, np.uint8))
        first = Path(folder) / "0.jpg"
        picture.save(first)
        content = first.read_bytes()
        for i in range(1, files):
            (Path(folder) / f"{i}.jpg").write_bytes(content)
        with tempfile.TemporaryDirectory() as other:
            index, times = Path(other) / "index.json", []
            for _ in range(2):
                begin = time.perf_counter()
                dataset = data.FolderDataset(folder, 32, index_path=index)
                times.append(time.perf_counter() - begin)
                data.save_index(index, {"dataset": dataset})
    return times[0], times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="measured for each line")
    parser.add_argument("--steps", type=int, default=6, help="of training; 0 leaves it out")
    parser.add_argument("--files", type=int, default=100_000, help="0 leaves the folder out")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(folder)
        cases = [
            ("digits 8x8", data.get("digits"), 256),
            ("mnist5k 32x32", data.get("mnist5k"), 64),
            ("JPEG 256->64, decoded each time", data.FolderDataset(folder, 64, cache_bytes=0), 64),
            ("JPEG 256->64, cached", data.FolderDataset(folder, 64), 64),
        ]
        print(f"{'dataset':34}{'batch':>6}{'workers':>9}{'batches/s':>12}{'images/s':>12}{'ms':>9}")
        for name, dataset, batch_size in cases:
            batches = data.Batches(dataset, batch_size)
            for workers in (0, 2):
                rate, median = measure(batches, workers, seconds)
                print(
                    f"{name:34}{batch_size:6}{workers:9}{rate:12.1f}{rate * batch_size:12.0f}"
                    f"{median:9.3f}",
                    flush=True,
                )
        if arguments.steps:
            share = share_of_waiting(folder, arguments.steps)
            print(f"training waits for its batches {100 * share:.2f} % of the time", flush=True)
    if arguments.files:
        without, with_index = open_folder(arguments.files)
        print(
            f"a folder of {arguments.files} files opens in {without:.1f} s, "
            f"with its index in {with_index:.1f} s"
        )


if __name__ == "__main__":
    main()
