"""What the tests of run pages share: runs without training, and pages taken apart."""

import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from uotm_keras.reporting.page import write_page
from uotm_keras.training.run_directory import RunDirectory

FLAGS = {"dataset": "digits", "batch_size": 64, "max_steps": 900, "tau": 0.01, "width": 8,
         "attention_resolutions": [16, 8], "eval_metrics": None, "augment": None}  # fmt: skip
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Every element, as (name, attributes, text directly in it), in order."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.elements, self._open = text, [], []
        self.feed(text)
        assert not self._open, "elements without an end"

    def handle_starttag(self, tag, attributes):
        element = (tag, dict(attributes), [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        opened, _, _ = self._open.pop()
        assert opened == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][2].append(data)

    def all(self, name: str, **attributes) -> list[dict]:
        return [
            {**found, "text": "".join(text)}
            for tag, found, text in self.elements
            if tag == name and attributes.items() <= found.items()
        ]

    def data(self) -> dict:
        (found,) = self.all("script", id="run-data")
        return json.loads(found["text"])


class Run:
    """A run directory as train.py would leave it, without the training."""

    def __init__(self, folder):
        self.directory = RunDirectory(folder)

    def write(self, lines=(), grids=(), flags=None, **config) -> "Run":
        self.directory.path.mkdir(parents=True, exist_ok=True)
        record = {"flags": {**FLAGS, **(flags or {})}, "backend": "jax", **config}
        self.directory.config.write_text(json.dumps(record))
        self.directory.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.directory.samples.mkdir(exist_ok=True)
        for step in grids:
            self.picture(f"step_{step:06d}.png", step % 256)
        return self

    def picture(self, name: str, gray: int) -> None:
        Image.new("L", (4, 3), gray).save(self.directory.samples / name)

    def page(self, **options) -> Page:
        path = write_page(self.directory, **options)
        assert path == self.directory.path / "report.html"
        return Page(path.read_text(encoding="utf-8"))


def log(count: int, every: int = 100, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    columns = ("potential_loss", "generator_loss", "cost", "images_per_second", "memory_mb")
    lines = [
        {"step": every * (i + 1), **{name: float(rng.standard_normal()) for name in columns}}
        for i in range(count)
    ]
    for line in lines[::3]:
        line |= {"digits": float(rng.uniform()), "score_samples": 1000}
    return lines


class Weigher:
    """A model whose weight of an example is its mean, moved to above 0."""

    conditions = None

    def __init__(self):
        self.batches = []

    def target_weights(self, data, batch_size):
        assert len(data) == batch_size
        self.batches.append(batch_size)
        return data.reshape(len(data), -1).mean(axis=1) + 2
