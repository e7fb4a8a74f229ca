"""keras.applications' Inception instead of the FID network; its scores have another scale."""

import keras

from uotm_keras.metrics.cache import array_hash
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.resizing import FIDPreprocessing
from uotm_keras.utils.errors import InputError


def imagenet_inception(weights: str | None = "imagenet") -> keras.Model:
    """Build `keras.applications.InceptionV3` with the interface of `fid_inception_v3`.

    Args:
        weights: `"imagenet"` (default), which Keras downloads; the path of a file for
            `keras.applications`; or None for random weights.

    Returns:
        A model of images in [0, 255] of any size; outputs `pool3` (B, 2048) and `logits`
        (B, 1000) without the bias. Its scores are not comparable with published FIDs.

    Raises:
        InputError: Keras cannot download or read the weights.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # a model in training may use another
    try:
        network = keras.applications.InceptionV3(weights=weights, input_shape=(299, 299, 3))
    except Exception as error:  # URL, HTTP and HDF5 errors of many kinds
        raise InputError(
            f"keras.applications.InceptionV3(weights={weights!r}) cannot be loaded: {error}"
        ) from error
    finally:
        keras.config.set_dtype_policy(policy)
    network.trainable = False
    features = keras.Model(network.input, network.layers[-2].output)
    top = network.layers[-1]
    logits = keras.layers.Dense(top.units, use_bias=False, dtype="float32", name="logits")
    images = keras.Input((None, None, 3), dtype="float32", name="images")
    # 2x/255 − 1 is also the normalization of keras.applications.
    pool3 = features(FIDPreprocessing("pytorch_fid", name="preprocessing")(images))
    model = keras.Model(
        images, {"pool3": pool3, "logits": logits(pool3)}, name="imagenet_inception_v3"
    )
    logits.set_weights([top.get_weights()[0]])
    digest = array_hash({str(i): value for i, value in enumerate(network.get_weights())})
    model.network = Network("keras.applications.InceptionV3", digest, "pytorch_fid")
    return model
