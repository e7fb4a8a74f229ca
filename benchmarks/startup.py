"""Measure the startup time: the imports and the first training step.

    python benchmarks/startup.py

`keras` and `uotm_keras` are imported in turns, each in its own process. The table shows medians
over the rounds, and the ratio and difference of the medians. The first step trains the paper's
CIFAR-10 networks at batch 8. It is measured from the start of the process to the beginning of the
step, and for the step alone, which includes compilation on TensorFlow and JAX.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from workers import BACKENDS, run

from uotm_keras import InputError
from uotm_keras.config import Command, Enums, Integer, flag, run_command

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


@dataclasses.dataclass(frozen=True)
class StartupOptions:
    """The flags of this benchmark."""

    backends: tuple[str, ...] = flag(BACKENDS, Enums(*BACKENDS), "Backends to measure.")
    rounds: int = flag(5, Integer(1), "Number of imports of each package.")


COMMAND = Command(__doc__ or "", StartupOptions)


def seconds(backend: str, code: str) -> list[float]:
    """Run code in a process of its own and return the numbers that it prints.

    Raises:
        InputError: the code fails on this backend.
    """
    lines = run(["-c", code], backend)
    if not lines:
        raise InputError(f"--backends={backend} does not run here; check that it is installed.")
    return [float(number) for number in lines[-1].split()]


def work(options: StartupOptions) -> int:
    """Measure all backends and print the table."""
    print("| backend | import keras, s | import uotm_keras, s | difference, s | ratio |"
          " process start to first step, s | first step, s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for backend in options.backends:
        times: dict[str, list[float]] = {"keras": [], "uotm_keras": []}
        for _ in range(options.rounds + 1):
            for name, measured in times.items():
                measured += seconds(backend, _IMPORT.format(name))
        # The first import reads files that are not yet in memory.
        keras, ours = (float(np.median(measured[1:])) for measured in times.values())
        setup, step = seconds(backend, _STEP)
        print(
            f"| {backend} | {keras:.2f} | {ours:.2f} | {ours - keras:.2f} | {ours / keras:.2f} "
            f"| {setup:.1f} | {step:.1f} |",
            flush=True,
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    return run_command(COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
