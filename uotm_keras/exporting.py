"""A trained generator as a TensorFlow SavedModel, for programs that have only TensorFlow.

Signatures, all float32, images (and points) in the network's range, [−1, 1] for images:

- `serve(source, latent)`: source (B, *source_shape), latent (B, latent_dim); T(x, z) as
  `output_0`, (B, *data_shape). Without a latent, `serve(source)`. Any B.
- `sample(n, seed)`: two int32 scalars; n samples as `output_0`. Sample i depends on `seed`
  and i alone. Absent where the model transports a data set.
- `serving_default`: `serve`.

The weights are the average's. `uotm_keras.json` beside them says what was exported.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from uotm_keras import backend
from uotm_keras.errors import InputError
from uotm_keras.files import atomic_folder
from uotm_keras.version import __version__

FORMATS = ("savedmodel",)
METADATA = "uotm_keras.json"


def export(
    model,
    path: str | os.PathLike,
    format: str = "savedmodel",
    *,
    overwrite: bool = False,
    metadata: dict | None = None,
) -> Path:
    """Writes the averaged generator as a SavedModel folder, whole or not at all.

    On JAX and torch a process of its own loads the networks under TensorFlow.

    Args:
        model: a `UOTM`.
        path: the folder to make.
        format: "savedmodel".
        overwrite: whether an existing artefact may be replaced.
        metadata: entries added to `uotm_keras.json`, such as scores.

    Returns:
        The folder.

    Raises:
        InputError: unknown format, something there already, no write permission, no
            TensorFlow, or a network that TensorFlow cannot load.
    """
    if format not in FORMATS:
        raise InputError(f"format={format!r} must be one of {', '.join(FORMATS)}.")
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already: choose another path, or overwrite=True.")
    if path.exists() and not (path / "saved_model.pb").exists():
        raise InputError(f"{path} is there and is no SavedModel: it is not replaced.")
    gaussian = model.source != "data"
    write = write_saved_model if backend.WRITES_SAVED_MODELS else _write_by_tensorflow
    description = {
        "library": f"uotm_keras {__version__}",
        "backend": keras.backend.backend(),
        "training_step": int(keras.ops.convert_to_numpy(model.step)),
        "weights": f"average, decay {model.ema_decay}",
        "source_shape": list(model.source_shape),
        "latent_dim": model.latent_dim,
        "gaussian_source": gaussian,
        "data_shape": list(model.data_shape),
        "output": "float32 in the network's range; images: [-1, 1], NHWC",
        "generator": keras.saving.serialize_keras_object(model.ema_generator),
        **(metadata or {}),
    }
    with atomic_folder(path) as folder:
        write(model.ema_generator, folder, gaussian=gaussian)
        (folder / METADATA).write_text(json.dumps(description, indent=1), encoding="utf-8")
    return path


def write_saved_model(generator: keras.Model, folder: Path, gaussian: bool) -> None:
    """Writes a generator's SavedModel; on the TensorFlow backend only."""
    import tensorflow as tf

    inputs = generator.inputs
    shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
    names = ["source", "latent"][: len(inputs)]
    signature = [
        tf.TensorSpec((None, *shape), tf.float32, name=name)
        for shape, name in zip(shapes, names, strict=True)
    ]

    def serve(*tensors):
        output = generator(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        return tf.cast(output, tf.float32)

    def sample(n, seed):
        def draw(which: int, shape):
            # Counters are used in order, so that sample i is the same whatever n.
            return tf.random.stateless_normal(
                tf.concat([[n], shape], 0), tf.stack([seed, which]), alg="philox"
            )

        return serve(*(draw(i, shape) for i, shape in enumerate(shapes)))

    archive = keras.export.ExportArchive()
    archive.track(generator)
    archive.add_endpoint("serve", serve, input_signature=signature)
    if gaussian:
        scalars = [tf.TensorSpec((), tf.int32, name=name) for name in ("n", "seed")]
        archive.add_endpoint("sample", sample, input_signature=scalars)
    archive.write_out(str(folder), verbose=False)


class ServedGenerator(NamedTuple):
    """The generator of a SavedModel: T(x, z) of float32 arrays, and their shapes."""

    call: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    source_shape: tuple[int, ...]
    latent_dim: int | None
    data_shape: tuple[int, ...]
    gaussian: bool


def load_saved_model(path: str | os.PathLike) -> ServedGenerator:
    """Opens what `export` wrote; needs TensorFlow, whatever backend runs.

    Raises:
        InputError: no such export, a damaged one, or no TensorFlow.
    """
    path = Path(path)
    try:
        description = json.loads((path / METADATA).read_text(encoding="utf-8"))
        source_shape, data_shape = (
            tuple(int(n) for n in description[name]) for name in ("source_shape", "data_shape")
        )
        latent_dim = description["latent_dim"]
        latent_dim = None if latent_dim is None else int(latent_dim)
        gaussian = bool(description["gaussian_source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no SavedModel of uotm_keras: {METADATA} is missing or damaged."
        ) from error
    try:
        import tensorflow as tf

        signatures = tf.saved_model.load(str(path)).signatures
        serve = signatures["serve"]
    except ImportError as error:
        raise InputError(f"{path} is a SavedModel, which needs TensorFlow: {error}.") from error
    except Exception as error:  # TensorFlow's own kinds, for truncated and missing files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as a SavedModel: {reason}.") from error

    def call(source: np.ndarray, latent: np.ndarray | None = None) -> np.ndarray:
        inputs = {"source": tf.constant(source, tf.float32)}
        if latent_dim is not None:
            inputs["latent"] = tf.constant(latent, tf.float32)
        return serve(**inputs)["output_0"].numpy()

    return ServedGenerator(call, source_shape, latent_dim, data_shape, gaussian)


def _write_by_tensorflow(generator: keras.Model, folder: Path, gaussian: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "generator.keras"
        generator.save(archive)
        arguments = [str(archive), str(folder), str(int(gaussian))]
        code = (
            "import sys, pathlib, keras, uotm_keras; from uotm_keras import exporting; "
            "exporting.write_saved_model(keras.saving.load_model(sys.argv[1], compile=False), "
            "pathlib.Path(sys.argv[2]), sys.argv[3] == '1')"
        )
        environment = {
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONPATH": os.pathsep.join(filter(None, map(str, sys.path))),
        }
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(
            f"the SavedModel needs TensorFlow and networks that it can load: {reason}."
        )
