"""The two ways in which FID implementations resize images to 299 × 299 pixels."""

from typing import Any

import keras
import numpy as np
from keras import ops

from uotm_keras.utils.errors import unknown_name
from uotm_keras.utils.typing import Tensor

# The position from which output pixel i is read, given the scale s = input size / output size,
# and the normalization that follows, as in the programs that define published FIDs.
PREPROCESSINGS = {
    "pytorch_fid": "half-pixel bilinear, src = (i + 1/2)·s − 1/2, then 2x/255 − 1",
    "tf1": "TensorFlow 1's bilinear, src = i·s, then (x − 128)/128",
}


def check_preprocessing(name: str) -> str:
    """Return the name if it is one of `PREPROCESSINGS`; raise `InputError` otherwise."""
    if name not in PREPROCESSINGS:
        raise unknown_name("preprocessing", name, PREPROCESSINGS)
    return name


def source_pixels(size: Tensor, out_size: int, preprocessing: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return which two input pixels make each output pixel, and in what proportion.

    Args:
        size: height or width of the input (int or tensor).
        out_size: height or width of the output.
        preprocessing: `"pytorch_fid"` or `"tf1"`.

    Returns:
        (lower, upper, fraction): two int32 index tensors and the float32 weight of
        `upper`, each (out_size,), in float32 as in the original programs.
    """
    size = ops.cast(size, "int32")
    scale = ops.cast(size, "float32") / np.float32(out_size)
    index = ops.arange(out_size, dtype="float32")
    if preprocessing == "pytorch_fid":
        source = ops.maximum((index + 0.5) * scale - 0.5, 0.0)
    else:
        source = index * scale
    lower = ops.minimum(ops.cast(ops.floor(source), "int32"), size - 1)
    upper = ops.minimum(lower + 1, size - 1)
    return lower, upper, source - ops.cast(lower, "float32")


@keras.saving.register_keras_serializable("uotm_keras")
class FIDPreprocessing(keras.layers.Layer):
    """Resizes and normalizes images as one of the FID programs does.

    Neither of them antialiases when it shrinks an image.

    Args:
        preprocessing: `"pytorch_fid"` or `"tf1"`.
        size: height and width of the output. Defaults to 299.

    Call arguments:
        images: (B, H, W, 3) in [0, 255], any H and W; returns (B, size, size, 3) float32.
    """

    def __init__(self, preprocessing: str = "pytorch_fid", size: int = 299, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.preprocessing = check_preprocessing(preprocessing)
        self.size = size

    def call(self, images: Tensor) -> Tensor:
        images = ops.cast(images, "float32")
        if self.preprocessing == "pytorch_fid":
            images = images / 255.0
        for axis in (1, 2):
            lower, upper, fraction = source_pixels(
                ops.shape(images)[axis], self.size, self.preprocessing
            )
            fraction = ops.reshape(fraction, (-1, 1, 1) if axis == 1 else (-1, 1))
            below = ops.take(images, lower, axis=axis)
            above = ops.take(images, upper, axis=axis)
            images = below + (above - below) * fraction
        if self.preprocessing == "pytorch_fid":
            return 2.0 * images - 1.0
        return (images - 128.0) / 128.0

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], self.size, self.size, shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "preprocessing": self.preprocessing, "size": self.size}
