"""The Keras metrics: by themselves, in fit and evaluate, with any extractor."""

import keras
import numpy as np
import pytest
from keras import ops

from uotm_keras import metrics
from uotm_keras.metrics.extractors import as_extractor
from uotm_keras.utils.errors import InputError

pytestmark = pytest.mark.every_backend

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(60, 4))
FAKE = RNG.normal(size=(45, 4)) + 0.5

CASES = {
    "fid": (metrics.FrechetInceptionDistance, {}, metrics.frechet_distance_of_features),
    "kid": (
        metrics.KernelInceptionDistance,
        {"subsets": 5, "subset_size": 20},
        lambda r, f: metrics.kernel_distance(r, f, 5, 20).mean,
    ),
    "is": (metrics.InceptionScore, {"splits": 3}, lambda r, f: metrics.inception_score(f, 3).mean),
    "recall": (
        metrics.PrecisionRecall,
        {"score": "recall", "k": 2},
        lambda r, f: metrics.precision_recall(r, f, 2).recall,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_batches_give_what_the_function_gives(case):
    kind, options, function = CASES[case]
    metric = kind("features", **options)
    for part in np.split(REAL, [10, 35]):
        metric.update_state(real=part)
    for part in np.split(FAKE, [20]):
        metric.update_state(fake=ops.convert_to_tensor(part, "float32"))
    expected = function(REAL, FAKE.astype("float32"))
    np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-9)
    metric.reset_state()
    with pytest.raises(InputError, match="has received no"):
        metric.result()
    assert float(metric(REAL, FAKE)) == pytest.approx(function(REAL, FAKE), rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_in_fit_and_evaluate(case):
    kind, options, function = CASES[case]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(4)(inputs))
    metric = kind("features", **options)
    model.compile("sgd", "mse", metrics=[metric], run_eagerly=True)
    x = RNG.normal(size=(60, 4)).astype("float32")
    history = model.fit(x, REAL, batch_size=30, epochs=2, verbose=0).history
    assert len(history[metric.name]) == 2 and np.isfinite(history[metric.name]).all()
    logs = model.evaluate(x, REAL, batch_size=30, verbose=0, return_dict=True)
    expected = function(REAL.astype("float32"), model.predict(x, verbose=0))
    np.testing.assert_allclose(logs[metric.name], expected, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch compiles nothing here")
def test_in_a_compiled_graph_it_says_what_to_do():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(4)(inputs))
    model.compile("sgd", "mse", metrics=[metrics.FrechetInceptionDistance("features")])
    with pytest.raises(Exception, match="run_eagerly=True"):
        model.evaluate(REAL, REAL, verbose=0)


def test_a_users_own_encoder(encoder, images):
    fid = metrics.FrechetInceptionDistance(encoder)
    fid.update_state(images[:40], images[40:])
    features = encoder.predict(images, verbose=0)["features"]
    expected = metrics.frechet_distance_of_features(features[:40], features[40:])
    np.testing.assert_allclose(fid.result(), expected, rtol=1e-4)

    score = metrics.InceptionScore(encoder, splits=2)
    score.update_state(fake=images)
    logits = encoder.predict(images, verbose=0)["logits"]
    np.testing.assert_allclose(score.result(), metrics.inception_score(logits, 2).mean, rtol=1e-5)

    def mean_color(images):
        return images.mean(axis=(1, 2))

    fid = metrics.FrechetInceptionDistance(mean_color)
    fid.update_state(images[:40], images[40:])
    colors = mean_color(images)
    expected = metrics.frechet_distance_of_features(colors[:40], colors[40:])
    np.testing.assert_allclose(fid.result(), expected, rtol=1e-9)


def test_the_inception_network_as_the_extractor(inception_state, fid_golden):
    network = metrics.fid_inception_v3(inception_state)
    extractor = as_extractor(network)
    images = fid_golden["images_32"][:2]
    features = extractor(np.concatenate([images, images[:1]]))["features"]  # padded to 4
    assert features.shape == (3, 2048)
    theirs = fid_golden["pytorch_fid/pool3_32"][:2]
    np.testing.assert_allclose(features[:2], theirs, atol=1e-4 * theirs.max())
    np.testing.assert_allclose(features[2], features[0], atol=1e-5)
    with pytest.warns(UserWarning, match="2 samples for 2048 dimensions"):
        fid = metrics.FrechetInceptionDistance(extractor, value_range=(-1, 1))
        fid.update_state(images / 127.5 - 1, images / 127.5 - 1)
        assert float(fid.result()) < 1e-5
    for wrong, message in (
        (images / 255.0, r"range from 0 to 1: .* value_range"),
        (images / 127.5 - 1, r"range from -1 to 1: .* value_range"),
        (images * np.float32(2), "range from 0 to 510"),
        (images.astype("f4") * np.nan, "NaN"),
        (images[..., :2], r"accepted are \(n, height, width, 3\)"),
        (images[0], "accepted are"),
        (images[:0], "at least one"),
    ):
        with pytest.raises(InputError, match=message):
            extractor(wrong)
    gray = extractor.check(images[..., :1])
    np.testing.assert_array_equal(gray, np.repeat(images[..., :1], 3, -1))


def test_a_kept_reference(tmp_path):
    statistics = metrics.FeatureStatistics(4)
    statistics.update(REAL)
    statistics.save(tmp_path / "real.npz")
    expected = metrics.frechet_distance_of_features(REAL, FAKE)
    for reference in (statistics, tmp_path / "real.npz"):
        fid = metrics.FrechetInceptionDistance("features", reference=reference)
        fid.update_state(fake=FAKE)
        np.testing.assert_allclose(fid.result(), expected, rtol=1e-9)
        fid.reset_state()
        fid.update_state(real=FAKE, fake=FAKE)  # the real side is set
        np.testing.assert_allclose(fid.result(), expected, rtol=1e-9)


def test_to_uint8():
    values = [-1.5, -1, 0, 1, 1.5, 1 / 127.5]
    assert metrics.to_uint8(values, (-1, 1)).tolist() == [0, 0, 128, 255, 255, 128]
    with pytest.raises(InputError, match="NaN"):
        metrics.to_uint8([np.nan], (-1, 1))
    with pytest.raises(InputError, match="value_range"):
        metrics.to_uint8([0.0], (1, 1))


def test_bad_input(encoder, images):
    fid = metrics.FrechetInceptionDistance("features")
    with pytest.raises(InputError, match="sample weights"):
        fid.update_state(REAL, FAKE, sample_weight=np.ones(60))
    fid.update_state(REAL[:1], FAKE[:1])
    with pytest.raises(InputError, match="at least 2 samples"):
        fid.result()
    with pytest.raises(InputError, match="did you mean 'fid'"):
        metrics.FrechetInceptionDistance("fit")
    with pytest.raises(InputError, match="a Keras model or a function"):
        metrics.FrechetInceptionDistance(3)
    score = metrics.InceptionScore(lambda images: images.mean(axis=(1, 2)))
    with pytest.raises(InputError, match="needs logits"):
        score.update_state(fake=images)
    for wrong, message in (
        (lambda images: {"x": images}, "gives 'x'"),
        (lambda images: images, "shape"),
        (lambda images: np.zeros((3, 2)), "gave 3 features for 70 images"),
        (lambda images: np.full((70, 2), np.nan), "NaN"),
    ):
        with pytest.raises(InputError, match=message):
            as_extractor(wrong)(images)
    with pytest.raises(InputError, match="score='f1'"):
        metrics.PrecisionRecall("features", score="f1")
