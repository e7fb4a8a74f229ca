"""A score of any images that needs no download: features of an encoder trained on the data.

It is FID's formula with the features of a small convolutional network that learns, from the real
images alone, to tell which of ten alterations an image has undergone. Its features therefore
depend on blur, noise, and the arrangement of parts, and differ between kinds of images. Each
dataset has an encoder of its own: scores can be compared only on the same data.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
from keras import layers
from scipy.ndimage import gaussian_filter

from uotm_keras import backend
from uotm_keras.data.pixels import convert_channels, from_uint8
from uotm_keras.metrics.cache import array_hash, cache_folder, keep_arrays, text_hash
from uotm_keras.metrics.extractor import Extractor
from uotm_keras.metrics.network import Network
from uotm_keras.metrics.samples import ImageSet, image_set
from uotm_keras.metrics.statistics import frechet_distance
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.npz import read_arrays

SCORE_NAME = "own-feature Fréchet distance, not FID"
NOTE = "Own-feature Fréchet distances can be compared only on the same data."
SIDE = 32
DIM = 64
STEPS = 400
BATCH_SIZE = 128
MOST_IMAGES = 20_000
"""The number of images that an encoder is trained on at most; they are evenly spaced."""
FEWEST_IMAGES = 50
_WIDTH = 32
_RATE = 1e-3
_THUMBNAIL_WEIGHT = 10.0
_RECIPE = 1  # Increased when a cached encoder would differ from the one described here.


def own_extractor(
    reference: object,
    *,
    seed: int = 0,
    steps: int = STEPS,
    progress: Callable[[int], None] | None = None,
) -> Extractor:
    """Return an encoder trained on real images, as a feature extractor for all metrics.

    It is trained once, in minutes, and cached by content, recipe, seed, and backend. On one
    machine, a seed gives the same encoder each time.

    Args:
        reference: Real images: a uint8 array (n, H, W, 1 or 3), a dataset, a folder, or an
            `.npz` file of images. Images of other sizes are resized to 32 × 32 pixels.
        seed: Seed for the initial weights, the order of the images, and their alterations.
            Defaults to 0.
        steps: Number of training steps with 128 images each. Defaults to 400.
        progress: Called with 1 after each training step. Defaults to `None`.

    Returns:
        A function of uint8 images (n, H, W, 1 or 3) that returns a dict with `features`
        (n, 64), whose variance over the real images is 1 on average.

    Raises:
        InputError: If there are fewer than 50 images, or only their statistics are given.

    Example:

    ```python
    encoder = uk.metrics.own_extractor(images)
    features = encoder(images)["features"]
    result = uk.metrics.evaluate_images(batches, images, ("fid", "pr", "dc"), encoder)
    ```
    """
    images = image_set(reference)
    if images is None:
        raise InputError(
            "metric 'own' trains an encoder on the real images: give a dataset, a folder or an "
            "array instead of statistics."
        )
    if len(images) < FEWEST_IMAGES:
        raise InputError(
            f"metric 'own' needs at least {FEWEST_IMAGES} reference images: {images.description()} "
            f"has {len(images)}."
        )
    key = text_hash(images.fingerprint(), _RECIPE, seed, steps, backend.NAME)
    path = cache_folder("own_features", f"{key[:32]}.npz")
    encoder = None
    if path.is_file():
        # A damaged file: train again.
        with contextlib.suppress(InputError, KeyError, ValueError):
            encoder = _read(path)
    if encoder is None:
        with _one_device():
            encoder = _train(_small_images(images), seed, steps, progress)
        keep_arrays(path, {f"w{i:02d}": weight for i, weight in enumerate(encoder.get_weights())})
    return _extractor(encoder)


def real_against_real(
    features: np.ndarray, count: int, splits: int = 5, seed: int = 0
) -> tuple[float, int]:
    """Return the mean Fréchet distance between disjoint random parts of the real images.

    Args:
        features: Features of the real images (n, d), n at least 4.
        count: Number of images in each of the two parts, at most n // 2, which larger values
            are reduced to.
        splits: Number of random splits. Defaults to 5.
        seed: Seed for the splits. Defaults to 0.

    Returns:
        The distance, and the number of images per part.
    """
    count = min(count, len(features) // 2)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(splits):
        order = rng.permutation(len(features))
        moments: list[np.ndarray] = []
        for part in (features[order[:count]], features[order[count : 2 * count]]):
            moments += [part.mean(axis=0, dtype=float), np.cov(part, rowvar=False, dtype=float)]
        values.append(frechet_distance(*moments))
    return float(np.mean(values)), count


@contextlib.contextmanager
def _one_device() -> Iterator[None]:
    """Create and run the encoder on one device of this process, also in the middle of a job."""
    current = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(current)


def _resized(images: np.ndarray, channels: int) -> np.ndarray:
    """Images as the encoder takes them, uint8 (n, 32, 32, channels)."""
    from PIL import Image

    images = convert_channels(images, channels)
    if images.shape[1:3] == (SIDE, SIDE):
        return images
    small = np.empty((len(images), SIDE, SIDE, channels), np.uint8)
    for place, image in zip(small, images, strict=True):
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        place[...] = np.asarray(picture).reshape(place.shape)
    return small


def _small_images(images: ImageSet) -> np.ndarray:
    chosen = np.zeros(len(images), bool)
    chosen[np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).astype(int)] = True
    parts, start = [], 0
    for batch in images.batches():
        part = batch[chosen[start : start + len(batch)]]
        parts.append(_resized(part, batch.shape[-1]))
        start += len(batch)
    return np.concatenate(parts)


def _extractor(encoder: keras.Model) -> Extractor:
    channels = encoder.input_shape[-1]

    def check(images: np.ndarray) -> np.ndarray:
        if images.ndim != 4 or images.dtype != np.uint8:
            raise InputError(
                f"images have shape {images.shape} and type {images.dtype}: the encoder accepts "
                "uint8 images (n, height, width, channels)."
            )
        return _resized(images, channels)

    def features(images: np.ndarray) -> np.ndarray:
        with _one_device():
            return encoder.predict_on_batch(from_uint8(images))

    weights = {str(i): weight for i, weight in enumerate(encoder.get_weights())}
    network = Network("encoder trained on the data", array_hash(weights), "32 × 32, bilinear")
    return Extractor(features, network, check, batch_size=256)


def _encoder(channels: int, seed: int) -> keras.Model:
    """Five convolutions, of stride 2 or 1, down to 4 × 4, and a linear layer."""
    seeds = iter(np.random.SeedSequence(seed).generate_state(6).tolist())
    # Named, so that the names of the user's own layers do not depend on it.
    images = keras.Input((SIDE, SIDE, channels), name="own_images")
    x = images
    for i, (width, stride) in enumerate(((1, 2), (1, 1), (2, 2), (2, 1), (4, 2))):
        x = layers.Conv2D(
            width * _WIDTH, 4 if i == 0 else 3, stride, "same", activation="relu",
            kernel_initializer=keras.initializers.HeNormal(next(seeds)),
            data_format="channels_last", dtype="float32", name=f"own_conv{i}",
        )(x)  # fmt: skip
    x = layers.Flatten("channels_last", dtype="float32", name="own_flat")(x)
    x = layers.Dense(
        DIM, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), dtype="float32",
        name="own_features",
    )(x)  # fmt: skip
    return keras.Model(images, x, name="own_encoder")


def _read(path: Path) -> keras.Model:
    arrays = read_arrays(path)
    weights = [arrays[name] for name in sorted(arrays)]
    with _one_device():
        encoder = _encoder(weights[0].shape[2], 0)
        encoder.set_weights(weights)
    return encoder


def _train(
    images: np.ndarray, seed: int, steps: int, progress: Callable[[int], None] | None
) -> keras.Model:
    encoder = _encoder(images.shape[-1], seed)
    rectified = layers.Activation("relu", dtype="float32", name="own_relu")(encoder.output)
    heads = ((rectified, len(_ALTERATIONS)), (encoder.output, 64 * images.shape[-1]))
    outputs = [
        layers.Dense(
            units, kernel_initializer=keras.initializers.GlorotUniform(seed), dtype="float32",
            name=f"own_head{i}",
        )(x)
        for i, (x, units) in enumerate(heads)
    ]  # fmt: skip
    model = keras.Model(encoder.input, outputs, name="own_heads")
    rate = keras.optimizers.schedules.CosineDecay(_RATE, steps)
    model.compile(
        keras.optimizers.Adam(rate, name="own_adam"),
        [
            # Smoothed labels bound the logits, so that the scores depend less on the seed.
            keras.losses.CategoricalCrossentropy(True, label_smoothing=0.2, name="own_kind"),
            keras.losses.MeanSquaredError(name="own_thumbnail"),
        ],
        loss_weights=[1.0, _THUMBNAIL_WEIGHT],
        auto_scale_loss=False,
    )
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        batch = from_uint8(images[rng.integers(0, len(images), BATCH_SIZE)])
        batch, kinds = _altered(batch, rng)
        labels = np.eye(len(_ALTERATIONS), dtype="float32")[kinds]
        model.train_on_batch(batch, [labels, _thumbnails(batch)])
        if progress is not None:
            progress(1)
    _standardize(encoder, images)
    return encoder


def _thumbnails(batch: np.ndarray) -> np.ndarray:
    """The means of blocks of 4 × 4 pixels, (n, 64 · channels)."""
    blocks = batch.reshape(len(batch), 8, 4, 8, 4, -1)
    return blocks.mean(axis=(2, 4)).reshape(len(batch), -1)


def _standardize(encoder: keras.Model, images: np.ndarray) -> None:
    """Give the features of the real images mean 0 and, on average, variance 1."""
    batches = np.split(images, range(256, len(images), 256))
    features = np.concatenate([encoder.predict_on_batch(from_uint8(x)) for x in batches])
    kernel, bias = encoder.layers[-1].get_weights()
    scale = max(float(np.sqrt(features.var(axis=0).mean())), 1e-6)
    encoder.layers[-1].set_weights([kernel / scale, (bias - features.mean(axis=0)) / scale])


def _altered(batch: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shift a batch at random, and alter each image; also return which alteration it is."""
    kinds = rng.integers(0, len(_ALTERATIONS), len(batch))
    rows, columns = np.clip(np.arange(SIDE) + rng.integers(-2, 3, (2, len(batch), 1)), 0, SIDE - 1)
    batch = batch[np.arange(len(batch))[:, None, None], rows[:, :, None], columns[:, None, :]]
    for kind, alter in enumerate(_ALTERATIONS):
        chosen = kinds == kind
        if chosen.any():
            batch[chosen] = alter(batch[chosen], rng)
    return batch, kinds


def _blurred(low: float, high: float) -> Callable[..., np.ndarray]:
    def blur(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sigma = rng.uniform(low, high)
        return gaussian_filter(x, (0, sigma, sigma, 0))

    return blur


def _noised(low: float, high: float) -> Callable[..., np.ndarray]:
    def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return x + rng.uniform(low, high) * rng.standard_normal(x.shape, "float32")

    return noise


def _joined(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Halves of two images: the next one's lower or right half."""
    x, half = x.copy(), SIDE // 2
    place = np.s_[:, half:] if rng.integers(2) else np.s_[:, :, half:]
    x[place] = np.roll(x, 1, axis=0)[place]
    return x


def _shuffled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The 16 blocks of 8 × 8 pixels in another order, the same for all images."""
    side, channels = SIDE // 4, x.shape[-1]
    blocks = x.reshape(-1, 4, side, 4, side, channels).swapaxes(2, 3)
    blocks = blocks.reshape(-1, 16, side, side, channels)[:, rng.permutation(16)]
    return blocks.reshape(-1, 4, 4, side, side, channels).swapaxes(2, 3).reshape(x.shape)


_ALTERATIONS: tuple[Callable[..., np.ndarray], ...] = (
    lambda x, rng: x,
    *(lambda x, rng, turns=turns: np.rot90(x, turns, (1, 2)) for turns in (1, 2, 3)),
    _blurred(0.5, 0.8),
    _blurred(0.9, 1.6),
    _noised(0.05, 0.12),  # Of pixels in [−1, 1].
    _noised(0.15, 0.4),
    _joined,
    _shuffled,
)
