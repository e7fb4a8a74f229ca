"""Write a LiteRT (TensorFlow Lite) model; see `uotm_keras.exporting`."""

from pathlib import Path

import keras

from uotm_keras.exporting.onnx_graph import in_float32

FILE = "model.tflite"


def write_lite(generator: keras.Model, folder: Path) -> None:
    """Write `model.tflite` into `folder`; requires the TensorFlow backend.

    Args:
        generator: A built Keras model with one to three inputs.
        folder: An existing folder.
    """
    in_float32(generator).export(str(folder / FILE), format="litert", verbose=False)
