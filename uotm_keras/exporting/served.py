"""Load what `uotm_keras.exporting.export` wrote, as a function of arrays."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uotm_keras.utils.errors import InputError

METADATA = "uotm_keras.json"


class ServedGenerator(NamedTuple):
    """The generator of an export.

    Attributes:
        call: T(x, z | c) of float32 arrays (B, *source_shape) and (B, latent_dim) or None, and
            of the conditions of a conditional generator.
        source_shape: The shape of x, without the batch dimension.
        latent_dim: The dimension of z, or None if the generator has no latent input.
        data_shape: The shape of a sample.
        gaussian: Whether the source is Gaussian noise.
        condition: The `shape` of a condition, the `num_classes` of its labels (None for
            vectors), their `frequencies` in the training data and their `class_names`, where
            these are known; None for an unconditional generator.
    """

    call: Callable[..., np.ndarray]
    source_shape: tuple[int, ...]
    latent_dim: int | None
    data_shape: tuple[int, ...]
    gaussian: bool
    condition: Mapping[str, Any] | None = None


def load_exported(path: str | os.PathLike) -> ServedGenerator:
    """Load an export, on any backend.

    A SavedModel requires TensorFlow, an ONNX graph onnxruntime (the extra `onnx`), and a LiteRT
    model ai-edge-litert (the extra `litert`).

    Args:
        path: The folder that `export` wrote.

    Returns:
        The `ServedGenerator`.

    Raises:
        InputError: If the folder is not an export or is damaged, or if a package is missing.
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
        condition = _condition(description)
        opened = {"savedmodel": _saved_model, "onnx": _onnx, "litert": _litert}[
            description.get("format", "savedmodel")
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not an export of uotm_keras: {METADATA} is missing or damaged."
        ) from error
    run = opened(path)

    def call(
        source: np.ndarray, latent: np.ndarray | None = None, given: np.ndarray | None = None
    ) -> np.ndarray:
        inputs = {"source": np.asarray(source, "float32")}
        if latent_dim is not None:
            inputs["latent"] = np.asarray(latent, "float32")
        if condition is not None:
            dtype = "float32" if condition["num_classes"] is None else "int32"
            inputs["condition"] = np.asarray(given, dtype)
        try:
            return run(inputs)
        except Exception as error:  # The engines raise their own kinds.
            raise InputError(
                f"{path} does not accept the inputs that its {METADATA} describes: "
                f"{_first_line(error)}."
            ) from error

    return ServedGenerator(call, source_shape, latent_dim, data_shape, gaussian, condition)


def _condition(description: Mapping[str, Any]) -> dict[str, Any] | None:
    recorded = description.get("condition")  # exports of earlier versions have none
    if recorded is None:
        return None
    counts = recorded["num_classes"]
    return {
        "shape": tuple(int(n) for n in recorded["shape"]),
        "num_classes": None if counts is None else tuple(int(n) for n in counts),
        "frequencies": recorded.get("frequencies"),
        "class_names": description.get("class_names"),
    }


def _saved_model(path: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    try:
        import tensorflow as tf

        serve = tf.saved_model.load(str(path)).signatures["serve"]
    except ImportError as error:
        raise InputError(f"{path} is a SavedModel, which requires TensorFlow: {error}.") from error
    except Exception as error:  # TensorFlow raises its own kinds for damaged files.
        raise InputError(f"{path} cannot be read as a SavedModel: {_first_line(error)}.") from error

    return lambda inputs: serve(
        **{name: tf.constant(array) for name, array in inputs.items()}
    )["output_0"].numpy()  # fmt: skip


def _onnx(path: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    file = path / "model.onnx"
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(
            str(file), options, providers=onnxruntime.get_available_providers()
        )
    except ImportError as error:
        raise InputError(
            f"{path} is an ONNX export, which requires onnxruntime ({error}): "
            "pip install 'uotm_keras[onnx]'."
        ) from error
    except Exception as error:  # onnxruntime raises its own kinds.
        raise InputError(f"{file} cannot be read as ONNX: {_first_line(error)}.") from error
    return lambda inputs: session.run(["output_0"], inputs)[0]


def _litert(path: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    file = path / "model.tflite"
    try:
        from ai_edge_litert.interpreter import Interpreter

        run = Interpreter(model_path=str(file)).get_signature_runner()
    except ImportError as error:
        raise InputError(
            f"{path} is a LiteRT export, which requires ai-edge-litert ({error}): "
            "pip install 'uotm_keras[litert]'."
        ) from error
    except Exception as error:  # ai-edge-litert raises its own kinds.
        raise InputError(f"{file} cannot be read by LiteRT: {_first_line(error)}.") from error
    return lambda inputs: run(**inputs)["output_0"]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
