"""Speed of one training iteration and of sampling, on each backend, in one run.

    python benchmarks/step.py                       # the CIFAR-10 networks, batch 8
    python benchmarks/step.py --backends=jax --batch_size=16 --rounds=9

Each backend lives in a process of its own; the processes take turns, so that whatever else
the machine does hits all alike. A process that has waited runs its first call slowly:
one call of each turn is dropped, by this rule fixed beforehand, and the median of the rest
is given with its quartiles. Work is counted by the algorithm (multiply-adds count two),
whatever a backend really executes:

    iteration = images · (4 · generator + 11 · potential)

the generator forward for the potential's loss, forward and backward (3) for its own; the
potential 2 for the generator, 3 for the samples, 6 for the data with R1's second
derivatives. The peak is the best rate of a 4096³ matrix product in the same run, in the
precision in which the networks compute.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

BACKENDS = ("tensorflow", "jax", "torch")
SIZES = {
    # image side: (generator arguments, potential class)
    32: ({}, "SmallPotential"),
    64: ({"channel_multipliers": (1, 2, 2, 2), "base_channels": 64}, "SmallPotential"),
    256: (
        {"base_channels": 64, "channel_multipliers": (1, 1, 2, 2, 4, 4), "mapping_layers": 3},
        "LargePotential",
    ),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--sample_batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32, choices=sorted(SIZES))
    parser.add_argument("--dtype_policy", default="float32")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each backend")
    parser.add_argument("--calls", type=int, default=2, help="timed calls a turn")
    parser.add_argument("--output", help="a JSON file for the figures")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- one backend ----------------------------------------------------------------------------


def worker(arguments: argparse.Namespace) -> None:
    """Answers each line of standard input ("step", "sample", "matmul", "memory") by a number."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    started = time.perf_counter()
    import keras

    import uotm_keras as uk

    uk.backend.prepare_command()  # as train.py and the other commands do
    keras.config.set_dtype_policy(arguments.dtype_policy)
    keras.utils.set_random_seed(0)
    shape = (arguments.size, arguments.size, 3)
    generator_arguments, potential = SIZES[arguments.size]
    model = uk.UOTM(
        uk.networks.NCSNpp(shape, **generator_arguments), getattr(uk.networks, potential)(shape)
    )
    model.compile()
    images = np.random.default_rng(0).uniform(-1, 1, (arguments.batch_size, *shape))
    images = images.astype("float32")
    source = np.random.default_rng(1).normal(size=(arguments.sample_batch, *shape))
    source = source.astype("float32")
    latent = np.zeros((arguments.sample_batch, 100), "float32")

    def step():
        model.train_on_batch(images)

    def sample():
        model.transport(source, latent, batch_size=arguments.sample_batch)

    before = time.perf_counter()
    step()
    print(
        json.dumps(
            {
                "setup": before - started,
                "first_call": time.perf_counter() - before,
                "generator_gflop": gigaflop(model.generator),
                "potential_gflop": gigaflop(model.potential),
            }
        ),
        flush=True,
    )
    matrix = keras.ops.convert_to_tensor(
        np.random.default_rng(0).normal(size=(4096, 4096)).astype("float32"),
        keras.config.dtype_policy().compute_dtype,
    )
    actions = {
        "step": step,
        "sample": sample,
        "matmul": lambda: float(keras.ops.matmul(matrix, matrix)[0, 0]),
    }
    for line in sys.stdin:
        action = line.strip()
        if action == "memory":
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        else:
            actions[action]()  # dropped
            answer = []
            for _ in range(arguments.calls):
                before = time.perf_counter()
                actions[action]()
                answer.append(time.perf_counter() - before)
        print(json.dumps(answer), flush=True)


def gigaflop(network) -> float:
    """Work of a forward call, an image: convolutions, dense layers, attention's products."""
    from keras import layers

    from uotm_keras.networks.layers import SelfAttention

    total = 0
    for layer in network._flatten_layers():
        if isinstance(layer, SelfAttention):
            pixels, channels = np.prod(layer.input.shape[1:3]), layer.input.shape[-1]
            total += 2 * pixels * pixels * channels  # its dense layers come by themselves
            total += 4 * pixels * channels * channels
        elif isinstance(layer, layers.Conv2D):
            pixels = np.prod(layer._build_shapes_dict["input_shape"][1:3])
            pixels //= np.prod(layer.strides)
            total += pixels * np.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Dense) and len(layer._build_shapes_dict["input_shape"]) == 2:
            total += np.prod(layer.kernel.shape)
    return 2 * float(total) / 1e9


# --- all of them ------------------------------------------------------------------------------


class Worker:
    """A backend's process, answering one question at a time."""

    def __init__(self, backend: str):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", *sys.argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        self.first = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a backend's process ended early; run it with --worker to see why")
        return json.loads(line)

    def ask(self, action: str):
        self.process.stdin.write(action + "\n")
        self.process.stdin.flush()
        return self._answer()


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        return worker(arguments)
    backends = arguments.backends.split(",")
    workers = {}
    for backend in backends:
        workers[backend] = Worker(backend)
        print(f"{backend}: first call {workers[backend].first['first_call']:.1f} s", flush=True)
    times = {b: {"step": [], "matmul": [], "sample": []} for b in backends}
    memory = {}
    for action in ("matmul", "step", "sample"):
        for turn in range(arguments.rounds):
            for backend in backends:
                times[backend][action] += workers[backend].ask(action)
            print(f"{action} {turn + 1}/{arguments.rounds}", flush=True)
        if action == "step":
            memory = {b: workers[b].ask("memory") for b in backends}

    best_matmul = min(min(times[b]["matmul"]) for b in backends)
    peak = 2 * 4096**3 / best_matmul / 1e9
    first = workers[backends[0]].first
    work = arguments.batch_size * (4 * first["generator_gflop"] + 11 * first["potential_gflop"])
    sample_work = arguments.sample_batch * first["generator_gflop"]
    rows = []
    for b in backends:
        low, middle, high = np.percentile(times[b]["step"], [25, 50, 75])
        sample_time = float(np.median(times[b]["sample"]))
        rows.append(
            {
                "backend": b,
                "s/step": float(middle),
                "quartiles": [float(low), float(high)],
                "images/s": arguments.batch_size / float(middle),
                "first call s": workers[b].first["first_call"],
                "peak GB": memory[b],
                "share of peak": work / middle / peak,
                "sampling images/s": arguments.sample_batch / sample_time,
                "sampling share": sample_work / sample_time / peak,
            }
        )
    print(
        f"\n{arguments.size} px, batch {arguments.batch_size}, {arguments.dtype_policy}; "
        f"{os.cpu_count()} cores of {platform.machine()}; {work:.0f} GFLOP a step "
        f"(generator {first['generator_gflop']:.2f}, potential {first['potential_gflop']:.2f} an "
        f"image); matrix products {peak:.0f} GFLOP/s\n"
    )
    print("| backend | s/step (quartiles) | images/s | first call, s | peak memory, GB |"
          " share of matmul rate | sampling, images/s | its share |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["quartiles"]
        print(
            f"| {row['backend']} | {row['s/step']:.2f} ({low:.2f}–{high:.2f}) "
            f"| {row['images/s']:.1f} | {row['first call s']:.0f} | {row['peak GB']:.1f} "
            f"| {row['share of peak']:.0%} | {row['sampling images/s']:.1f} "
            f"| {row['sampling share']:.0%} |"
        )
    if arguments.output:
        result = {"arguments": vars(arguments), "matmul_gflops": peak, "gflop": work, "rows": rows}
        Path(arguments.output).write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
