"""From images to features: the FID network, or any model or function of the user's."""

import hashlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import ops

from uotm_keras.metrics.cache import array_hash
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.statistics import check_features
from uotm_keras.utils.errors import InputError, unknown_name

NAMED = ("fid", "imagenet", "digits", "mnist5k", "features")
BATCH_SIZE = 64


class Extractor:
    """Calls a network on images and says which network it is.

    Args:
        function: images to features (n, d), or to a dict with `features` or `pool3` and,
            for the Inception Score, `logits`.
        network: what it is.
        check: looks at the images before the call, and may alter them.
        batch_size: images a call; None: as many as there are.

    Call arguments:
        images: (n, H, W, C); returns a dict of float arrays, `features` (n, d) and perhaps
            `logits` (n, classes).
    """

    def __init__(
        self,
        function: Callable,
        network: Network,
        check: Callable[[np.ndarray], np.ndarray] | None = None,
        batch_size: int | None = None,
    ):
        self.function = function
        self.network = network
        self.check = check
        self.batch_size = batch_size

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        images = np.asarray(images)
        if images.ndim == 0 or len(images) == 0:
            raise InputError(f"images have shape {images.shape}: there must be at least one.")
        if self.check is not None:
            images = self.check(images)
        if self.batch_size is None:
            return self._features(images)
        parts = [
            {name: value[:count] for name, value in self._features(batch).items()}
            for batch, count in _padded_batches(images, self.batch_size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self.function(images)
        if not isinstance(outputs, dict):
            outputs = {"features": outputs}
        if "features" not in outputs and "pool3" in outputs:
            outputs = {"features": outputs["pool3"], **outputs}
        if "features" not in outputs:
            raise InputError(
                f"the feature extractor gives {', '.join(map(repr, outputs))}: accepted are an "
                "array, or a dict with 'features' or 'pool3' and perhaps 'logits'."
            )
        arrays = {
            name: ops.convert_to_numpy(outputs[name])
            for name in ("features", "logits")
            if name in outputs
        }
        for name, array in arrays.items():
            check_features(array, f"the extractor's {name}")
            if len(array) != len(images):
                raise InputError(
                    f"the feature extractor gave {len(array)} {name} for {len(images)} images."
                )
        return arrays


def _padded_batches(images: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Batches of few different lengths, so that few shapes are compiled."""
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        count = len(batch)
        length = min(size, 1 << (count - 1).bit_length())
        if length > count:
            padding = np.zeros((length - count, *batch.shape[1:]), batch.dtype)
            batch = np.concatenate([batch, padding])
        yield batch, count


def check_fid_images(images: np.ndarray) -> np.ndarray:
    """Images for the Inception network: (n, H, W, 3), grey ones repeated, in [0, 255].

    Raises:
        InputError: another shape, or a range that is plainly another one: a silent mistake
            here gives a number that looks like an FID.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(
            f"images have shape {images.shape}: accepted are (n, height, width, 3) and "
            "(n, height, width, 1)."
        )
    if images.dtype != np.uint8:
        if images.dtype.kind not in "fiu":
            raise InputError(f"images have type {images.dtype}: accepted are uint8 and floats.")
        low, high = float(images.min()), float(images.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError("images hold NaN or infinite values.")
        if low < 0 or high > 255 or 0 < high <= 1:
            raise InputError(
                f"images range from {low:.4g} to {high:.4g}: accepted are uint8 or floats in "
                "[0, 255]; say value_range=(-1, 1) or (0, 1) for others."
            )
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def to_uint8(images: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Images as they would be saved: scaled from `value_range`, clipped, rounded to uint8.

    Args:
        images: floats of any shape.
        value_range: what is black and what is white.

    Raises:
        InputError: NaN or infinite values, or an empty range.
    """
    low, high = value_range
    if not high > low:
        raise InputError(f"value_range={value_range!r}: accepted are two rising numbers.")
    images = np.asarray(images, "float32")
    if not np.isfinite(images).all():
        raise InputError("images hold NaN or infinite values.")
    scaled = (images - low) * (255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype("uint8")


def as_extractor(extractor: object = "fid", preprocessing: str = "pytorch_fid") -> Extractor:
    """Makes an `Extractor` of what users pass.

    Args:
        extractor: `"fid"` (published weights), `"imagenet"` (keras.applications), `"digits"`
            or `"mnist5k"` (the small offline classifiers), `"features"` (the arrays are
            features already); a model of `fid_inception_v3`; any Keras model or function
            from images to features (n, d); or an `Extractor`.
        preprocessing: for `"fid"`.

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
        from uotm_keras.metrics.digit_features import digit_extractor

        return digit_extractor(name)
    if name in ("fid", "imagenet"):
        from uotm_keras.metrics.inception import fid_inception_v3

        return _model_extractor(fid_inception_v3(name, preprocessing))
    raise unknown_name("extractor", name, NAMED)


def _model_extractor(model: keras.Model) -> Extractor:
    network = getattr(model, "network", None)
    if isinstance(network, Network):
        wanted = {"pool3": model.output["pool3"], "logits": model.output["logits"]}
        model = keras.Model(model.input, wanted)  # the maps would cost memory and time
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
    except Exception:  # subclassed models need not describe themselves
        return type(model).__qualname__
