"""Measure the speed of one training iteration and of sampling on each backend.

    python benchmarks/step.py                       # the CIFAR-10 networks, batch 8
    python benchmarks/step.py --backends=jax --batch_size=16 --rounds=9
    python benchmarks/step.py --width=16 --batch_size=64 --r1_fraction=0.25   # light networks

Each backend runs in its own process. The processes take turns, so that other load on the machine
affects all alike. The first call after a wait is slow; by a rule fixed in advance, the first call
of each turn is discarded. The table shows the median of the others with quartiles. The work is
counted for the algorithm (a multiply-add counts two), whatever a backend executes:

    iteration = images · (4 · generator + 11 · potential)

The generator counts one forward pass for the potential's loss, and forward and backward (3) for
its own. The potential counts 2 for the generator's loss, 3 for the samples, and 6 for the data
with R1's second derivatives; with R1 at a fraction f of the data, 3 + 6·f. The peak is the best
rate of a 4096³ matrix product in the same run and in the precision of the networks.
"""

import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from workers import BACKENDS, environment, task

import uotm_keras as uk
from uotm_keras import InputError
from uotm_keras.config import (
    Command,
    Enum,
    Enums,
    Float,
    Integer,
    Text,
    flag,
    run_command,
    to_flags,
)

SIZES: dict[int, tuple[dict[str, Any], str]] = {
    # image size: (arguments of the generator, class of the potential)
    32: ({}, "SmallPotential"),
    64: ({"channel_multipliers": (1, 2, 2, 2), "base_channels": 64}, "SmallPotential"),
    256: (
        {"base_channels": 64, "channel_multipliers": (1, 1, 2, 2, 4, 4), "mapping_layers": 3},
        "LargePotential",
    ),
}


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """The flags of this benchmark."""

    backends: tuple[str, ...] = flag(BACKENDS, Enums(*BACKENDS), "Backends to measure.")
    batch_size: int = flag(8, Integer(1), "Images per training iteration.")
    sample_batch: int = flag(64, Integer(1), "Images per sampling call.")
    size: int = flag(32, Enum(*SIZES), "Image size in pixels.")
    width: int = flag(0, Integer(0), "Width of the light networks; 0 measures NCSN++.")
    r1_fraction: float = flag(
        1.0, Float(0.0, exclusive=True, upper=1.0), "Part of the data at which R1 is taken."
    )
    dtype_policy: str = flag(
        "float32", Enum("float32", "mixed_bfloat16", "mixed_float16"), "Keras's dtype policy."
    )
    rounds: int = flag(5, Integer(1), "Turns of each backend.")
    calls: int = flag(2, Integer(1), "Timed calls per turn.")
    output: str | None = flag(
        None, Text("the path of a JSON file"), "File for the results.", none="none"
    )


COMMAND = Command(__doc__ or "", StepOptions)


# --- one backend ----------------------------------------------------------------------------


def worker(options: StepOptions) -> None:
    """Answer each line of standard input ("step", "sample", "matmul", "memory") with numbers."""
    uk.backend.prepare_command()  # As train.py and the other commands do.
    keras.config.set_dtype_policy(options.dtype_policy)
    keras.utils.set_random_seed(0)
    shape = (options.size, options.size, 3)
    model = uk.UOTM(
        *networks(options, shape), gradient_penalty=uk.penalties.R1(0.2, options.r1_fraction)
    )
    model.compile()
    images = np.random.default_rng(0).uniform(-1, 1, (options.batch_size, *shape))
    images = images.astype("float32")
    source = np.random.default_rng(1).normal(size=(options.sample_batch, *model.source_shape))
    source = source.astype("float32")
    latent = np.zeros((options.sample_batch, model.latent_dim or 0), "float32")

    def step() -> None:
        model.train_on_batch(images)

    def sample() -> None:
        model.transport(source, latent, batch_size=options.sample_batch)

    before = time.perf_counter()
    step()
    print(
        json.dumps(
            {
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
    actions: dict[str, Callable[[], object]] = {
        "step": step,
        "sample": sample,
        "matmul": lambda: float(keras.ops.matmul(matrix, matrix)[0, 0]),
    }
    for line in sys.stdin:
        action = line.strip()
        if action == "memory":
            answer = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]
        else:
            actions[action]()  # Discarded.
            answer = []
            for _ in range(options.calls):
                before = time.perf_counter()
                actions[action]()
                answer.append(time.perf_counter() - before)
        print(json.dumps(answer), flush=True)


def networks(options: StepOptions, shape: tuple[int, int, int]) -> tuple[keras.Model, keras.Model]:
    """Return the generator and the potential to measure."""
    if options.width:
        return (
            uk.networks.LightGenerator(shape, options.width),
            uk.networks.LightPotential(shape, options.width),
        )
    generator_arguments, potential = SIZES[options.size]
    return uk.networks.NCSNpp(shape, **generator_arguments), getattr(uk.networks, potential)(shape)


def gigaflop(network: keras.Model) -> float:
    """Return the work per image of a forward call: convolutions, dense layers and attention."""
    total = 0.0
    for layer in flattened(network.layers):
        if isinstance(layer, keras.layers.Conv2D):
            pixels = np.prod(layer.get_build_config()["input_shape"][1:3])
            total += pixels // np.prod(layer.strides) * np.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Dense):
            *axes, _ = layer.get_build_config()["input_shape"][1:]
            total += np.prod(axes) * np.prod(layer.kernel.shape)
        elif type(layer).__name__ == "SelfAttention":
            # The two products of attention; its dense layers are counted on their own.
            pixels, channels = np.prod(layer.input.shape[1:3]), layer.input.shape[-1]
            total += 2 * pixels * pixels * channels
    return 2 * float(total) / 1e9


def flattened(layers: Sequence[keras.Layer]) -> Iterator[keras.Layer]:
    """Yield the layers and the layers that they contain."""
    for layer in layers:
        yield layer
        yield from flattened([v for v in vars(layer).values() if isinstance(v, keras.Layer)])


# --- all backends ---------------------------------------------------------------------------


class Worker:
    """The process of one backend, which performs one action at a time."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.process = subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(backend, "step"),
        )
        self.first: dict[str, float] = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise InputError(
                f"--backends={self.backend} failed; check that it is installed and that the "
                "networks fit into memory."
            )
        return json.loads(line)

    def ask(self, action: str) -> list[float]:
        """Perform an action and return its times in seconds, or the peak memory in GB."""
        assert self.process.stdin is not None
        self.process.stdin.write(action + "\n")
        self.process.stdin.flush()
        return self._answer()


def work(options: StepOptions) -> int:
    """Measure all backends in turns and print the table."""
    backends = options.backends
    workers = {}
    for backend in backends:
        workers[backend] = Worker(backend)
        print(f"{backend}: first call {workers[backend].first['first_call']:.1f} s", flush=True)
    times: dict[str, dict[str, list[float]]] = {
        b: {"step": [], "matmul": [], "sample": []} for b in backends
    }
    memory: dict[str, float] = {}
    for action in ("matmul", "step", "sample"):
        for turn in range(options.rounds):
            for backend in backends:
                times[backend][action] += workers[backend].ask(action)
            print(f"{action} {turn + 1}/{options.rounds}", flush=True)
        if action == "step":
            memory = {b: workers[b].ask("memory")[0] for b in backends}

    best_matmul = min(min(times[b]["matmul"]) for b in backends)
    peak = 2 * 4096**3 / best_matmul / 1e9
    first = workers[backends[0]].first
    part = options.r1_fraction
    passes = 11 if part == 1 else 8 + 6 * part
    operations = options.batch_size * (
        4 * first["generator_gflop"] + passes * first["potential_gflop"]
    )
    sample_operations = options.sample_batch * first["generator_gflop"]
    rows = []
    for b in backends:
        low, middle, high = np.percentile(times[b]["step"], [25, 50, 75])
        sample_time = float(np.median(times[b]["sample"]))
        rows.append(
            {
                "backend": b,
                "s/step": float(middle),
                "quartiles": [float(low), float(high)],
                "images/s": options.batch_size / float(middle),
                "first call s": workers[b].first["first_call"],
                "peak GB": memory[b],
                "share of peak": operations / middle / peak,
                "sampling images/s": options.sample_batch / sample_time,
                "sampling share": sample_operations / sample_time / peak,
            }
        )
    print(
        f"\n{options.size} px, batch {options.batch_size}, {options.dtype_policy}; "
        f"{os.cpu_count()} {platform.machine()} cores; {operations:.0f} GFLOP per step (per image: "
        f"generator {first['generator_gflop']:.2f}, potential {first['potential_gflop']:.2f}); "
        f"matrix products {peak:.0f} GFLOP/s\n"
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
    if options.output is not None:
        result = {
            "arguments": to_flags(options), "matmul_gflops": peak, "gflop": operations,
            "rows": rows,
        }  # fmt: skip
        Path(options.output).write_text(json.dumps(result, indent=2))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    return run_command(COMMAND, work, argv)


if __name__ == "__main__":
    if task():
        worker(COMMAND.parse(sys.argv[1:]))
    else:
        raise SystemExit(main())
