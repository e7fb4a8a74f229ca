"""What starting costs: the import beside Keras's own, and the first training step.

    python benchmarks/startup.py

Imports run in processes of their own, `keras` and `uotm_keras` in turns, medians of the
rounds; the ratio and the difference are those of the medians. The first step is of the
paper's CIFAR-10 networks at batch 8, from the start of the process to the step's end and
for the step alone, which on TensorFlow and JAX compiles.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

BACKENDS = ("tensorflow", "jax", "torch")
_IMPORT = "import time; b = time.perf_counter(); import {}; print(time.perf_counter() - b)"
_STEP = """
import time; begin = time.perf_counter()
import numpy as np, uotm_keras as uk
shape = (32, 32, 3)
model = uk.UOTM(uk.networks.NCSNpp(shape), uk.networks.SmallPotential(shape))
model.compile()
images = np.zeros((8, *shape), "float32")
before = time.perf_counter()
model.train_on_batch(images)
print(before - begin, time.perf_counter() - before)
"""


def run(backend: str, code: str) -> list[float]:
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return list(map(float, done.stdout.split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("| backend | import keras, s | import uotm_keras, s | on top, s | ratio |"
          " to the first step, s | first step, s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for backend in arguments.backends.split(","):
        times = {"keras": [], "uotm_keras": []}
        for _ in range(arguments.rounds + 1):
            for name, seconds in times.items():
                seconds += run(backend, _IMPORT.format(name))
        # The first of each reads files that are not yet in memory.
        keras, ours = (float(np.median(seconds[1:])) for seconds in times.values())
        setup, step = run(backend, _STEP)
        print(
            f"| {backend} | {keras:.2f} | {ours:.2f} | {ours - keras:.2f} | {ours / keras:.2f} "
            f"| {setup:.1f} | {step:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
