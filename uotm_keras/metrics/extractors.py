"""Feature extractors by name, and of any model or function of the user."""

import hashlib

import keras
import numpy as np

from uotm_keras.metrics.cache import array_hash
from uotm_keras.metrics.digit_features import digit_extractor
from uotm_keras.metrics.extractor import Extractor, check_fid_images
from uotm_keras.metrics.inception import fid_inception_v3
from uotm_keras.metrics.network import Network
from uotm_keras.utils.errors import InputError, unknown_name

__all__ = ["as_extractor"]

NAMED = ("fid", "imagenet", "digits", "mnist5k", "features")
BATCH_SIZE = 64


def as_extractor(extractor: object = "fid", preprocessing: str = "pytorch_fid") -> Extractor:
    """Return an `Extractor` for a name, a model or a function.

    Args:
        extractor: `"fid"` (the published weights), `"imagenet"` (keras.applications), `"digits"`
            or `"mnist5k"` (the small offline classifiers), `"features"` (the arrays are
            features already); a model of `fid_inception_v3`; any Keras model or function
            from images to features (n, d); or an `Extractor`.
        preprocessing: of `"fid"`: `"pytorch_fid"` (default) or `"tf1"`.

    Raises:
        InputError: anything else.
    """
    if isinstance(extractor, Extractor):
        return extractor
    if isinstance(extractor, str):
        return _named(extractor, preprocessing)
    if isinstance(extractor, keras.Model):
        return _model_extractor(extractor)
    if callable(extractor):
        name = getattr(extractor, "__name__", type(extractor).__name__)
        fingerprint = getattr(extractor, "fingerprint", "")
        return Extractor(extractor, Network(str(name), str(fingerprint), "as given"))
    raise InputError(
        f"extractor={extractor!r}: accepted are {', '.join(map(repr, NAMED))}, a Keras model "
        "or a function from images to features."
    )


def _named(name: str, preprocessing: str) -> Extractor:
    if name == "features":
        return Extractor(lambda features: features, Network("features as given", "", ""))
    if name in ("digits", "mnist5k"):
        return digit_extractor(name)
    if name in ("fid", "imagenet"):
        return _model_extractor(fid_inception_v3(name, preprocessing))
    raise unknown_name("extractor", name, NAMED)


def _model_extractor(model: keras.Model) -> Extractor:
    network = getattr(model, "network", None)
    if isinstance(network, Network):
        wanted = {"pool3": model.output["pool3"], "logits": model.output["logits"]}
        model = keras.Model(model.input, wanted)  # without the maps, which cost memory and time
        return Extractor(model.predict_on_batch, network, check_fid_images, BATCH_SIZE)
    weights = model.get_weights()
    digest = hashlib.sha256(repr(_architecture(model)).encode()).hexdigest()
    digest = array_hash({digest: np.zeros(0), **{str(i): w for i, w in enumerate(weights)}})
    return Extractor(
        model.predict_on_batch, Network(model.name, digest, "as given"), None, BATCH_SIZE
    )


def _architecture(model: keras.Model) -> object:
    try:
        return model.get_config()
    except Exception:  # subclassed models need not have a config
        return type(model).__qualname__
