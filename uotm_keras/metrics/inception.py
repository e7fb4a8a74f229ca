"""The Inception network whose features define FID.

It is the graph of TensorFlow's `inception-2015-12-05`, as ported to PyTorch by pytorch-fid
(released names are those of that port), and not `keras.applications.InceptionV3`: average
pooling does not count the padding, the last block uses max pooling, batch normalization has
ε = 1e-3 and a scale, and there are 1008 classes.
"""

import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from uotm_keras import backend
from uotm_keras.metrics.cache import array_hash
from uotm_keras.metrics.inception_weights import is_published, load_inception_weights
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.resizing import FIDPreprocessing, check_preprocessing
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.typing import Tensor

BATCH_NORM_EPSILON = 1e-3
CLASSES = 1008


class _Builder:
    """Adds convolutions under their released names and keeps them.

    Each released convolution is followed by batch normalization; here both are one convolution
    with a bias, because the network is never trained.
    """

    def __init__(self, initializer: str, data_format: str):
        self.initializer = initializer
        self.options = {"dtype": "float32", "trainable": False}
        self.spatial = {**self.options, "data_format": data_format}
        self.channel_axis = -1 if data_format == "channels_last" else 1
        self.convolutions: dict[str, keras.layers.Conv2D] = {}
        self.dense: Any = None

    def conv(
        self,
        x: Tensor,
        name: str,
        filters: int,
        kernel: int | tuple[int, int] = 1,
        strides: int = 1,
        padding: str = "same",
    ) -> Tensor:
        """Apply a convolution with ReLU."""
        layer = keras.layers.Conv2D(
            filters,
            kernel,
            strides,
            padding,
            activation="relu",
            kernel_initializer=self.initializer,
            name=name.replace(".", "_"),
            **self.spatial,
        )
        self.convolutions[name] = layer
        return layer(x)

    def chain(self, x: Tensor, block: str, *steps: tuple[Any, ...]) -> Tensor:
        """Apply convolutions in turn; a step is (name, filters, kernel[, strides, padding])."""
        for name, *arguments in steps:
            x = self.conv(x, f"{block}.{name}", *arguments)
        return x

    def max_pool(self, x: Tensor, name: str | None = None) -> Tensor:
        """Apply the maximum over 3×3 at stride 2."""
        return keras.layers.MaxPooling2D(3, 2, name=name, **self.spatial)(x)

    def same_pool(self, x: Tensor, kind: str = "Average") -> Tensor:
        """Apply the average or maximum over 3×3 at stride 1, without counting the padding."""
        return getattr(keras.layers, f"{kind}Pooling2D")(3, 1, "same", **self.spatial)(x)

    def concatenate(self, branches: list[Tensor], name: str) -> Tensor:
        """Concatenate branches along the channels."""
        return keras.layers.Concatenate(self.channel_axis, name=name, **self.options)(branches)

    def channels_last(self, x: Tensor) -> Tensor:
        """Move the channels to the last axis."""
        if self.channel_axis == -1:
            return x
        return keras.layers.Permute((2, 3, 1), **self.options)(x)


def _block_35(b: _Builder, x: Tensor, name: str, pool_filters: int) -> Tensor:
    branches = [
        b.chain(x, name, ("branch1x1", 64)),
        b.chain(x, name, ("branch5x5_1", 48), ("branch5x5_2", 64, 5)),
        b.chain(
            x, name, ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)
        ),
        b.chain(b.same_pool(x), name, ("branch_pool", pool_filters)),
    ]
    return b.concatenate(branches, name)


def _reduce_to_17(b: _Builder, x: Tensor, name: str) -> Tensor:
    branches = [
        b.chain(x, name, ("branch3x3", 384, 3, 2, "valid")),
        b.chain(
            x,
            name,
            ("branch3x3dbl_1", 64),
            ("branch3x3dbl_2", 96, 3),
            ("branch3x3dbl_3", 96, 3, 2, "valid"),
        ),
        b.max_pool(x),
    ]
    return b.concatenate(branches, name)


def _block_17(b: _Builder, x: Tensor, name: str, width: int) -> Tensor:
    row, column = (1, 7), (7, 1)
    branches = [
        b.chain(x, name, ("branch1x1", 192)),
        b.chain(
            x,
            name,
            ("branch7x7_1", width),
            ("branch7x7_2", width, row),
            ("branch7x7_3", 192, column),
        ),
        b.chain(
            x,
            name,
            ("branch7x7dbl_1", width),
            ("branch7x7dbl_2", width, column),
            ("branch7x7dbl_3", width, row),
            ("branch7x7dbl_4", width, column),
            ("branch7x7dbl_5", 192, row),
        ),
        b.chain(b.same_pool(x), name, ("branch_pool", 192)),
    ]
    return b.concatenate(branches, name)


def _reduce_to_8(b: _Builder, x: Tensor, name: str) -> Tensor:
    branches = [
        b.chain(x, name, ("branch3x3_1", 192), ("branch3x3_2", 320, 3, 2, "valid")),
        b.chain(
            x,
            name,
            ("branch7x7x3_1", 192),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, 3, 2, "valid"),
        ),
        b.max_pool(x),
    ]
    return b.concatenate(branches, name)


def _block_8(b: _Builder, x: Tensor, name: str, pool: str) -> Tensor:
    short = b.chain(x, name, ("branch3x3_1", 384))
    long = b.chain(x, name, ("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, 3))
    branches = [
        b.chain(x, name, ("branch1x1", 320)),
        b.chain(short, name, ("branch3x3_2a", 384, (1, 3))),
        b.chain(short, name, ("branch3x3_2b", 384, (3, 1))),
        b.chain(long, name, ("branch3x3dbl_3a", 384, (1, 3))),
        b.chain(long, name, ("branch3x3dbl_3b", 384, (3, 1))),
        b.chain(b.same_pool(x, pool), name, ("branch_pool", 192)),
    ]
    return b.concatenate(branches, name)


def _build(b: _Builder, preprocessing: str) -> keras.Model:
    images = keras.Input((None, None, 3), dtype="float32", name="images")
    x = FIDPreprocessing(preprocessing, name="preprocessing")(images)
    if b.channel_axis == 1:
        x = keras.layers.Permute((3, 1, 2), **b.options)(x)
    x = b.conv(x, "Conv2d_1a_3x3", 32, 3, 2, "valid")
    x = b.conv(x, "Conv2d_2a_3x3", 32, 3, 1, "valid")
    x = b.conv(x, "Conv2d_2b_3x3", 64, 3)
    x = block64 = b.max_pool(x, "block64")
    x = b.conv(x, "Conv2d_3b_1x1", 80)
    x = b.conv(x, "Conv2d_4a_3x3", 192, 3, 1, "valid")
    x = block192 = b.max_pool(x, "block192")
    x = _block_35(b, x, "Mixed_5b", 32)
    x = _block_35(b, x, "Mixed_5c", 64)
    x = _block_35(b, x, "Mixed_5d", 64)
    x = _reduce_to_17(b, x, "Mixed_6a")
    x = _block_17(b, x, "Mixed_6b", 128)
    x = _block_17(b, x, "Mixed_6c", 160)
    x = _block_17(b, x, "Mixed_6d", 160)
    x = block768 = _block_17(b, x, "Mixed_6e", 192)
    x = _reduce_to_8(b, x, "Mixed_7a")
    x = _block_8(b, x, "Mixed_7b", "Average")
    x = _block_8(b, x, "Mixed_7c", "Max")
    pool3 = keras.layers.GlobalAveragePooling2D(name="pool3", **b.spatial)(x)
    b.dense = keras.layers.Dense(
        CLASSES, use_bias=False, kernel_initializer=b.initializer, name="logits", **b.options
    )
    outputs = {
        "block64": b.channels_last(block64),
        "block192": b.channels_last(block192),
        "block768": b.channels_last(block768),
        "pool3": pool3,
        "logits": b.dense(pool3),
    }
    return keras.Model(images, outputs, name="fid_inception_v3")


def fid_inception_v3(
    weights: str | os.PathLike | Mapping[str, np.ndarray] | None = None,
    preprocessing: str = "pytorch_fid",
    data_format: str | None = None,
) -> keras.Model:
    """Build the FID Inception network, from images to features.

    Args:
        weights: `"fid"`, the published weights, which are downloaded once; the path of
            pytorch-fid's or torch-fidelity's `.pth` (read without PyTorch) or of an `.npz`
            of the same arrays; a dict from released name to array; None for random weights.
            `"imagenet"` gives `keras.applications.InceptionV3` instead, whose scores are
            not comparable with published FIDs.
        preprocessing: `"pytorch_fid"` (half-pixel bilinear resize, to [−1, 1]) or `"tf1"`
            (the original graph's resize and (x − 128)/128, as in torch-fidelity).
        data_format: layout inside the network, which affects only its speed. Defaults to the
            backend's preferred layout.

    Returns:
        A model of (B, H, W, 3) images, uint8 or floats in [0, 255], of any size. Its
        outputs are a dict of float32 tensors: `pool3` (B, 2048), the features of FID;
        `logits` (B, 1008) without the bias, those of the Inception Score; and the maps
        `block64` (B, 73, 73, 64), `block192` (B, 35, 35, 192), `block768`
        (B, 17, 17, 768). `"imagenet"` has only pool3 and logits (B, 1000).

    Raises:
        InputError: the weights cannot be read or do not fit; all mismatches are listed.

    Example:
        >>> model = fid_inception_v3()
        >>> outputs = model(np.zeros((2, 32, 32, 3), "uint8"))
        >>> tuple(outputs["pool3"].shape)
        (2, 2048)
    """
    check_preprocessing(preprocessing)
    if isinstance(weights, str) and weights == "imagenet":
        from uotm_keras.metrics.inception_imagenet import imagenet_inception

        return imagenet_inception()
    data_format = data_format or backend.CONVOLUTION_FORMAT
    state = None if weights is None else load_inception_weights(weights)
    builder = _Builder("glorot_uniform" if state is None else "zeros", data_format)
    model = _build(builder, preprocessing)
    if state is not None:
        _assign(builder, state)
        digest = inception_hash(state)
    else:
        digest = array_hash({str(i): value for i, value in enumerate(model.get_weights())})
    published = weights is not None and is_published(weights)
    model.network = Network("FID Inception v3 (2015-12-05)", digest, preprocessing, published)
    return model


def inception_hash(state: Mapping[str, np.ndarray]) -> str:
    """Return a hash of the weights that does not depend on the file they came from."""
    return array_hash({n: a for n, a in state.items() if not n.endswith("num_batches_tracked")})


def released_shapes(builder: _Builder) -> dict[str, tuple[int, ...]]:
    """Return the shape of every released array that is used."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in builder.convolutions.items():
        height, width, inputs, outputs = layer.kernel.shape
        shapes[f"{name}.conv.weight"] = (outputs, inputs, height, width)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = (outputs,)
    shapes["fc.weight"] = (CLASSES, 2048)
    shapes["fc.bias"] = (CLASSES,)  # checked, but not used in the logits
    return shapes


def _assign(builder: _Builder, state: Mapping[str, np.ndarray]) -> None:
    expected = released_shapes(builder)
    missing = [name for name in expected if name not in state]
    unused = [n for n in state if n not in expected and not n.endswith("num_batches_tracked")]
    misshaped = [
        f"{name} {np.shape(state[name])} instead of {shape}"
        for name, shape in expected.items()
        if name in state and np.shape(state[name]) != shape
    ]
    if missing or unused or misshaped:
        raise InputError(
            "these weights are not those of the FID Inception network: "
            f"{_some(missing)} missing; {_some(unused)} unused; "
            f"{_some(misshaped)} of another shape."
        )
    for name, layer in builder.convolutions.items():
        kernel = np.asarray(state[f"{name}.conv.weight"], "float64")
        gain, offset, mean, variance = (
            np.asarray(state[f"{name}.bn.{part}"], "float64")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = kernel.transpose(2, 3, 1, 0) * gain
        layer.set_weights([kernel.astype("float32"), (offset - mean * gain).astype("float32")])
    builder.dense.set_weights([np.asarray(state["fc.weight"], "float32").T])


def _some(names: list[str], shown: int = 3) -> str:
    if not names:
        return "none"
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} ({', '.join(names[:shown])}{rest})"
