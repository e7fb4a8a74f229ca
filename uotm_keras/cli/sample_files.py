"""How `generate.py` writes samples: a folder of PNG files, a grid, or an .npz file."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path

_WRITERS = 4


class Batch(NamedTuple):
    """Named samples (B, ...), the examples they were made from, and their conditions."""

    names: list[str]
    samples: np.ndarray
    before: np.ndarray | None = None
    conditions: np.ndarray | None = None


def check_target(out: str) -> Path:
    """Return the path of --out.

    Raises:
        InputError: the path is a folder instead of a file, or a file instead of a folder.
    """
    path = local_path(out)
    if path.suffix in (".png", ".npz") and path.is_dir():
        raise InputError(f"flag --out={out} is a folder: give a file, or another name.")
    if path.suffix not in (".png", ".npz") and path.exists() and not path.is_dir():
        raise InputError(
            f"flag --out={out} is a file: accepted are a folder, a .png and an .npz file."
        )
    return path


def write_results(batches: Iterator[Batch], out: Path, columns: int) -> None:
    """Write the samples to a grid (.png), to arrays (.npz), or to a folder.

    Pairs are written to `out/before` and `out/after`, side by side in a grid, and as the arrays
    `before` and `samples`.

    Raises:
        InputError: the files cannot be written, or the samples are not images.
    """
    if out.suffix not in (".png", ".npz"):
        _write_folder(batches, out)
        return
    drawn = list(batches)
    names = [name for batch in drawn for name in batch.names]
    samples = np.concatenate([batch.samples for batch in drawn])
    examples = [batch.before for batch in drawn if batch.before is not None]
    before = np.concatenate(examples) if examples else None
    if out.suffix == ".npz":
        given = [batch.conditions for batch in drawn if batch.conditions is not None]
        _write_npz(names, samples, before, np.concatenate(given) if given else None, out)
        return
    from uotm_keras.utils.pictures import save_picture, side_by_side

    if before is not None and samples.ndim == 4:
        if before.shape != samples.shape:
            raise InputError(
                f"flag --out={out}: examples of shape {before.shape[1:]} and samples of "
                f"{samples.shape[1:]} do not fit in one grid; use a folder or an .npz file."
            )
        samples, columns = side_by_side(before, samples, columns)
    save_picture(samples, out, columns)


def _write_folder(batches: Iterator[Batch], out: Path) -> None:
    # The generator computes the next batch while the files are compressed and written.
    with ThreadPoolExecutor(_WRITERS) as pool:
        waiting: list[Future] = []
        for batch in batches:
            arrays = {"": batch.samples}
            if batch.before is not None:
                arrays = {"before": batch.before, "after": batch.samples}
            for array in arrays.values():
                if array.ndim != 4:
                    raise InputError(
                        f"flag --out={out}: samples of shape {array.shape[1:]} are not images; "
                        "accepted are a .png (a scatter plot) and an .npz file."
                    )
            for future in waiting:
                future.result()
            waiting = [
                pool.submit(_write_png, image, out / folder / f"{name}.png")
                for folder, array in arrays.items()
                for name, image in zip(batch.names, _as_uint8(array), strict=True)
            ]
        for future in waiting:
            future.result()


def _as_uint8(images: np.ndarray) -> np.ndarray:
    from uotm_keras.utils.pixels import to_uint8

    return to_uint8(images, (-1.0, 1.0))


def _write_png(image: np.ndarray, path: Path) -> None:
    from PIL import Image

    from uotm_keras.utils.files import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(temporary)


def _write_npz(
    names: list[str],
    samples: np.ndarray,
    before: np.ndarray | None,
    conditions: np.ndarray | None,
    path: Path,
) -> None:
    from uotm_keras.utils.files import atomic_path

    arrays: dict[str, Any] = {"samples": samples} | ({} if before is None else {"before": before})
    for name, array in arrays.items():
        arrays[name] = _as_uint8(array) if array.ndim == 4 else array
    if conditions is not None:
        arrays["conditions"] = conditions
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays, names=np.array(names))
