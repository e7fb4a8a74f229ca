"""A trained generator for programs that do not have this library.

`export` writes a folder: a TensorFlow SavedModel or an ONNX graph, `uotm_keras.json` (what
was exported), `model_card.md` and, of images, `samples.png`. Tensors are float32, images
(and points) in the network's range, [−1, 1] for images, channels last; any batch size.

SavedModel (`format="savedmodel"`), of which the signatures are
- `serve(source, latent)`: source (B, *source_shape), latent (B, latent_dim); T(x, z) as
  `output_0`, (B, *data_shape). Without a latent, `serve(source)`;
- `sample(n, seed)`: two int32 scalars; n samples as `output_0`. Sample i depends on `seed`
  and i alone. Absent where the model transports a data set;
- `serving_default`: `serve`.

ONNX (`format="onnx"`): inputs `source` and `latent`, output `output_0`, as those of `serve`.
It draws no noise of its own: ONNX has no generator that starts from a given state.

Both are written by TensorFlow, on the JAX and torch backends in a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import keras

from uotm_keras import backend
from uotm_keras.exporting.model_card import model_card
from uotm_keras.exporting.served import METADATA, ServedGenerator, load_exported
from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.files import atomic_folder
from uotm_keras.version import __version__

__all__ = [
    "FORMATS",
    "METADATA",
    "ServedGenerator",
    "export",
    "load_exported",
    "require_packages",
]

FORMATS = ("savedmodel", "onnx")
_PICTURED = 16


def export(
    model,
    path: str | os.PathLike,
    format: str = "savedmodel",
    *,
    overwrite: bool = False,
    metadata: Mapping | None = None,
) -> Path:
    """Writes the averaged generator as a folder, whole or not at all.

    Args:
        model: a `UOTM`.
        path: the folder to make.
        format: "savedmodel" or "onnx"; see the module for what each holds. The latter needs
            the extra `onnx`.
        overwrite: whether an export that is there already may be replaced.
        metadata: entries added to `uotm_keras.json`, such as scores; those that
            `model_card.model_card` names are told there too.

    Returns:
        The folder.

    Raises:
        InputError: unknown format, something there already, no write permission, a missing
            package, or a network that TensorFlow cannot load.
    """
    require_packages(format)
    path = Path(path)
    if path.suffix == ".onnx":
        raise InputError(
            f"path={path}: an export is a folder, which holds model.onnx; give a folder's name."
        )
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already: choose another path, or overwrite=True.")
    if path.exists() and not (path / METADATA).exists():
        raise InputError(f"{path} is there and is no export: it is not replaced.")
    gaussian = model.source != "data"
    description = {
        "library": f"uotm_keras {__version__}",
        "format": format,
        "backend": keras.backend.backend(),
        "training_step": int(keras.ops.convert_to_numpy(model.step)),
        "weights": f"average, decay {model.ema_decay}",
        "source_shape": list(model.source_shape),
        "latent_dim": model.latent_dim,
        "gaussian_source": gaussian,
        "data_shape": list(model.data_shape),
        "output": "float32 in the network's range; images: [-1, 1], NHWC",
        "parameters": model.ema_generator.count_params(),
        "generator": keras.saving.serialize_keras_object(model.ema_generator),
        **(metadata or {}),
    }
    with atomic_folder(path) as folder:
        write = write_artefact if backend.WRITES_SAVED_MODELS else _write_by_tensorflow
        write(model.ema_generator, folder, format, gaussian)
        pictured = gaussian and len(model.data_shape) == 3 and model.data_shape[-1] in (1, 3)
        if pictured:
            from uotm_keras.utils.pictures import save_picture

            samples = model.generate(_PICTURED, seed=0, batch_size=_PICTURED)
            save_picture(samples, folder / "samples.png", columns=8)
        card = model_card(description, picture="samples.png" if pictured else None)
        (folder / "model_card.md").write_text(card, encoding="utf-8")
        (folder / METADATA).write_text(json.dumps(description, indent=1), encoding="utf-8")
    return path


def require_packages(format: str) -> None:
    """Whether what a format needs is installed; imports nothing.

    Raises:
        InputError: it is not, or there is no such format.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    extra = "pip install 'uotm_keras[onnx]'"
    needed = {"savedmodel": [("tensorflow", "pip install tensorflow")]}
    needed["onnx"] = [*needed["savedmodel"], ("onnx", extra), ("tf2onnx", extra)]
    for package, command in needed[format]:
        if find_spec(package) is None:
            raise InputError(f"format={format!r} needs {package}, which lacks here: {command}.")


def write_artefact(generator: keras.Model, folder: Path, format: str, gaussian: bool) -> None:
    """Writes the generator alone; on the TensorFlow backend only."""
    if format == "onnx":
        from uotm_keras.exporting.onnx_graph import write_onnx

        write_onnx(generator, folder)
    else:
        from uotm_keras.exporting.saved_model import write_saved_model

        write_saved_model(generator, folder, gaussian)


_PROGRAM = """
import sys
from pathlib import Path
import keras
import uotm_keras
from uotm_keras.utils.errors import InputError
from uotm_keras.exporting import write_artefact
archive, folder, format, gaussian = sys.argv[1:]
try:
    generator = keras.saving.load_model(archive, compile=False)
    write_artefact(generator, Path(folder), format, gaussian == "1")
except InputError as error:
    sys.exit(f"InputError: {error}")
"""


def _write_by_tensorflow(generator: keras.Model, folder: Path, format: str, gaussian: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "generator.keras"
        generator.save(archive)
        arguments = [str(archive), str(folder), format, str(int(gaussian))]
        environment = {
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONPATH": os.pathsep.join(filter(None, map(str, sys.path))),
        }
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *arguments],
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if reason.startswith("InputError: "):
            raise InputError(reason.removeprefix("InputError: "))
        raise InputError(
            f"the export needs TensorFlow and networks that it can load: {reason.rstrip('.')}."
        )
