"""Write a SavedModel and its signatures; see `uotm_keras.exporting`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from uotm_keras.networks.conditioning import INPUT
from uotm_keras.utils.typing import Tensor

if TYPE_CHECKING:
    import tensorflow as tf


def serving_signature(generator: keras.Model) -> "list[tf.TensorSpec]":
    """Return the specs of `source`, and of `latent` and `condition` if the generator has them."""
    import tensorflow as tf

    noise = iter(("source", "latent"))
    return [
        tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=INPUT)
        if tensor.name == INPUT
        else tf.TensorSpec((None, *tensor.shape[1:]), tf.float32, name=next(noise))
        for tensor in generator.inputs
    ]


def serving_function(generator: keras.Model) -> Callable[..., Tensor]:
    """Return T(x, z | c) in float32, whatever the generator's dtype policy."""
    import tensorflow as tf

    def serve(*tensors: Tensor) -> Tensor:
        output = generator(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        return tf.cast(output, tf.float32)

    return serve


def write_saved_model(generator: keras.Model, folder: Path, gaussian: bool) -> None:
    """Write a SavedModel into `folder`; requires the TensorFlow backend.

    Args:
        generator: A built Keras model of x, z and a condition.
        folder: An existing, empty folder.
        gaussian: Whether the source is Gaussian noise, so that the model gets the signature
            `sample`.
    """
    import tensorflow as tf

    signature, serve = serving_signature(generator), serving_function(generator)

    noise = [spec for spec in signature if spec.name != INPUT]

    def serve_any(*tensors: Tensor) -> Tensor:
        # Reshapes in the networks cannot infer the sizes of an empty batch.
        rows = tf.shape(tensors[0])[0]
        missing = tf.cast(tf.equal(rows, 0), tf.int32)
        filled = [tf.concat([x, tf.zeros([missing, *x.shape[1:]], x.dtype)], 0) for x in tensors]
        return serve(*filled)[:rows]

    def sample(n: Tensor, seed: Tensor, *condition: Tensor) -> Tensor:
        def draw(which: int, shape: Tensor) -> Tensor:
            # Counter-based: sample i does not depend on n.
            return tf.random.stateless_normal(
                tf.concat([[n], shape], 0), tf.stack([seed, which]), alg="philox"
            )

        return serve_any(*(draw(i, spec.shape[1:]) for i, spec in enumerate(noise)), *condition)

    archive = keras.export.ExportArchive()
    archive.track(generator)
    archive.add_endpoint("serve", serve_any, input_signature=signature)
    if gaussian:
        scalars = [tf.TensorSpec((), tf.int32, name=name) for name in ("n", "seed")]
        archive.add_endpoint("sample", sample, input_signature=scalars + signature[len(noise) :])
    archive.write_out(str(folder), verbose=False)
