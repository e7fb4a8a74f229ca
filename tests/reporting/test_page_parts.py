"""What a run page shows of pictures and of the data's weights."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from run_pages import Page, Weigher, log

from uotm_keras.data.dataset import ArrayDataset, PointDataset
from uotm_keras.reporting.figures import draw_points, draw_weights
from uotm_keras.reporting.formatting import number
from uotm_keras.reporting.lowest_weights import find_lowest_weights
from uotm_keras.reporting.thumbnails import PICTURE_BYTES, Pictures, thumbnail
from uotm_keras.training.ranking import describe_found, rank


def inside(page: Page, classes: str, tag: str) -> list[dict]:
    """The elements `tag` inside the groups of these classes, up to the next group of another."""
    found, within = [], False
    for name, attributes, _ in page.elements:
        if "class" in attributes:
            within = attributes["class"] == classes
        elif within and name == tag:
            found.append(attributes)
    return found


def dots(page: Page, kind: str) -> np.ndarray:
    """The (x, y) of the points of a scatter plot."""
    return np.array([[u["x"], u["y"]] for u in inside(page, f"dot dot-{kind}", "use")], float)


class TestPictures:
    def test_many_grids_are_bounded(self, run):
        steps = [10 * i for i in range(1, 101)]
        run.write(grids=steps)
        run.picture("real.png", 7)
        page = run.page()
        shown = [int(f["data-step"]) for f in page.all("figure") if "data-step" in f]
        assert len(shown) == 40 and shown[0] == 10 and shown[-1] == 1000
        assert set(np.diff(shown)) <= {20, 30}
        assert "40 of 100 sample grids are shown" in page.text
        (slider,) = page.all("input", type="range")
        assert (slider["min"], slider["max"], slider["value"]) == ("0", "39", "39")
        images = page.all("img")
        for step, image in zip(shown, images, strict=False):
            assert image["alt"] == f"Samples at step {step}"
            content = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
            assert content == (run.directory.samples / f"step_{step:06d}.png").read_bytes()
            assert (image["width"], image["height"]) == ("4", "3")
        assert len(images) == 41 and images[-1]["alt"] == "Examples of the training data"
        current = [f for f in page.all("figure") if " current" in f["class"]]
        assert [f["data-step"] for f in current] == ["1000"]
        assert sum(" printed" in f["class"] for f in page.all("figure")) == 5

    def test_few_grids_are_all_there(self, run):
        page = run.write(grids=[5, 7, 9]).page()
        assert [
            f["data-step"]
            for f in page.all(
                "figure",
            )
            if "data-step" in f
        ] == ["5", "7", "9"]
        assert not run.write(grids=[5]).page().text.count("sample grids are shown")

    def test_large_pictures_are_made_smaller(self, run):
        run.write()
        rng = np.random.default_rng(0)
        smooth = np.asarray(
            Image.fromarray(rng.integers(0, 255, (12, 16, 3), "uint8")).resize((1600, 1200))
        )
        noise = rng.integers(-9, 9, smooth.shape)
        pixels = np.clip(smooth + noise, 0, 255).astype("uint8")
        path = run.directory.samples / "step_000001.png"
        Image.fromarray(pixels).save(path)
        assert path.stat().st_size > PICTURE_BYTES
        picture = Pictures().embed(path)
        kind, _, content = picture.uri.partition(";base64,")
        content = base64.b64decode(content)
        assert kind == "data:image/jpeg" and len(content) <= PICTURE_BYTES
        assert (picture.width, picture.height) == (1600, 1200) and not picture.exact
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (1024, 768)
            difference = np.asarray(image, float) - np.asarray(
                Image.fromarray(smooth).resize((1024, 768)), float
            )
        assert np.abs(difference).mean() < 4
        assert "Large pictures are scaled down" in run.page().text

    def test_pictures_are_read_once_unless_they_change(self, run, monkeypatch):
        run.write(grids=[1])
        path = run.directory.samples / "step_000001.png"
        pictures = Pictures()
        first = pictures.embed(path)
        assert pictures.embed(path) is first
        Image.new("L", (9, 9), 3).save(path)
        assert pictures.embed(path).width == 9

    def test_a_broken_picture_is_left_out(self, run):
        run.write(grids=[1, 2])
        (run.directory.samples / "step_000001.png").write_bytes(b"no picture")
        page = run.page()
        assert [f["data-step"] for f in page.all("figure") if "data-step" in f] == ["2"]
        assert "1 could not be read" in page.text

    def test_thumbnails(self):
        small = np.linspace(-1, 1, 64, dtype="float32").reshape(8, 8, 1)
        picture = thumbnail(small)
        with Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",")[1]))) as image:
            expected = np.round((small[..., 0] + 1) * 127.5)
            np.testing.assert_array_equal(np.asarray(image), expected)
        large = thumbnail(np.zeros((256, 200, 3), "float32"))
        assert (large.width, large.height, large.exact) == (200, 256, False)
        assert len(large.uri) < 10_000


class TestLowestWeights:
    DATASET = PointDataset(
        np.random.default_rng(3).standard_normal((500, 2)), "points", outliers=np.arange(40, 90)
    )

    def test_ranking(self):
        weights = self.DATASET.points.mean(axis=1) + 2
        ranking = rank(Weigher(), self.DATASET, 64)
        np.testing.assert_array_equal(ranking.indices, np.argsort(weights, kind="stable"))
        np.testing.assert_allclose(ranking.weights, np.sort(weights))

    def test_a_part_is_always_the_same(self):
        one = rank(Weigher(), self.DATASET, 64, at_most=100)
        other = rank(Weigher(), self.DATASET, 7, at_most=100)
        assert len(set(one.indices)) == 100
        np.testing.assert_array_equal(one.indices, other.indices)
        assert one.indices.max() > 300  # from everywhere

    def test_progress_and_batches(self):
        model, done = Weigher(), []
        rank(model, self.DATASET, 128, advance=done.append)
        assert model.batches == done == [128, 128, 128, 116]

    def test_found_is_counted_pair_by_pair(self):
        ranking = rank(Weigher(), self.DATASET, 64, at_most=200)
        known = (ranking.indices >= 40) & (ranking.indices < 90)
        lower, higher = ranking.weights[known], ranking.weights[~known]
        auroc = (lower[:, None] < higher[None]).mean()
        text = describe_found(ranking.indices, -ranking.weights, self.DATASET.outliers)
        assert f"AUROC {auroc:.4f}" in text and f"the {known.sum()} least plausible" in text
        assert f"{known[: known.sum()].mean():.1%}" in text
        assert describe_found(ranking.indices, -ranking.weights, np.array([], int)) == ""
        assert describe_found(ranking.indices, -ranking.weights, np.arange(500)) == ""

    def test_points_on_the_page(self, run):
        found = find_lowest_weights(Weigher(), self.DATASET, 70, 64, examples=300)
        page = run.write(log(1)).page(lowest_weights=found)
        assert "300 of 500 examples were weighed" in page.text and "at step 70" in page.text
        cells = [cell["text"] for cell in page.all("td")]
        lowest = min(found.lowest)
        assert number(lowest.weight) in cells and lowest.name in cells
        index = int(re.search(r"\[(\d+)\]", lowest.name)[1])
        assert found.weights[0] == lowest.weight
        assert f"({', '.join(number(v) for v in self.DATASET.points[index])})" in cells
        assert len(dots(page, "lowest")) == 24
        assert sum(cell == "contamination" for cell in cells) == sum(e.known for e in found.lowest)

    def test_images_on_the_page(self, run):
        source = ArrayDataset(
            np.random.default_rng(0).integers(0, 255, (30, 4, 4, 3), "uint8"), "x"
        )
        found = find_lowest_weights(Weigher(), source, 5, 8)
        page = run.write().page(lowest_weights=found)
        images = [i for i in page.all("img") if i["alt"].startswith("Training image")]
        order = np.argsort(source.take(np.arange(30)).mean(axis=(1, 2, 3)), kind="stable")[:24]
        assert [i["alt"] for i in images] == [f"Training image x[{k}]" for k in order]
        assert "All 30 examples were weighed" in page.text and "contamination" not in page.text

    def test_none(self, run):
        assert "nothing to see" in run.write().page(lowest_weights="nothing to see").text

    def test_histogram_has_every_example(self):
        weights = np.sort(np.random.default_rng(0).uniform(0.2, 1, 3000)).astype("float32")
        known = np.zeros(3000, bool)
        known[::3] = True
        page = Page(draw_weights(weights, known, "key"))
        bars = {
            kind: sum(
                np.ptp(np.array(path["d"].strip("Mz ").split(), float)[1::2])
                for path in inside(page, f"bar bar-{kind}", "path")
            )
            for kind in ("clean", "known")
        }
        assert bars["clean"] / bars["known"] == pytest.approx(2, rel=0.02)
        assert "3000 training examples" in page.all("desc")[0]["text"]

    @pytest.mark.parametrize("dimension", [1, 2, 5])
    def test_points_of_any_dimension(self, dimension):
        points = np.random.default_rng(0).standard_normal((3000, dimension))
        page = Page(draw_points(points, np.linspace(0, 1, 3000), 24, "key"))
        assert len(dots(page, "lowest")) == 24
        places = dots(page, "data")
        assert 700 < len(places) <= 1500
        assert (places >= [50, 0]).all() and (places <= [360, 176]).all()
        if dimension > 1:  # a unit is as long in both directions
            wide, high = places.std(axis=0) / points[24 :: -(-3000 // 1500), :2].std(axis=0)
            assert wide == pytest.approx(high, rel=0.01)
