"""Export a trained generator for programs without this library.

`export` writes a folder with a TensorFlow SavedModel, an ONNX graph, or a LiteRT model,
`uotm_keras.json` (what was exported), `model_card.md` and, for images, `samples.png`. Tensors
are float32 with any batch size; images are channels-last in [−1, 1], points are in their own
units.

The SavedModel (`format="savedmodel"`) has the signatures

- `serve(source, latent)`: takes (B, *source_shape) and (B, latent_dim) and returns T(x, z) as
  `output_0`, (B, *data_shape). It is `serve(source)` if the generator has no latent input. A
  conditional generator also takes `condition`: int32 labels or float32 vectors.
- `sample(n, seed)`: takes two int32 scalars and returns n samples as `output_0`. Sample i
  depends only on `seed` and i. A conditional model also takes the `condition` of each sample. A
  model whose source is a dataset lacks this signature.
- `serving_default`: the same as `serve`.

The ONNX graph (`format="onnx"`) has the inputs and the output of `serve`. It cannot draw noise,
because ONNX has no random number generator with an explicit state.

The LiteRT model (`format="litert"`), formerly TensorFlow Lite, has one signature with the inputs
of `serve`.

TensorFlow writes all; on the JAX and torch backends this happens in a subprocess.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from uotm_keras import backend
from uotm_keras.exporting.model_card import model_card
from uotm_keras.exporting.published import without_local_paths
from uotm_keras.exporting.served import METADATA, ServedGenerator, load_exported
from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.files import atomic_folder
from uotm_keras.version import __version__

__all__ = [
    "FORMATS",
    "METADATA",
    "ExportableModel",
    "ServedGenerator",
    "export",
    "load_exported",
    "require_packages",
]

FORMATS = ("savedmodel", "onnx", "litert")
_KERAS_NAMES = {"tf_saved_model": "savedmodel"}
_PICTURED = 16


class ExportableModel(Protocol):
    """What `export` needs of a model; a `UOTM` has it.

    Attributes:
        ema_generator: The averaged generator, a built Keras model.
        source: "gaussian", "data" or another name of the source.
        source_shape: The shape of x, without the batch dimension.
        latent_dim: The dimension of z, or None.
        data_shape: The shape of a sample.
        ema_decay: The decay rate of the average.
        step: The number of training steps so far.
        conditions: The `ConditionDistribution` of a conditional model, or None.
    """

    ema_generator: keras.Model
    source: str
    source_shape: tuple[int, ...]
    latent_dim: int | None
    data_shape: tuple[int, ...]
    ema_decay: float
    conditions: Any

    @property
    def step(self) -> keras.Variable: ...

    def generate(self, n: int, seed: int | None = None, *, batch_size: int = ...) -> np.ndarray: ...


def export(
    model: ExportableModel,
    path: str | os.PathLike,
    format: str = "savedmodel",
    *,
    overwrite: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Export the averaged generator as a folder, atomically.

    Args:
        model: A `UOTM`.
        path: The folder to create.
        format: "savedmodel", which Keras calls "tf_saved_model", "onnx" or "litert", see
            above. "onnx" requires the extra `onnx`. Defaults to "savedmodel".
        overwrite: Whether to replace an existing export. Defaults to False.
        metadata: Additional entries of `uotm_keras.json`, such as scores; `model_card` lists
            those that appear on the model card. Paths are reduced to their last component.
            Defaults to None.

    Returns:
        The path of the folder.

    Raises:
        InputError: If the format is unknown, the path exists or cannot be written, a package
            is missing, or TensorFlow cannot load the network.

    Example:
        >>> model = uk.UOTM.from_preset("digits")
        >>> folder = export(model, "digits_model")  # doctest: +SKIP
        >>> load_exported(folder).data_shape  # doctest: +SKIP
        (8, 8, 1)
    """
    format = _KERAS_NAMES.get(format, format)
    require_packages(format)
    path = Path(path)
    if path.suffix in (".onnx", ".tflite"):
        raise InputError(
            f"path={path} names a file, but an export is a folder that holds "
            f"model{path.suffix}; give the name of a folder."
        )
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists; choose another path or pass overwrite=True.")
    if path.exists() and not (path / METADATA).exists():
        raise InputError(
            f"{path} exists and is not an export, so it is not replaced; choose another path."
        )
    gaussian = model.source != "data"
    description = {
        "library": f"uotm_keras {__version__}",
        "format": format,
        "backend": backend.NAME,
        "training_step": int(keras.ops.convert_to_numpy(model.step)),
        "weights": f"average, decay {model.ema_decay}",
        "source_shape": list(model.source_shape),
        "latent_dim": model.latent_dim,
        "gaussian_source": gaussian,
        "data_shape": list(model.data_shape),
        "condition": _describe_condition(model.conditions),
        "output": "float32; images: NHWC in [-1, 1]",
        "parameters": model.ema_generator.count_params(),
        "generator": keras.saving.serialize_keras_object(model.ema_generator),
        **without_local_paths(metadata or {}),
    }
    with atomic_folder(path) as folder:
        write = write_artefact if backend.WRITES_SAVED_MODELS else _write_by_tensorflow
        write(model.ema_generator, folder, format, gaussian)
        pictured = gaussian and len(model.data_shape) == 3 and model.data_shape[-1] in (1, 3)
        pictured = pictured and (model.conditions is None or model.conditions.adapted)
        if pictured:
            from uotm_keras.utils.pictures import save_picture

            samples = model.generate(_PICTURED, seed=0, batch_size=_PICTURED)
            save_picture(samples, folder / "samples.png", columns=8)
        card = model_card(description, picture="samples.png" if pictured else None)
        (folder / "model_card.md").write_text(card, encoding="utf-8")
        (folder / METADATA).write_text(json.dumps(description, indent=1), encoding="utf-8")
    return path


def _describe_condition(conditions: Any) -> dict[str, Any] | None:
    if conditions is None:
        return None
    shares, spec = conditions.frequencies(), conditions.spec
    known = shares is not None and conditions.adapted
    return {
        "shape": list(spec.shape),
        "num_classes": None if spec.num_classes is None else list(spec.num_classes),
        "frequencies": [float(share) for share in shares] if known else None,
    }


def require_packages(format: str) -> None:
    """Check that the packages for a format are installed, without importing them.

    Args:
        format: One of `FORMATS`.

    Raises:
        InputError: If a package is missing or the format is unknown.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    extra = "pip install 'uotm_keras[onnx]'"
    needed = {"savedmodel": [("tensorflow", "pip install tensorflow")]}
    needed["litert"] = needed["savedmodel"]
    needed["onnx"] = [*needed["savedmodel"], ("onnx", extra), ("tf2onnx", extra)]
    for package, command in needed[format]:
        if find_spec(package) is None:
            raise InputError(
                f"format={format!r} requires {package}, which is not installed; run {command}."
            )


def write_artefact(generator: keras.Model, folder: Path, format: str, gaussian: bool) -> None:
    """Write the generator without the other files; requires the TensorFlow backend."""
    if format == "onnx":
        from uotm_keras.exporting.onnx_graph import write_onnx

        write_onnx(generator, folder)
    elif format == "litert":
        from uotm_keras.exporting.lite import write_lite

        write_lite(generator, folder)
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
            f"TensorFlow, which writes the export, cannot load the generator: {reason.rstrip('.')}."
        )
