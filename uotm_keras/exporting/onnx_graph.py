"""Write an ONNX graph; see `uotm_keras.exporting`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from uotm_keras.exporting.saved_model import serving_function, serving_signature
from uotm_keras.networks.base import ConfiguredModel
from uotm_keras.utils.errors import InputError

if TYPE_CHECKING:
    import onnx

FILE = "model.onnx"
OPSET = 18
"""ONNX Runtime 1.14 and later read it."""


def write_onnx(generator: keras.Model, folder: Path) -> None:
    """Write `model.onnx` into `folder`; requires the TensorFlow backend.

    Args:
        generator: A built Keras model with one or two inputs.
        folder: An existing folder.

    Raises:
        InputError: If ONNX lacks an operation of the network.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    generator = in_float32(generator)
    signature = serving_signature(generator)
    function = tf.function(serving_function(generator), input_signature=signature)
    try:
        graph, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)
    except ValueError as error:  # tf2onnx does not know an operation.
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"this generator cannot be converted to ONNX: {reason}.") from error
    _name_ends(graph)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, str(folder / FILE))


def in_float32(generator: keras.Model) -> keras.Model:
    """Return a float32 copy of a network of this library that has a mixed dtype policy.

    ONNX Runtime lacks some operations in bfloat16, and tf2onnx mixes the types of others.
    """
    if not isinstance(generator, ConfiguredModel) or generator.compute_dtype == "float32":
        return generator
    again = type(generator).from_config({**generator.get_config(), "dtype": "float32"})
    again.set_weights(generator.get_weights())
    return again


def _name_ends(model: "onnx.ModelProto") -> None:
    """Name the output `output_0` and every batch dimension `batch`."""
    graph = model.graph
    (output,) = graph.output
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == output.name:
                    names[i] = "output_0"
    output.name = "output_0"
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
