"""All scores in one pass, and what the result says of itself."""

import json

import numpy as np
import pytest

from uotm_keras import metrics
from uotm_keras.metrics.network import NOT_COMPARABLE
from uotm_keras.utils.errors import InputError
from uotm_keras.version import __version__

OPTIONS = metrics.Options(kid_subsets=3, kid_subset_size=20, is_splits=2)


@pytest.fixture
def fakes():
    return np.random.default_rng(6).integers(0, 200, (50, 8, 8, 3)).astype("uint8")


def test_all_metrics_from_one_pass(encoder, images, fakes):
    seen = []
    result = metrics.evaluate_images(
        np.array_split(fakes, 4), images, metrics.METRICS, encoder, options=OPTIONS,
        progress=seen.append,
    )  # fmt: skip
    real, fake = (encoder.predict(x, verbose=0) for x in (images, fakes))
    x, y = real["features"], fake["features"]
    scores = metrics.precision_recall(x, y)
    expected = {
        "fid": metrics.frechet_distance_of_features(x, y),
        "kid": metrics.kernel_distance(x, y, 3, 20).mean,
        "kid_std": metrics.kernel_distance(x, y, 3, 20).std,
        "is": metrics.inception_score(fake["logits"], 2).mean,
        "is_std": metrics.inception_score(fake["logits"], 2).std,
        **scores._asdict(),
    }
    assert list(result["metrics"]) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(result["metrics"][name], value, rtol=1e-3, err_msg=name)
    assert sum(seen) == 50 and result["samples"] == 50 and result["reference_samples"] == 70
    assert result["network"] == "encoder" and len(result["weights"]) == 64
    assert result["protocol"] == "uint8" and result["version"] == __version__
    assert result["notes"] == [NOT_COMPARABLE]
    assert result["neighbour_samples"] == [70, 50]
    assert json.loads(json.dumps(result)) == result


def test_floats_are_rounded_as_files_would(encoder, images, fakes):
    of_bytes = metrics.evaluate_images([fakes], images, ["fid"], encoder)
    floats = fakes / 127.5 - 1 + 0.2 / 255
    of_floats = metrics.evaluate_images([floats], images, ["fid"], encoder, value_range=(-1, 1))
    assert of_floats == of_bytes
    with pytest.raises(InputError, match="pass value_range"):
        metrics.evaluate_images([floats], images, ["fid"], encoder)


def test_jpeg_protocol(encoder, images, fakes):
    result = metrics.evaluate_images([fakes], images, ["fid"], encoder, protocol="jpeg")
    saved = metrics.evaluate_images([metrics.jpeg_round_trip(fakes)], images, ["fid"], encoder)
    plain = metrics.evaluate_images([fakes], images, ["fid"], encoder)
    assert result["metrics"] == saved["metrics"] != plain["metrics"]
    assert result["protocol"] == "jpeg"


def test_neighbours_of_a_random_part(encoder, images, fakes):
    options = metrics.Options(neighbour_samples=30)
    result = metrics.evaluate_images([fakes], images, ["pr"], encoder, options=options)
    assert set(result["metrics"]) == {"precision", "recall"}
    assert result["neighbour_samples"] == [30, 30]


def test_statistics_without_a_network(encoder, images, fakes, tmp_path):
    reference = metrics.compute_reference([images], encoder)
    np.savez(tmp_path / "a.npz", mu=reference.mean, sigma=reference.covariance)
    result = metrics.evaluate_images([fakes], tmp_path / "a.npz", ["fid"], encoder)
    expected = metrics.evaluate_images([fakes], reference, ["fid"], encoder)
    assert result["metrics"] == expected["metrics"]
    assert result["reference_samples"] is None and result["reference"] == "a.npz"
    assert "does not say which network" in result["notes"][-1]
    with pytest.raises(InputError, match="kid, pr need its images"):
        metrics.evaluate_images([fakes], tmp_path / "a.npz", ["kid", "pr"], encoder)


def test_few_samples_are_noted(encoder, images):
    result = metrics.evaluate_images([images[:4]], images, ["fid"], encoder)
    assert "4 samples for 6 dimensions" in result["notes"][-1]


def test_the_inception_score_needs_no_reference(encoder, fakes):
    result = metrics.evaluate_images([fakes], None, ["is"], encoder, options=OPTIONS)
    assert set(result["metrics"]) == {"is", "is_std"} and result["reference"] is None


def test_bad_input(encoder, images, fakes):
    def refused(message, batches=(fakes,), reference=images, names=("fid",), **options):
        with pytest.raises(InputError, match=message):
            metrics.evaluate_images(
                batches, reference, names, options.pop("extractor", encoder), **options
            )

    refused("unknown metric 'fud': did you mean 'fid'", names=["fud"])
    refused("no metrics", names=[])
    refused("unknown protocol 'jpg': did you mean 'jpeg'", protocol="jpg")
    refused("need a reference", reference=None)
    refused("there are 0 samples", batches=[])
    refused("there are 1 samples", batches=[fakes[:1]])
    refused("subset_size=1000 is more than the 50", names=["kid"])
    refused("'is' needs logits", names=["is"], extractor=lambda x: x.mean(axis=(1, 2)))
    refused("NaN", batches=[np.full((2, 8, 8, 3), np.nan)], value_range=(-1, 1))
