"""The run page: its numbers, its words, and that nothing in it comes from strangers."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime

import matplotlib
import numpy as np
import pytest
from run_pages import FLAGS, Page, Run, Weigher, log

from uotm_keras.data.dataset import ArrayDataset, PointDataset
from uotm_keras.reporting import figures
from uotm_keras.reporting.charts import value_limits
from uotm_keras.reporting.formatting import duration, grouped, number
from uotm_keras.reporting.lowest_weights import find_lowest_weights
from uotm_keras.reporting.run_files import thinned
from uotm_keras.utils.errors import InputError

EVIL = "</script><img src=x onerror=alert(1)><svg onload=alert(2)>'\"&"


def is_line(element) -> bool:
    tag, attributes, _ = element
    return tag == "g" and attributes.get("class", "").startswith("line line-")


def vertices(path: str) -> np.ndarray:
    """The (x, y) vertices of an SVG path of straight lines."""
    assert set(re.findall("[A-Za-z]", path)) <= {"M", "L", "z"}
    return np.array(re.sub("[A-Za-z]", " ", path).split(), float).reshape(-1, 2)


def drawn(page: Page, column: str) -> np.ndarray:
    """The (step, value) points that the chart with this first column shows, read back."""
    position = next(
        i for i, (tag, a, _) in enumerate(page.elements)
        if tag == "svg" and a.get("data-lines", "").split(" ")[0] == column
    )  # fmt: skip
    svg = page.elements[position][1]
    line = next(i for i, e in enumerate(page.elements) if i > position and is_line(e))
    points = vertices(page.elements[line + 1][1]["d"])
    ends = []
    for axis in ("data-x", "data-y"):
        lower, upper, start, stop = map(float, svg[axis].split())
        if axis == "data-y" and svg["data-log"] == "1":
            lower, upper = np.log(lower), np.log(upper)
        ends.append((lower, upper, start, stop))
    back = [
        lower + (points[:, i] - start) / (stop - start) * (upper - lower)
        for i, (lower, upper, start, stop) in enumerate(ends)
    ]
    if svg["data-log"] == "1":
        back[1] = np.exp(back[1])
    return np.stack(back, axis=1)


class TestNumbers:
    def test_embedded_numbers_are_those_of_the_log(self, run):
        lines = log(30)
        data = run.write(lines).page().data()
        assert data["lines"] == 30 and data["step"] == 3000
        assert data["curves"].keys() == lines[0].keys() - {"step"}
        for name, curve in data["curves"].items():
            expected = [(line["step"], line[name]) for line in lines if name in line]
            assert list(zip(curve["steps"], curve["values"], strict=True)) == expected

    def test_curves_lie_where_their_numbers_say(self, run):
        lines = log(30)
        for line in lines:
            line["cost"] = 10 ** (2 * line["cost"])  # more than two decades
        page = run.write(lines).page()
        for name, relative in (("potential_loss", False), ("cost", True), ("digits", False)):
            expected = np.array([(x["step"], x[name]) for x in lines if name in x])
            found = drawn(page, name)
            assert found.shape == expected.shape
            # A tenth of a pixel, of 300 that stand for 3 000 steps and 166 for the values.
            np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1.0)
            span = np.ptp(np.log(expected[:, 1]) if relative else expected[:, 1])
            a, b = (np.log(v[:, 1]) if relative else v[:, 1] for v in (found, expected))
            np.testing.assert_allclose(a, b, atol=1.5 * span / 1660)

    def test_a_long_log_is_thinned_without_losing_its_extremes(self, run):
        lines = log(5000, every=10)
        lines[3210]["cost"], lines[1234]["cost"] = 99.0, -99.0
        page = run.write(lines).page()
        curve = page.data()["curves"]["cost"]
        assert 900 < len(curve["steps"]) <= 1000
        assert curve["steps"] == sorted(set(curve["steps"]))
        assert (curve["steps"][0], curve["steps"][-1]) == (10, 50000)
        by_step = {line["step"]: line["cost"] for line in lines}
        assert all(by_step[s] == v for s, v in zip(curve["steps"], curve["values"], strict=True))
        assert {99.0, -99.0} <= set(curve["values"])
        assert "keeping the minimum and the maximum of each interval" in page.text
        for path in page.all("path"):
            assert len(path["d"].split()) <= 2 * 1000 + 1

    @pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11, 100, 1001])
    def test_thinned(self, n):
        values = np.random.default_rng(n).standard_normal(n)
        kept = thinned(values, 10)
        assert len(kept) <= max(10, 1) and (np.diff(kept) > 0).all()
        assert kept[0] == 0 and kept[-1] == n - 1
        assert values[kept].min() == values.min() and values[kept].max() == values.max()

    def test_points_far_out_are_counted(self, run):
        lines = [{"step": s, "potential_loss": float(np.sin(s))} for s in range(1, 101)]
        lines[0]["potential_loss"], lines[1]["potential_loss"] = -500.0, 900.0
        assert "2 points outside the axis" in run.write(lines).page().text

    def test_what_is_no_number_is_left_out(self, run):
        text = '{"step": 1, "cost": NaN}\n{"step": 2, "cost": 3}\n'
        text += '{"step": 3, "cost": 1' + 400 * "0" + "}\n"
        run.write()
        run.directory.metrics.write_text(text)
        assert run.page().data()["curves"] == {"cost": {"steps": [2], "values": [3.0]}}

    def test_a_line_being_written_is_left_out(self, run):
        run.write(log(2))
        before = run.directory.metrics.read_text() + '{"step": 300, "co'
        run.directory.metrics.write_text(before)
        assert run.page().data()["lines"] == 2
        assert run.directory.metrics.read_text() == before

    def test_a_damaged_log_is_an_error(self, run):
        run.write(log(1))
        run.directory.metrics.write_text('{"step": 1}\nnothing\n{"step": 3}\n')
        with pytest.raises(InputError, match="metrics.jsonl line 2"):
            run.page()

    def test_unknown_columns_have_a_chart(self, run):
        page = run.write(
            [{"step": 1, "device_memory": 5.0}, {"step": 2, "device_memory": 6}]
        ).page()
        np.testing.assert_allclose(drawn(page, "device_memory"), [[1, 5], [2, 6]], atol=0.01)

    def test_a_deviation_is_a_band(self, run):
        lines = [{"step": s, "kid": 0.5, "kid_std": 0.25} for s in (10, 20)]
        page = run.write(lines).page()
        (band,) = [i for i, e in enumerate(page.elements) if e[1].get("class") == "band line-0"]
        ys = vertices(page.elements[band + 1][1]["d"])[:4, 1]
        (svg,) = [s for s in page.all("svg") if s.get("data-lines") == "kid"]
        lower, upper, start, stop = map(float, svg["data-y"].split())
        back = [lower + (y - start) / (stop - start) * (upper - lower) for y in ys]
        np.testing.assert_allclose(back, [0.25, 0.25, 0.75, 0.75], atol=0.002)

    @pytest.mark.parametrize(
        "value, text",
        [(0, "0"), (-0.5820812, "−0.5821"), (1234.5678, "1235"), (0.00012345, "1.234e−4"),
         (-2e-5, "−2e−5"), (24844.4, "24\u202f844"), (3.2e9, "3.2e9"), (51.736, "51.74"),
         (2.0, "2")],
    )  # fmt: skip
    def test_number(self, value, text):
        assert number(value) == text

    def test_words(self):
        assert [grouped(n) for n in (999, 9999, 10000, -1234567)] == [
            "999", "9999", "10\u202f000", "−1\u202f234\u202f567",
        ]  # fmt: skip
        seconds = (4.4, 236, 7500, 4 * 86400 + 3700)
        assert [duration(s) for s in seconds] == ["4 s", "3 min 56 s", "2 h 5 min", "4 d 1 h"]

    @pytest.mark.parametrize(
        "values, labels",
        [
         ([0.25, 1], ["0.4", "0.6", "0.8", "1"]),
         ([1e-5, 4e-5], ["1e−5", "2e−5", "3e−5", "4e−5"]),
         ([-1, 1], ["−1", "−0.5", "0", "0.5", "1"]),
         ([0, 25000], ["0", "5k", "10k", "15k", "20k", "25k"]),
         ([0.01, 10], ["0.01", "0.1", "1", "10"]), ([5, 5], ["4.8", "4.9", "5", "5.1", "5.2"]),
         ([1, 1.0004], ["1", "1.0001", "1.0002", "1.0003", "1.0004"]),
         ([0, 4e-15], ["0", "1e−15", "2e−15", "3e−15", "4e−15"]),
         ([-9e299, 9e299], ["−1e300", "−5e299", "0", "5e299", "1e300"])],
    )  # fmt: skip
    def test_tick_labels(self, run, values, labels):
        page = run.write([{"step": i, "cost": float(v)} for i, v in enumerate(values, 1)]).page()
        texts = [text["text"] for text in page.all("text")]
        vertical = texts[texts.index("training step") + 1 :]
        assert vertical == labels

    def test_the_users_matplotlib_style_does_not_matter(self, run):
        run.write(log(3))
        now = datetime(2026, 5, 6, tzinfo=UTC)
        style = {"text.usetex": True, "axes.grid": True, "lines.marker": "x", "xtick.top": True}
        plain = run.page(now=now).text
        figures._shared_axes.cache_clear()
        with matplotlib.rc_context(style):
            assert run.page(now=now).text == plain
            assert matplotlib.rcParams["lines.marker"] == "x"

    def test_limits_of_equal_values(self):
        for value in (0.0, 5.0, -3.0):
            limits = value_limits(np.full(3, value))
            assert limits.lower <= value <= limits.upper and limits.lower < limits.upper


class TestSafety:
    @pytest.fixture
    def page(self, run) -> Page:
        lines = [{"step": s, "cost": 1.0, EVIL: float(s)} for s in (1, 2)]
        run = Run(run.directory.path / EVIL.replace("/", "_")).write(
            lines, [1, 2], {"dataset": EVIL, "contaminate": EVIL, EVIL: EVIL, "augment": [EVIL]},
            device=EVIL, versions={EVIL: EVIL, "uotm_keras": EVIL}, started=EVIL, git_commit=EVIL,
        )  # fmt: skip
        run.directory.checkpoints.mkdir()
        record = {"step": 2, "metric": EVIL, "score": 1.0, "network": EVIL, "samples": EVIL}
        (run.directory.checkpoints / "best_000002.json").write_text(json.dumps(record))
        for line in lines:
            line["digits"] = 1.0
        run.directory.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
        source = ArrayDataset(np.arange(256, dtype="uint8").reshape(4, 8, 8, 1), EVIL)
        found = find_lowest_weights(Weigher(), source, 2, 2)
        return run.page(
            defaults={"augment": None}, facts={EVIL: EVIL}, protocol=[EVIL], lowest_weights=found
        )

    def test_nothing_is_injected(self, page):
        assert page.text.count("alert(1)") > 10  # it is there, as text
        assert "<img src=x" not in page.text and "<svg onload" not in page.text
        assert all(image["src"].startswith("data:image/") for image in page.all("img"))
        for _, attributes, _ in page.elements:
            assert not [name for name in attributes if name.startswith("on")]
        assert [s.get("type") for s in page.all("script")] == ["application/json", None]
        assert EVIL in page.data()["curves"]
        assert page.all("title")[0]["text"].startswith(f"UOTM on {EVIL}")
        assert f"--dataset={EVIL}" in [code["text"] for code in page.all("code")]

    def test_the_policy_lets_in_this_script_and_style_alone(self, page):
        (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        rules = dict(rule.strip().split(" ", 1) for rule in policy["content"].split(";"))
        assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
        for name, kind in (("style", "style-src"), ("script", "script-src")):
            text = page.all(name)[-1]["text"]
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert rules[kind] == f"'sha256-{digest}'"

    def test_nothing_is_loaded(self, page):
        for _, attributes, _ in page.elements:
            for name in ("src", "href", "srcset", "action", "data", "poster"):
                assert attributes.get(name, "#").startswith(("#", "data:"))
        assert not any("style" in attributes for _, attributes, _ in page.elements)
        (style,) = page.all("style")
        assert "url(" not in style["text"] and "@import" not in style["text"]
        assert not re.search(r"fetch|XMLHttp|import\(|eval", page.all("script")[-1]["text"])


class TestWords:
    def test_flags(self, run):
        defaults = {**FLAGS, "tau": 1e-3, "width": 8}
        page = run.write().page(defaults=defaults, unset={"eval_metrics": "auto"})
        codes = [code["text"] for code in page.all("code") if re.match("--.*=", code["text"])]
        assert codes[: codes.index("--dataset=digits")] == ["--tau=0.01"]
        assert codes[1:] == [
            "--dataset=digits", "--batch_size=64", "--max_steps=900", "--tau=0.01", "--width=8",
            "--attention_resolutions=16,8", "--eval_metrics=auto", "--augment=none",
        ]  # fmt: skip

    def test_facts(self, run):
        page = run.write(
            log(3), data_shape=[8, 8, 1], device="CPU (x)", versions={"keras": "3.15"},
            git_commit="0123456789abcdef+", started="2026-01-02T03:04:05+00:00",
        ).page(step=250, now=datetime(2026, 5, 6, 7, 8, tzinfo=UTC))  # fmt: skip
        values = [dd["text"] for dd in page.all("dd")]
        for value in ("digits", "8 × 8 × 1", "jax", "CPU (x)", "keras 3.15", "Gaussian noise",
                      "0123456789ab, with local changes", "2026-01-02 03:04:05 UTC",
                      "16\u202f000 in 250 steps"):  # fmt: skip
            assert value in values
        assert "Step 250 of 900" in page.all("label")[0]["text"]
        assert "Written 2026-05-06 07:08 UTC" in page.text

    def test_the_best_checkpoint_and_the_protocol(self, run):
        run.write(log(3))
        run.directory.checkpoints.mkdir()
        record = {"step": 200, "metric": "digits", "score": 0.71234, "samples": 30, "seed": 0}
        (run.directory.checkpoints / "best_000200.json").write_text(json.dumps(record))
        page = run.page(protocol=["As always."])
        items = [item["text"] for item in page.all("li")]
        assert "As always." in items
        assert any("step 200" in item and "0.7123" in item for item in items)

    def test_a_run_of_an_earlier_version(self, run):
        run.directory.path.mkdir()
        config = {"flags": {"dataset": "digits"}, "backend": "torch"}
        run.directory.config.write_text(json.dumps(config))
        page = run.page(defaults=FLAGS)
        assert page.data() == {"step": 0, "lines": 0, "curves": {}}
        assert "There are no samples yet" in page.text and not page.all("img")

    def test_no_run(self, run):
        with pytest.raises(InputError, match="config.json"):
            run.page()
        assert not run.directory.path.exists()

    def test_a_page_is_rewritten_from_the_files_alone(self, run):
        run.write(log(5), [100, 200])
        now = datetime(2026, 5, 6, tzinfo=UTC)
        first = run.page(now=now).text
        run.directory.page.unlink()
        assert run.page(now=now).text == first

    def test_for_those_who_do_not_see(self, run):
        page = run.write(log(9), [100, 200, 300]).page(
            lowest_weights=find_lowest_weights(Weigher(), PointDataset(np.eye(30), "points"), 1, 30)
        )
        assert page.all("html")[0]["lang"] == "en" and len(page.all("h1")) == 1
        assert all(image["alt"] for image in page.all("img"))
        assert all(
            s.get("aria-label") or s.get("aria-hidden") for s in page.all("svg") if "x" not in s
        )
        controls = [c["id"] for kind in ("input", "progress") for c in page.all(kind)]
        assert sorted(controls) == sorted(label["for"] for label in page.all("label"))
        ids = [a["id"] for _, a, _ in page.elements if "id" in a]
        assert len(ids) == len(set(ids))
        levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert (np.diff(levels) <= 1).all()
        (cost,) = [s for s in page.all("svg") if s.get("data-lines") == "cost"]
        values = page.data()["curves"]["cost"]["values"]
        assert cost["aria-label"] == "Transport cost" and cost["role"] == "img"
        assert any(f"lowest {number(min(values))}" in desc["text"] for desc in page.all("desc"))
