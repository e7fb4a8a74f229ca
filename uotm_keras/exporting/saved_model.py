"""The SavedModel and its signatures; see `uotm_keras.exporting`."""

from pathlib import Path

import keras


def serving_signature(generator: keras.Model) -> list:
    """The `tf.TensorSpec`s of `serve`: `source` and, where there is one, `latent`; any batch."""
    import tensorflow as tf

    inputs = generator.inputs
    return [
        tf.TensorSpec((None, *tensor.shape[1:]), tf.float32, name=name)
        for tensor, name in zip(inputs, ["source", "latent"][: len(inputs)], strict=True)
    ]


def serving_function(generator: keras.Model):
    """T(x, z) of float32 tensors, whatever the generator's dtype policy."""
    import tensorflow as tf

    def serve(*tensors):
        output = generator(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        return tf.cast(output, tf.float32)

    return serve


def write_saved_model(generator: keras.Model, folder: Path, gaussian: bool) -> None:
    """Writes a SavedModel into `folder`; on the TensorFlow backend only.

    Args:
        generator: a built Keras model of one or two inputs.
        folder: exists and is empty.
        gaussian: whether it gets the signature `sample`.
    """
    import tensorflow as tf

    signature, serve = serving_signature(generator), serving_function(generator)

    def sample(n, seed):
        def draw(which: int, shape):
            # Counters are used in order, so that sample i is the same whatever n.
            return tf.random.stateless_normal(
                tf.concat([[n], shape], 0), tf.stack([seed, which]), alg="philox"
            )

        return serve(*(draw(i, spec.shape[1:]) for i, spec in enumerate(signature)))

    archive = keras.export.ExportArchive()
    archive.track(generator)
    archive.add_endpoint("serve", serve, input_signature=signature)
    if gaussian:
        scalars = [tf.TensorSpec((), tf.int32, name=name) for name in ("n", "seed")]
        archive.add_endpoint("sample", sample, input_signature=scalars)
    archive.write_out(str(folder), verbose=False)
