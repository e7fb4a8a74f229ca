"""How fast the input pipeline delivers, without any training.

    python benchmarks/input.py [--seconds=3]

Prints batches and images a second for digits (batch 256), mnist5k (batch 64) and a
temporary folder of JPEG photographs (256 × 256 pixels brought to 64, batch 64; decoded
every time, and kept after the first time), with 0 and 2 workers. The median of the time
between batches is over the second half of the time measured.
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
    """Smooth random pictures, which compress about as photographs do."""
    rng = np.random.default_rng(0)
    for i in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(Path(folder) / f"{i}.jpg")


def measure(batches: data.Batches, workers: int, seconds: float) -> tuple[float, float]:
    """(batches a second, median milliseconds between batches) in the steady state."""
    stream = iter(batches.stream(workers=workers))
    next(stream)
    times = [time.perf_counter()]
    while times[-1] - times[0] < seconds:
        next(stream)
        times.append(time.perf_counter())
    steady = np.diff(times)[len(times) // 2 :]
    return 1 / steady.mean(), 1e3 * float(np.median(steady))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="measured for each line")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(folder)
        cases = [
            ("digits 8x8", data.get("digits"), 256),
            ("mnist5k 32x32", data.get("mnist5k"), 64),
            ("JPEG 256->64, decoded each time", data.FolderSource(folder, 64, cache_bytes=0), 64),
            ("JPEG 256->64, kept", data.FolderSource(folder, 64), 64),
        ]
        print(f"{'source':34}{'batch':>6}{'workers':>9}{'batches/s':>12}{'images/s':>12}{'ms':>9}")
        for name, source, batch_size in cases:
            batches = data.Batches(source, batch_size)
            for workers in (0, 2):
                rate, median = measure(batches, workers, seconds)
                print(
                    f"{name:34}{batch_size:6}{workers:9}{rate:12.1f}{rate * batch_size:12.0f}"
                    f"{median:9.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
