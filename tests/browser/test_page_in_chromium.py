"""The run page as a browser shows it."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

FLAGS = {
    "dataset": "digits", "contaminate": "mnist5k:0.05", "batch_size": 32, "grid_size": 3,
    "generator": "resmlp", "width": 8, "blocks": 1, "latent_dim": 3,
    "potential": "resmlp", "potential_width": 8, "potential_blocks": 1,
    "max_steps": 40, "log_every": 5, "checkpoint_every": 40, "sample_every": 10,
    "eval_every": 20, "eval_samples": 30,
    "lr_schedule": "cosine", "lr_period": "step", "lr_periods": 40,
}  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of a run that train.py has just made."""
    from uotm_keras.cli.train import main

    folder = tmp_path_factory.mktemp("run")
    arguments = {"run_dir": folder / "digits", **FLAGS}
    assert main([f"--{name}={value}" for name, value in arguments.items()]) == 0
    return folder / "digits"


@pytest.fixture
def page(browser, run):
    """The browser with the page just opened, 1280 pixels wide."""
    resize(browser, 1280)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get((run / "report.html").as_uri())
    return browser


def resize(browser, width: int, media: str = "") -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})


def find(page, selector: str):
    from selenium.webdriver.common.by import By

    return page.find_element(By.CSS_SELECTOR, selector)


def find_all(page, selector: str) -> list:
    from selenium.webdriver.common.by import By

    return page.find_elements(By.CSS_SELECTOR, selector)


def log_of(run) -> list[dict]:
    return list(map(json.loads, (run / "metrics.jsonl").read_text().splitlines()))


def value(text: str) -> float:
    return float(text.replace("−", "-").replace("\u202f", ""))


def shown_grid(page) -> tuple[str, bytes]:
    """The caption and the pixels of the sample grid that can be seen."""
    (figure,) = [f for f in find_all(page, "figure.grid") if f.is_displayed()]
    image = find(figure, "img")
    assert page.execute_script("return arguments[0].complete && arguments[0].naturalWidth", image)
    content = base64.b64decode(image.get_attribute("src").split(",")[1])
    return find(figure, "figcaption").text, content


def grid(run, step: int) -> tuple[str, bytes]:
    content = (run / f"samples/step_{step:06d}.png").read_bytes()
    return f"Samples at step {step}", content


def test_it_loads_in_silence(page, run):
    find(page, "h1")
    assert page.title == "UOTM on digits, step 40 (digits)"
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    own = (run / "report.html").as_uri()
    assert own in asked  # requests are seen
    assert [url for url in asked if url != own and not url.startswith("data:")] == []


def test_the_policy_holds(page):
    # A script that got in all the same would not run.
    ran = page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); return window.ran === undefined"
    )
    assert ran
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_the_slider_by_key(page, run):
    from selenium.webdriver.common.keys import Keys

    slider, output = find(page, "#slider"), find(page, "output")
    assert shown_grid(page) == grid(run, 40) and output.text == "4 of 4"
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown_grid(page) == grid(run, 30) and output.text == "3 of 4"
    assert slider.get_attribute("aria-valuetext") == "step 30"
    slider.send_keys(Keys.HOME)
    assert shown_grid(page) == grid(run, 10) and output.text == "1 of 4"
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown_grid(page) == grid(run, 10)


def test_the_slider_by_script(page, run):
    page.execute_script(
        "const s = document.getElementById('slider'); s.value = 1;"
        "s.dispatchEvent(new Event('input'))"
    )
    assert shown_grid(page) == grid(run, 20)
    assert find(page, "#slider").get_attribute("aria-valuetext") == "step 20"


def test_real_data_are_beside_the_samples(page, run):
    left, right = find(page, ".grid.current img"), find(page, ".beside img")
    assert (
        base64.b64decode(right.get_attribute("src").split(",")[1])
        == (run / "samples/real.png").read_bytes()
    )
    assert abs(left.rect["y"] - right.rect["y"]) < 2
    assert left.rect["x"] + left.rect["width"] < right.rect["x"]


def test_shown_numbers_are_those_of_the_log(page, run):
    lines = log_of(run)
    places = find_all(page, "[data-line]")
    assert len(places) >= 8
    for place in places:
        name = place.get_attribute("data-line")
        expected = [line[name] for line in lines if name in line][-1]
        assert value(place.text) == pytest.approx(expected, rel=1e-3), name


def test_a_curve_is_read_by_key(page, run):
    from selenium.webdriver.common.keys import Keys

    figure = find(page, "figure.chart:has(svg[data-lines^=potential_loss])")
    plot, lines = find(figure, ".plot"), log_of(run)

    def check(line: dict) -> None:
        assert find(figure, "[data-at]").text == str(line["step"])
        for name in ("potential_loss", "generator_loss"):
            text = find(figure, f"[data-line={name}]").text
            assert value(text) == pytest.approx(line[name], rel=1e-3)

    check(lines[-1])
    plot.send_keys(Keys.ARROW_LEFT)
    check(lines[-2])
    plot.send_keys(Keys.HOME)
    check(lines[0])
    plot.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    check(lines[2])
    page.execute_script("arguments[0].blur()", plot)
    check(lines[-1])


def test_a_curve_is_read_by_pointer(page, run):
    from selenium.webdriver import ActionChains

    svg = find(page, "svg[data-lines=cost]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    first, last, start, stop = map(float, svg.get_attribute("data-x").split())
    line = log_of(run)[2]
    # The offset counts from the middle of the drawing, which is 360 units wide.
    at = start + (line["step"] - first) / (last - first) * (stop - start)
    offset = (at - 180) * svg.rect["width"] / 360
    ActionChains(page).move_to_element_with_offset(svg, round(offset), 0).perform()
    figure = find(page, "figure.chart:has(svg[data-lines=cost])")
    assert find(figure, "[data-at]").text == str(line["step"])
    assert value(find(figure, "[data-line=cost]").text) == pytest.approx(line["cost"], rel=1e-3)
    (cursor,) = find_all(svg, ".cursor")
    assert float(cursor.get_attribute("x1")) == pytest.approx(at)


@pytest.fixture
def long_log(tmp_path) -> list[dict]:
    """2 000 lines in `tmp_path`, of numbers of all sizes, with its page."""
    from uotm_keras.reporting.page import write_page
    from uotm_keras.training.run_directory import RunDirectory

    sizes = 10.0 ** np.random.default_rng(0).uniform(-6, 8, (2, 2000))
    lines = [
        {"step": 100 * i, "potential_loss": -a, "generator_loss": b}
        for i, (a, b) in enumerate(sizes.T.tolist(), 1)
    ]
    (tmp_path / "config.json").write_text('{"flags": {"dataset": "x"}, "backend": "jax"}')
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    write_page(RunDirectory(tmp_path))
    return lines


def test_script_and_page_write_numbers_alike(browser, long_log, tmp_path):
    from selenium.webdriver.common.keys import Keys

    from uotm_keras.reporting.formatting import grouped, number

    resize(browser, 1280)
    browser.get((tmp_path / "report.html").as_uri())
    plot = find(browser, ".plot")
    places = {name: find(browser, f"[data-line={name}]") for name in long_log[0] if name != "step"}

    def shown() -> list[str]:
        return [find(browser, "[data-at]").text, *(place.text for place in places.values())]

    by_step, at_rest = {line["step"]: line for line in long_log}, shown()
    assert at_rest == ["200\u202f000", *(number(long_log[-1][name]) for name in places)]
    plot.send_keys(Keys.HOME)
    aside = 0
    for _ in range(60):
        plot.send_keys(Keys.ARROW_RIGHT)
        at, *texts = shown()
        for name, text in zip(places, texts, strict=True):
            # The two curves were thinned apart: then the value's own step stands beside it.
            text, _, own = text.removesuffix(")").partition(" (step ")
            step = int(value(own or at))
            assert grouped(step) == (own or at) and text == number(by_step[step][name])
            aside += bool(own)
    assert 0 < aside < 60
    plot.send_keys(Keys.END)
    assert shown() == at_rest


def test_the_table_of_numbers(page, run):
    find(page, ".numbers summary").click()
    rows = find_all(page, "#numbers tbody tr")
    assert len(rows) == len(log_of(run)) == 8
    header = [cell.text for cell in find_all(page, "#numbers thead th")]
    column = header.index("cost")
    for row, line in zip(rows, log_of(run), strict=True):
        cells = [cell.text for cell in find_all(row, "th, td")]
        assert int(cells[0]) == line["step"]
        assert value(cells[column]) == pytest.approx(line["cost"], rel=1e-3)


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_width_overflows(page, width):
    resize(page, width)
    for details in find_all(page, "summary"):
        details.click()
    overflow = page.execute_script(
        "const wide = document.documentElement.clientWidth;"
        "return [document.documentElement.scrollWidth - wide,"
        " [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .skip'))"
        " .filter(e => e.getBoundingClientRect().right > wide + 1).map(e => e.outerHTML)]"
    )
    assert overflow == [0, []]


def test_on_a_phone_text_can_be_read_and_the_slider_be_hit(page):
    resize(page, 375)
    svg = find(page, "svg[data-lines=cost]")
    pixels = 11 * svg.rect["width"] / 360  # the labels' size
    assert pixels >= 9
    assert find(page, "#slider").rect["height"] >= 24
    assert find(page, "#slider").rect["width"] > 200


def contrast(one: str, other: str) -> float:
    """As WCAG 2.1 defines it, of two colors rgb(r, g, b)."""

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def color(selector: str, name: str) -> str:
        return page.execute_script(
            "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]",
            selector, name,
        )  # fmt: skip

    paper, card = color("body", "backgroundColor"), color(".chart", "backgroundColor")
    assert (contrast(paper, "rgb(0, 0, 0)") > 10) == (scheme == "light")
    assert contrast(color("main p", "color"), paper) >= 7
    for selector in (".unit", ".tiles span", ".example", ".legend .at"):
        assert contrast(color(selector, "color"), card) >= 4.5, selector
    assert contrast(color(".plot text", "fill"), card) >= 4.5
    assert contrast(color(".line-0", "stroke"), card) >= 3
    assert contrast(color(".line-1", "stroke"), card) >= 4.5  # of text too: "mixed in"
    assert contrast(color(".axis", "stroke"), card) >= 3
    for bar in (".bar-clean", ".bar-known"):
        assert contrast(color(bar, "fill"), card) >= 3, bar


def test_without_scripts(page, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        shown = [f for f in find_all(browser, "figure.grid") if f.is_displayed()]
        assert len(shown) == 1 and "step 40" in shown[0].text
        assert len(find_all(browser, "g.line > path")) >= 6
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper(page):
    resize(page, 700, "print")
    grids = find_all(page, "figure.grid")
    assert all(g.is_displayed() for g in grids) and not find(page, "#slider").is_displayed()
    resize(page, 1280)
    printed = page.execute_cdp_cmd(
        "Page.printToPDF", {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.69}
    )
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF-") and len(pdf) > 20_000
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 9
    # Printing opens the list of flags and closes it again.
    assert not find(page, "details[data-print]").get_property("open")


def test_its_picture(page):
    """It is not blank: the samples are where they should be."""
    element = find(page, ".compare")
    with Image.open(io.BytesIO(element.screenshot_as_png)) as image:
        low, high = image.convert("L").getextrema()
    assert high - low > 200
