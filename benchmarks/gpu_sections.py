"""The sections of gpu.py, each run by a process of its own, which prints its results as JSON."""

import gc
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from gpu import FIRST_RESULT, GpuOptions
from gpu_correctness import correctness
from gpu_training import training
from memory import peak
from step import SIZES, gigaflop
from workers import task

import uotm_keras as uk
from uotm_keras import backend
from uotm_keras.config import from_flags

PRECISIONS = {
    # name: (Keras's dtype policy, --matmul_precision)
    "bfloat16": ("mixed_bfloat16", "tf32"),
    "tf32": ("float32", "tf32"),
    "float32": ("float32", "highest"),
}
SETTINGS = [
    # (image size, batch, precision), the most wanted first: there may be no time for the last.
    (32, 256, "bfloat16"), (32, 256, "tf32"), (32, 256, "float32"), (32, 64, "bfloat16"),
    (32, 64, "tf32"), (32, 64, "float32"), (256, 32, "bfloat16"), (256, 16, "bfloat16"),
    (256, 8, "bfloat16"),
]  # fmt: skip
TINY = {"base_channels": 8, "channel_multipliers": (1,), "num_res_blocks": 1}


def show(record: dict[str, Any]) -> None:
    """Print one result."""
    print(FIRST_RESULT + json.dumps(record), flush=True)


# --- timing ---------------------------------------------------------------------------------


def free() -> None:
    """Release the memory of a deleted model; only PyTorch can also forget the peak so far."""
    gc.collect()
    if backend.NAME == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def wait() -> None:
    """Wait for the device, if it does not do so by itself."""
    if backend.NAME == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


class Quiet(keras.callbacks.CallbackList):
    """Keras's list without its conversion of every step's losses to numbers, as in the commands."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        pass

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class Clock(keras.callbacks.Callback):
    """Time the steps of `fit` in blocks, waiting for the device only between them."""

    def __init__(self, blocks: int, steps: int, warm: int) -> None:
        super().__init__()
        self.edges = [0, *range(warm, warm + blocks * steps + 1, steps)]
        self.times: list[float] = []
        self.length = steps

    @property
    def total(self) -> int:
        return self.edges[-1] + 1

    def on_train_begin(self, logs: Any = None) -> None:
        self.begin = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch in self.edges:
            float(keras.ops.convert_to_numpy((logs or {})["loss"]))
            self.times.append(time.perf_counter())

    @property
    def first(self) -> float:
        return self.times[0] - self.begin

    @property
    def seconds(self) -> np.ndarray:
        """Seconds per step of each block."""
        return np.diff(self.times[1:]) / self.length


def fit(model: uk.UOTM, data: Any, blocks: int, steps: int, warm: int = 4) -> Clock:
    """Train for so many blocks of steps, after `warm` + 1 more, and return their times."""
    clock = Clock(blocks, steps, warm)
    callbacks = Quiet([clock], add_history=True, model=model)
    model.fit(
        data, steps_per_epoch=clock.total, epochs=1, verbose=0, callbacks=callbacks, shuffle=False
    )
    return clock


def quartiles(seconds: np.ndarray | list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return {"s": float(middle), "from": float(low), "to": float(high)}


def matmul_rate(precision: str, size: int) -> float:
    """Return the TFLOP/s of a square matrix product of this precision on this device."""
    backend.set_matmul_precision(PRECISIONS[precision][1])
    numbers = np.random.default_rng(0).normal(size=(size, size)).astype("float32")
    dtype = "bfloat16" if precision == "bfloat16" else "float32"
    matrix = keras.ops.convert_to_tensor(numbers, dtype)

    def product() -> Any:
        return keras.ops.matmul(matrix, matrix)

    best = np.inf
    for _ in range(4):
        begin = time.perf_counter()
        for _ in range(5):
            y = product()
        float(keras.ops.convert_to_numpy(y[0, 0]))
        best = min(best, (time.perf_counter() - begin) / 5)
    return 2 * size**3 / best / 1e12


def build(size: int, precision: str, tiny: bool) -> uk.UOTM:
    """Return the compiled model of the paper's networks, or of tiny ones."""
    policy, matmul = PRECISIONS[precision]
    keras.config.set_dtype_policy(policy)
    backend.set_matmul_precision(matmul)
    keras.utils.set_random_seed(0)
    arguments, potential = SIZES[size]
    shape, width = (size, size, 3), {}
    if tiny:
        arguments, potential, shape, width = (
            TINY,
            "SmallPotential",
            (16, 16, 3),
            {"base_channels": 8},
        )
    model = uk.UOTM(
        uk.networks.NCSNpp(shape, **arguments), getattr(uk.networks, potential)(shape, **width)
    )
    model.compile()
    return model


def endless(batch: np.ndarray) -> Iterator[tuple[np.ndarray]]:
    while True:
        yield (batch,)


def images(batch: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (batch, *shape)).astype("float32")


# --- sections -------------------------------------------------------------------------------


def settings(options: GpuOptions) -> list[tuple[int, int, str]]:
    if options.rehearse:
        return [(32, 8, "bfloat16"), (32, 8, "float32")]
    return SETTINGS


def step(options: GpuOptions) -> None:
    """Measure iterations and sampling of the library's model."""
    rates: dict[str, float] = {}
    fitted = False
    for size, batch, precision in settings(options):
        if size == 256 and fitted:
            continue  # The largest batch that fits is measured.
        if precision not in rates:
            rates[precision] = matmul_rate(precision, 256 if options.rehearse else 8192)
        label = {"backend": backend.NAME, "mode": "", "px": size, "batch": batch,
                 "precision": precision}  # fmt: skip
        try:
            model = build(size, precision, options.rehearse)
            record = measure(model, batch, options.rehearse)
        except Exception as error:  # the backends have no common class for a lack of memory
            show({**label, "error": f"{type(error).__name__}: {error}"[:300]})
            continue
        fitted |= size == 256
        work = 4 * gigaflop(model.generator) + 11 * gigaflop(model.potential)
        show_speed(label, record, rates[precision], work, gigaflop(model.generator))
        del model
        free()


def measure(model: uk.UOTM, batch: int, tiny: bool) -> dict[str, Any]:
    """Return the times of iterations and of sampling, and the peak memory."""
    clock = fit(model, endless(images(batch, model.data_shape)), *((2, 2) if tiny else (5, 8)))
    memory = peak()
    source = images(batch, model.data_shape, 1)
    latent = np.zeros((batch, 100), "float32")
    times = []
    for _ in range(3 if tiny else 8):
        begin = time.perf_counter()
        model.transport(source, latent, batch_size=batch)
        times.append(time.perf_counter() - begin)
    return {"batch": batch, "first": clock.first, "step": clock.seconds, "memory": memory,
            "sample": times[2:]}  # fmt: skip


def show_speed(
    label: dict[str, Any], record: dict[str, Any], rate: float, work: float, forward: float
) -> None:
    batch, seconds = record["batch"], quartiles(record["step"])
    sampling = float(np.median(record["sample"]))
    show({
        **label,
        "ms/step": 1e3 * seconds["s"], "from": 1e3 * seconds["from"], "to": 1e3 * seconds["to"],
        "images/s": batch / seconds["s"], "matmul TFLOP/s": rate,
        "share": batch * work / seconds["s"] / 1e3 / rate,
        "first step s": record["first"], "peak GB": record["memory"],
        "samples/s": batch / sampling, "its share": batch * forward / sampling / 1e3 / rate,
    })  # fmt: skip


def plain(options: GpuOptions) -> None:
    """Measure the same with plain PyTorch, eager and compiled."""
    import plain_torch
    import torch

    backend.prepare_command()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = [s for s in settings(options) if s[0] == 32]
    model = build(32, "float32", options.rehearse)
    forward = gigaflop(model.generator)
    work = 4 * forward + 11 * gigaflop(model.potential)
    del model
    modes = [(c, s) for s in chosen[:3] for c in (False, True)] + [(False, s) for s in chosen[3:]]
    if options.rehearse:
        modes = [(False, chosen[0])]  # torch.compile needs a compiler and a minute.
    rates = {p: matmul_rate(p, 256 if options.rehearse else 8192) for p in PRECISIONS}
    for compiled, (size, batch, precision) in modes:
        backend.set_matmul_precision(PRECISIONS[precision][1])
        label = {"backend": "plain PyTorch", "mode": "compiled" if compiled else "eager",
                 "px": size, "batch": batch, "precision": precision}  # fmt: skip
        try:
            if options.rehearse:
                size = 16
                networks = plain_torch.Generator(16, 3, 8, (1,), 1), plain_torch.Potential(3, 8)
            else:
                networks = plain_torch.Generator(), plain_torch.Potential()
            trainer = plain_torch.Trainer(
                *(n.to(device) for n in networks), bfloat16=precision == "bfloat16",
                compiled=compiled,
            )  # fmt: skip
            record = measure_plain(trainer, batch, size, options.rehearse)
        except Exception as error:
            show({**label, "error": f"{type(error).__name__}: {error}"[:300]})
            continue
        show_speed(label, record, rates[precision], work, forward)
        del trainer, networks
        free()


def measure_plain(trainer: Any, batch: int, size: int, tiny: bool) -> dict[str, Any]:
    import torch

    real = torch.rand(batch, 3, size, size, device=trainer.device) * 2 - 1
    blocks, steps = (2, 2) if tiny else (5, 8)
    begin = time.perf_counter()
    float(trainer.step(real)[0])
    first = time.perf_counter() - begin
    for _ in range(3):
        trainer.step(real)
    times = []
    for _ in range(blocks):
        wait()
        begin = time.perf_counter()
        for _ in range(steps):
            losses = trainer.step(real)
        float(losses[0])
        times.append((time.perf_counter() - begin) / steps)
    memory = peak()
    x, z = trainer.draw(batch, (3, size, size))
    sampling = []
    for _ in range(3 if tiny else 8):
        begin = time.perf_counter()
        trainer.sample(x, z).cpu().numpy()
        sampling.append(time.perf_counter() - begin)
    return {"batch": batch, "first": first, "step": times, "memory": memory, "sample": sampling[2:]}


def profile(options: GpuOptions) -> None:
    """Show the kernels that take the most time of an iteration, and the waits for the device."""
    batch = 8 if options.rehearse else 256
    model = build(32, "bfloat16", options.rehearse)
    data = images(batch, model.data_shape)

    def some_steps(count: int) -> None:
        fit(model, endless(data), 1, count - 1, warm=0)

    some_steps(4)
    kernels: dict[str, float] = {}
    if backend.NAME == "torch":
        kernels = torch_kernels(lambda: some_steps(4))
    elif backend.NAME == "jax":
        kernels = jax_kernels(lambda: some_steps(4))
    total = sum(kernels.values())
    if not kernels:
        show({"backend": backend.NAME, "error": "the profile names no kernels"})
    for name, seconds in sorted(kernels.items(), key=lambda item: -item[1])[:10]:
        show({"backend": backend.NAME, "kernel": name[:100], "ms/step": 1e3 * seconds / 4,
              "share": seconds / total})  # fmt: skip
    if backend.NAME == "torch":
        show({"backend": "torch", "waits for the device per step": torch_waits(some_steps)})


def torch_kernels(run: Callable[[], None]) -> dict[str, float]:
    import torch
    from torch.profiler import ProfilerActivity

    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        run()
    events = profiler.key_averages()
    if cuda:
        # Operators count their kernels too; the kernels alone are events of the device.
        events = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
        return {e.key: e.self_device_time_total / 1e6 for e in events}
    return {e.key: e.self_cpu_time_total / 1e6 for e in events}


def torch_waits(some_steps: Callable[[int], None]) -> float:
    """Return how often the host waits for the GPU per step, by PyTorch's own warnings."""
    import torch

    if not torch.cuda.is_available():
        return 0.0
    counts = []
    torch.cuda.set_sync_debug_mode("warn")
    for steps in (4, 12):  # `fit` itself waits at its end.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            some_steps(steps)
        counts.append(sum("synchroniz" in str(w.message) for w in caught))
    torch.cuda.set_sync_debug_mode("default")
    return (counts[1] - counts[0]) / 8


def jax_kernels(run: Callable[[], None]) -> dict[str, float]:
    import jax

    kernels: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        for file in Path(folder).rglob("*.xplane.pb"):
            planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
            devices = [p for p in planes if p.name.startswith("/device:GPU")]
            for plane in devices or [p for p in planes if p.name.startswith("/host:CPU")]:
                for line in plane.lines:
                    if devices and not line.name.startswith("Stream"):
                        continue  # The other lines show the same time by module and operation.
                    if not devices and "XLA" not in line.name:
                        continue
                    for event in line.events:
                        kernels[event.name] = kernels.get(event.name, 0) + event.duration_ns / 1e9
    return kernels


def input_(options: GpuOptions) -> None:
    """Compare iterations on the data pipeline with iterations on one batch."""
    batch = 8 if options.rehearse else 256
    model = build(32, "bfloat16", options.rehearse)
    count, rng = (64, 4096)[batch == 256], np.random.default_rng(0)
    pictures = rng.integers(0, 256, (count, *model.data_shape), dtype=np.uint8)
    dataset = uk.data.ArrayDataset(pictures, "random", flip_by_default=True)
    stream = uk.data.Batches(dataset, batch).stream(workers=2)
    seconds = {}
    for name, data in (("one", endless(images(batch, model.data_shape))), ("pipeline", stream)):
        clock = fit(model, data, *((2, 2) if options.rehearse else (5, 8)))
        seconds[name] = quartiles(clock.seconds)["s"]
    batches = iter(stream)
    next(batches)
    begin = time.perf_counter()
    for _ in range(clock.total):
        next(batches)
    show({
        "backend": backend.NAME, "batch": batch, "ms/step on one batch": 1e3 * seconds["one"],
        "ms/step on the pipeline": 1e3 * seconds["pipeline"],
        "slower by": seconds["pipeline"] / seconds["one"] - 1,
        "ms/batch of the pipeline alone": 1e3 * (time.perf_counter() - begin) / clock.total,
    })  # fmt: skip


def worker() -> None:
    """Run the section that the task of this process names."""
    section, name = str(task()).split(",")
    options = from_flags(GpuOptions, json.loads(os.environ["UOTM_BENCHMARK_OPTIONS"]))
    if section != "training":
        backend.prepare_command()
        if section == "step":
            show({"worker": name, "device": backend.describe_device(), "keras": keras.__version__})
    if section == "correctness":
        for record in correctness(options.rehearse):
            show(record)
        return
    if section == "training":
        show(training(options, float(os.environ["UOTM_BENCHMARK_SECONDS"])))
        return
    sections = {"step": step, "profile": profile, "input": input_}
    (plain if name == "plain" else sections[section])(options)


if __name__ == "__main__":
    worker()
