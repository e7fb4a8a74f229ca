"""Speed and memory of the metrics, compared with SciPy and NumPy in one run.

    KERAS_BACKEND=tensorflow python benchmarks/metrics.py
    python benchmarks/metrics.py --dim=256 --samples=2000 --neighbours=1000 --repeats=1

The programs alternate, so that a machine that slows down affects all; times are medians.
Memory is the peak of a separate process above its memory before the work.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

Row = dict[str, object]


def interleaved(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each, with one call of each per round."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, function in contenders.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def features(count: int, dim: int, seed: int, like: float = 1.0) -> np.ndarray:
    """Return non-negative, correlated features with a decaying spectrum, like Inception's."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, dim + 1, dtype="float32") ** -0.5
    mixing = np.random.default_rng(0).standard_normal((dim, dim), "float32") / np.sqrt(dim)
    latent = rng.standard_normal((count, dim), "float32") * scale
    return np.maximum(latent @ mixing * 8 * like + 0.3, 0)


def frechet(dim: int, repeats: int) -> list[Row]:
    import scipy.linalg

    from uotm_keras.metrics import frechet_distance

    moments = []
    for seed in (1, 2):
        x = features(2 * dim, dim, seed, like=seed).astype("float64")
        moments += [x.mean(axis=0), np.cov(x, rowvar=False)]
    mu1, sigma1, mu2, sigma2 = moments

    def with_sqrtm():
        root = scipy.linalg.sqrtm(sigma1 @ sigma2)
        return np.sum((mu1 - mu2) ** 2) + np.trace(sigma1 + sigma2 - 2 * root.real)

    def with_eigvals():
        values = scipy.linalg.eigvals(sigma1 @ sigma2)
        roots = np.sqrt(values.astype(complex)).real.sum()
        return np.sum((mu1 - mu2) ** 2) + np.trace(sigma1 + sigma2) - 2 * roots

    contenders = {
        "ours": lambda: frechet_distance(mu1, sigma1, mu2, sigma2),
        "scipy sqrtm": with_sqrtm,
        "scipy eigvals": with_eigvals,
    }
    try:
        from pytorch_fid.fid_score import calculate_frechet_distance
    except ImportError:
        pass
    else:
        contenders["pytorch-fid"] = lambda: calculate_frechet_distance(*moments)
    expected = contenders["ours"]()
    return [
        {
            "what": f"Fréchet distance, {dim} dimensions",
            "by": name,
            "seconds": seconds,
            "off ours by": abs(contenders[name]() / expected - 1),
        }
        for name, seconds in interleaved(contenders, repeats).items()
    ]


def inception(images: int, repeats: int) -> list[Row]:
    import keras

    from uotm_keras.metrics import as_extractor, fid_inception_v3

    rows = []
    batch = np.random.default_rng(0).integers(0, 256, (images, 32, 32, 3)).astype("uint8")
    extractor = as_extractor(fid_inception_v3())
    contenders = {f"ours, {keras.backend.backend()}": lambda: extractor(batch)}
    try:
        import torch
        from pytorch_fid.inception import fid_inception_v3 as theirs
    except ImportError:
        pass
    else:
        network = theirs().eval()
        tensor = torch.zeros(images, 3, 299, 299)

        def pytorch_fid():
            with torch.no_grad():
                network(tensor)

        contenders["pytorch-fid"] = pytorch_fid
    for function in contenders.values():
        function()  # compiles
    for name, seconds in interleaved(contenders, repeats).items():
        rows.append({"what": "Inception, images/s", "by": name, "images/s": images / seconds})
    return rows


def in_a_process(function: Callable, *arguments) -> Row:
    """Return the seconds and the peak memory of a call in a new process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (function, *arguments))


def _measured(function: Callable, *arguments) -> Row:
    import psutil
    from scipy import linalg  # noqa: F401 (loading it is not the work)

    import uotm_keras.metrics  # noqa: F401

    work = function(*arguments)
    held = psutil.Process().memory_info().rss
    # The kernel's own record of the peak restarts here, where that is allowed.
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak MB": (_peak_bytes() - held) / 1e6}


def _peak_bytes() -> int:
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def stream_ours(samples: int, dim: int):
    from uotm_keras.metrics import FeatureStatistics

    batch = features(50, dim, 1)

    def work():
        gathered = FeatureStatistics(dim)
        for i in range(samples // len(batch)):
            gathered.update(batch * np.float32(1 + 1e-5 * i))
        return gathered.mean, gathered.covariance

    return work


def stream_numpy(samples: int, dim: int):
    batch = features(50, dim, 1)

    def work():
        kept = [batch * np.float32(1 + 1e-5 * i) for i in range(samples // len(batch))]
        x = np.concatenate(kept)
        return x.mean(axis=0), np.cov(x, rowvar=False)

    return work


def kid_ours(samples: int, dim: int):
    from uotm_keras.metrics import kernel_distance

    x, y = features(samples, dim, 1), features(samples, dim, 2, like=1.1)
    return lambda: kernel_distance(x, y, subset_size=min(1000, samples))


def neighbours_ours(samples: int, dim: int):
    from uotm_keras.metrics import precision_recall

    x, y = features(samples, dim, 1), features(samples, dim, 2, like=1.1)
    return lambda: precision_recall(x, y)


def neighbours_numpy(samples: int, dim: int):
    x, y = features(samples, dim, 1), features(samples, dim, 2, like=1.1)

    def squares(a, b):
        return (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T

    def work():
        a, b = x.astype("float64"), y.astype("float64")
        radii_a = np.partition(squares(a, a), 3, axis=1)[:, 3]
        radii_b = np.partition(squares(b, b), 3, axis=1)[:, 3]
        distances = squares(a, b)
        inside = distances <= radii_a[:, None]
        return inside.any(0).mean(), (distances <= radii_b).any(1).mean(), inside.sum()

    return work


def streaming(samples: int, dim: int) -> list[Row]:
    what = f"mean and covariance of {samples} × {dim}"
    return [
        {"what": what, "by": name, **in_a_process(function, samples, dim)}
        for name, function in (("ours", stream_ours), ("numpy, all kept", stream_numpy))
    ]


def sets(samples: int, dim: int) -> list[Row]:
    return [
        {"what": f"{what} of {samples} × {dim}", "by": by, **in_a_process(function, samples, dim)}
        for what, by, function in (
            ("KID, 100 subsets", "ours", kid_ours),
            ("precision, recall, density, coverage", "ours", neighbours_ours),
            ("precision, recall, density", "numpy, n×n matrices", neighbours_numpy),
        )
    ]


def _threads(count: int | None):
    if not count:
        return contextlib.nullcontext()
    import scipy.linalg  # noqa: F401 (its BLAS must be there to be limited)
    from threadpoolctl import threadpool_limits

    return threadpool_limits(count, user_api="blas")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=50_000, help="streamed features")
    parser.add_argument("--neighbours", type=int, default=10_000, help="features of KID and PR")
    parser.add_argument("--images", type=int, default=64, help="images through the network")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of BLAS, for all contenders; default: its own")
    parser.add_argument("--only", nargs="*", default=["frechet", "inception", "streaming", "sets"])
    parser.add_argument("--json", help="also write the rows here")
    args = parser.parse_args()

    parts = {
        "frechet": lambda: frechet(args.dim, args.repeats),
        "inception": lambda: inception(args.images, args.repeats),
        "streaming": lambda: streaming(args.samples, args.dim),
        "sets": lambda: sets(args.neighbours, args.dim),
    }
    rows: list[Row] = []
    if args.threads:
        os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)  # for the processes started here
    for name in args.only:
        with _threads(args.threads):
            part = parts[name]()
        for row in part:
            rows.append(row)
            numbers = {k: v for k, v in row.items() if isinstance(v, float)}
            text = ", ".join(f"{k} {v:.4g}" for k, v in numbers.items())
            print(f"{row['what']:<60} {row['by']:<22} {text}", flush=True)
    print(f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
