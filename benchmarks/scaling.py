"""One batch shared by several devices: the numbers that come out, and what sharing costs.

    python benchmarks/scaling.py

The devices are parts of one CPU (under torch: processes on it), so that nothing gets faster:
the ratio of step times to one device is the overhead of splitting, gathering and averaging.
"difference" is the largest one of any loss of any step from those of one device. Numbers of
devices take turns, each in a process of its own; medians over all steps but the first.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
BACKENDS = ("tensorflow", "jax", "torch")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--devices", default="1,2,4")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--channels", type=int, default=32, help="of both networks, at 32²")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def worker(arguments: argparse.Namespace) -> None:
    """Train, and let the first process print its times and losses."""
    sys.path.insert(0, str(ROOT))
    import random

    import keras

    import uotm_keras as uk
    from uotm_keras.config.groups import DeviceConfig
    from uotm_keras.training import distribute

    virtual = 1 if keras.backend.backend() == "torch" else arguments.worker
    devices = DeviceConfig(virtual_devices=virtual)
    cluster = distribute.find_cluster(devices)
    group = distribute.open_process_group(cluster, 300)
    distribution = distribute.open_distribution(devices, group)
    uk.backend.prepare_command()
    shape = (32, 32, 3)
    random.seed(0)
    with distribution.scope():
        model = uk.UOTM(
            uk.networks.NCSNpp(shape, base_channels=arguments.channels),
            uk.networks.SmallPotential(shape, arguments.channels),
        )
        model.compile(row_order="groups")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4 * arguments.batch, *shape), dtype=np.uint8)
    batches = uk.data.Batches(uk.data.ArrayDataset(images, "noise"), arguments.batch)
    times, losses = [], []

    def record(batch, logs):
        losses.append([float(logs[name]) for name in sorted(logs)])
        times.append(time.perf_counter())

    model.fit(
        distribution.feed(batches, 0, 0, model.partition.rows_together(arguments.batch)),
        steps_per_epoch=arguments.steps, verbose=0, shuffle=False,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=record)],
    )  # fmt: skip
    distribution.close()
    group.close()
    if distribution.process == 0:
        megabytes = sum(
            4 * np.prod(v.shape) / 1e6
            for network in (model.generator, model.potential)
            for v in network.trainable_variables
        )
        seconds = np.diff(times).tolist()
        print(json.dumps({"seconds": seconds, "losses": losses, "megabytes": megabytes}))


def run(backend: str, devices: int) -> dict:
    """What the worker with so many devices prints."""
    processes = devices if backend == "torch" else 1
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    started = []
    for i in range(processes):
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if processes > 1:
            environment |= {
                "RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": str(max(1, os.cpu_count() // processes)),
            }  # fmt: skip
        command = [sys.executable, __file__, "--worker", str(devices), *sys.argv[1:]]
        started.append(
            subprocess.Popen(
                command, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{backend} with {devices} devices failed")
    return json.loads(outputs[0].splitlines()[-1])


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        return worker(arguments)
    counts = list(map(int, arguments.devices.split(",")))
    print("| backend | devices | s/step (quartiles) | ratio to one | difference | MB averaged |")
    print("|---|--:|---|--:|--:|--:|")
    for backend in arguments.backends.split(","):
        seconds = {n: [] for n in counts}
        results = {}
        for _ in range(arguments.rounds):
            for n in counts:
                results[n] = run(backend, n)
                seconds[n] += results[n]["seconds"]
        for n in counts:
            low, median, high = np.percentile(seconds[n], [25, 50, 75])
            ratio = median / np.median(seconds[counts[0]])
            first, here = (np.array(results[k]["losses"]) for k in (counts[0], n))
            print(
                f"| {backend} | {n} | {median:.3f} ({low:.3f}–{high:.3f}) | {ratio:.2f} "
                f"| {np.abs(here - first).max():.1e} | {results[n]['megabytes']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
