"""Measure the peak memory of training by batch size, for the paper's two configurations.

    python benchmarks/memory.py                            # all backends, both sizes
    python benchmarks/memory.py --backends=jax --sizes=32 --batches=4,8,16

Each value is the peak resident memory of a process that creates the model and trains three steps.
On a GPU it is the peak of the device's memory instead, if the backend reports it. A line,
peak = fixed + batch · per_image, is fitted to the batch sizes by least squares. The table shows the
line and its value at the paper's batch size (256 images of 32², 32 of 256²). That value is an
extrapolation: a backend may choose other algorithms there.
"""

import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from step import SIZES
from workers import BACKENDS, run, task

import uotm_keras as uk
from uotm_keras.config import (
    Boolean,
    Command,
    Enum,
    Enums,
    Integer,
    Integers,
    Text,
    flag,
    run_command,
    to_flags,
)

BATCHES = {32: (4, 8, 16), 256: (1, 2)}
PAPER = {32: 256, 256: 32}


@dataclasses.dataclass(frozen=True)
class MemoryOptions:
    """The flags of this benchmark."""

    backends: tuple[str, ...] = flag(BACKENDS, Enums(*BACKENDS), "Backends to measure.")
    sizes: tuple[int, ...] = flag(tuple(BATCHES), Enums(*BATCHES), "Image sizes in pixels.")
    batches: tuple[int, ...] = flag(
        (),
        Integers(1, empty=True),
        "Batch sizes. An empty text uses 4,8,16 at 32² and 1,2 at 256².",
    )
    dtype_policy: str = flag(
        "float32", Enum("float32", "mixed_bfloat16", "mixed_float16"), "Keras's dtype policy."
    )
    rematerialize: bool = flag(
        False, Boolean(), "Recompute activations in the backward pass instead of storing them."
    )
    accumulate: int = flag(1, Integer(1), "Number of micro-batches per step.")
    output: str | None = flag(
        None, Text("the path of a JSON file"), "File for the results.", none="none"
    )


COMMAND = Command(__doc__ or "", MemoryOptions)


def worker(options: MemoryOptions, size: int, batch: int) -> None:
    """Print the peak in GB before training and after three steps."""
    import keras

    uk.backend.prepare_command()
    keras.config.set_dtype_policy(options.dtype_policy)
    shape = (size, size, 3)
    generator_arguments, potential = SIZES[size]
    model = uk.UOTM(
        uk.networks.NCSNpp(
            shape, **{**generator_arguments, "rematerialize": options.rematerialize}
        ),
        getattr(uk.networks, potential)(shape),
    )
    model.compile(**({"accumulate": options.accumulate} if options.accumulate > 1 else {}))
    created = peak()
    images = np.random.default_rng(0).uniform(-1, 1, (batch, *shape)).astype("float32")
    for _ in range(3):
        model.train_on_batch(images)
    print(json.dumps({"created": created, "peak": peak()}))


def peak() -> float:
    """Return the peak memory in GB: of the GPU if there is one, otherwise of the process."""
    backend = os.environ["KERAS_BACKEND"]
    if backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**30
    elif backend == "jax":
        import jax

        statistics = jax.local_devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in statistics:
            return statistics["peak_bytes_in_use"] / 2**30
    else:
        import tensorflow as tf

        if tf.config.list_logical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def work(options: MemoryOptions) -> int:
    """Measure all combinations and print the table."""
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        for backend in options.backends:
            peaks = []
            for batch in options.batches or BATCHES[size]:
                begin = time.perf_counter()
                lines = run([__file__, *sys.argv[1:]], backend, f"{size},{batch}")
                if lines is None:
                    print(f"{size} px, {backend}, batch {batch}: failed", flush=True)
                    continue
                answer = json.loads(lines[-1])
                peaks.append((batch, answer["peak"]))
                print(
                    f"{size} px, {backend}, batch {batch}: {answer['peak']:.2f} GB "
                    f"({answer['created']:.2f} before training; "
                    f"{time.perf_counter() - begin:.0f} s)",
                    flush=True,
                )
            rows.append({"size": size, "backend": backend, "peaks": peaks, "line": fit(peaks)})

    print("\n| size | backend | peak, GB, by batch | line | at the paper's batch size |")
    print("|---|---|---|---|---|")
    for row in rows:
        line = ahead = "–"
        if row["line"] is not None:
            fixed, slope = row["line"]
            line = f"{fixed:.2f} + {slope:.3f} · batch"
            ahead = f"{fixed + slope * PAPER[row['size']]:.0f} GB at {PAPER[row['size']]}"
        shown = ", ".join(f"{batch}: {gb:.2f}" for batch, gb in row["peaks"])
        print(f"| {row['size']}² | {row['backend']} | {shown} | {line} | {ahead} |")
    if options.output is not None:
        result = {"arguments": to_flags(options), "rows": rows}
        Path(options.output).write_text(json.dumps(result, indent=2))
    return 0


def fit(peaks: list[tuple[int, float]]) -> tuple[float, float] | None:
    """Return (fixed, per image) of the fitted line, or None for fewer than two batch sizes."""
    if len(peaks) < 2:
        return None
    batches, gigabytes = zip(*peaks, strict=True)
    slope, fixed = np.polyfit(batches, gigabytes, 1)
    return float(fixed), float(slope)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    return run_command(COMMAND, work, argv)


if __name__ == "__main__":
    if task():
        worker(COMMAND.parse(sys.argv[1:]), *map(int, str(task()).split(",")))
    else:
        raise SystemExit(main())
