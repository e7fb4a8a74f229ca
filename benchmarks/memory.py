"""Peak memory of training by batch size, for the paper's two configurations.

    python benchmarks/memory.py                            # all backends, both sizes
    python benchmarks/memory.py --backends=jax --sizes=32 --batches=4,8,16

Each figure is the peak resident memory of a process of its own that makes the model and
trains three steps. On a GPU it is the device's peak instead, where the backend tells it.
Two batch sizes give a line, peak = fixed + batch · per_image, by least squares where there
are more; the table gives the line, and what it says for the paper's batches (256 images of
32², 32 of 256²). That rule is an extrapolation: a backend may choose other algorithms there.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

BACKENDS = ("tensorflow", "jax", "torch")
BATCHES = {32: (4, 8, 16), 256: (1, 2)}
PAPER = {32: 256, 256: 32}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--sizes", default="32,256")
    parser.add_argument("--batches", help="instead of 4,8,16 of 32² and 1,2 of 256²")
    parser.add_argument("--dtype_policy", default="float32")
    parser.add_argument("--rematerialize", action="store_true")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--output", help="a JSON file for the figures")
    parser.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def worker(arguments: argparse.Namespace) -> None:
    """Prints the peak in GB, before training and after three steps."""
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    import keras
    from step import SIZES

    import uotm_keras as uk

    size, batch = arguments.worker
    uk.backend.prepare_command()
    keras.config.set_dtype_policy(arguments.dtype_policy)
    shape = (size, size, 3)
    generator_arguments, potential = SIZES[size]
    if arguments.rematerialize:
        generator_arguments = {**generator_arguments, "rematerialize": True}
    model = uk.UOTM(
        uk.networks.NCSNpp(shape, **generator_arguments), getattr(uk.networks, potential)(shape)
    )
    options = {"accumulate": arguments.accumulate} if arguments.accumulate > 1 else {}
    model.compile(**options)
    made = peak()
    images = np.random.default_rng(0).uniform(-1, 1, (batch, *shape)).astype("float32")
    for _ in range(3):
        model.train_on_batch(images)
    print(json.dumps({"made": made, "peak": peak()}))


def peak() -> float:
    """Gigabytes: the device's peak where there is a GPU, else the process's."""
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


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        return worker(arguments)
    rows = []
    for size in map(int, arguments.sizes.split(",")):
        batches = BATCHES[size]
        if arguments.batches:
            batches = tuple(map(int, arguments.batches.split(",")))
        for backend in arguments.backends.split(","):
            peaks = []
            for batch in batches:
                begin = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, __file__, "--worker", str(size), str(batch), *sys.argv[1:]],
                    env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                if done.returncode:
                    print(f"{size} px, {backend}, batch {batch}: failed ({done.returncode})")
                    continue
                answer = json.loads(done.stdout.splitlines()[-1])
                peaks.append((batch, answer["peak"]))
                print(
                    f"{size} px, {backend}, batch {batch}: {answer['peak']:.2f} GB "
                    f"({answer['made']:.2f} before training; {time.perf_counter() - begin:.0f} s)",
                    flush=True,
                )
            rows.append({"size": size, "backend": backend, "peaks": peaks})

    print("\n| size | backend | peak, GB, by batch | line | at the paper's batch |")
    print("|---|---|---|---|---|")
    for row in rows:
        row["line"] = None
        line = ahead = "–"
        if len(row["peaks"]) > 1:
            slope, fixed = np.polyfit(*zip(*row["peaks"], strict=True), 1)
            row["line"] = [float(fixed), float(slope)]
            line = f"{fixed:.2f} + {slope:.3f} · batch"
            ahead = f"{fixed + slope * PAPER[row['size']]:.0f} GB at {PAPER[row['size']]}"
        shown = ", ".join(f"{batch}: {gb:.2f}" for batch, gb in row["peaks"])
        print(f"| {row['size']}² | {row['backend']} | {shown} | {line} | {ahead} |")
    if arguments.output:
        result = {"arguments": vars(arguments), "rows": rows}
        Path(arguments.output).write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
