"""`model_card.md`: what a stranger must know of an export, in the Hugging Face form.

The form is that of "Model Cards for Model Reporting" (Mitchell et al. 2019) with the YAML
head that the Hugging Face Hub reads.
"""

import json
from collections.abc import Mapping

_CITATION = """\
@inproceedings{choi2023uotm,
  title     = {Generative Modeling through the Semi-dual Formulation of Unbalanced Optimal Transport},
  author    = {Choi, Jaemoo and Choi, Jaewoong and Kang, Myungjoo},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023}
}"""  # noqa: E501

_SAVED_MODEL = """\
import tensorflow as tf

model = tf.saved_model.load("{folder}")
{first}served = model.signatures["serve"]({arguments})["output_0"]"""

_ONNX = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{folder}/model.onnx")
(samples,) = session.run(["output_0"], {{{arguments}}})"""


def model_card(description: Mapping, picture: str | None = None) -> str:
    """The card as Markdown.

    Args:
        description: what `exporting.export` writes into `uotm_keras.json`. Told besides, if
            they are there: `data_set`, a name; `flags`, those of the run by name; `scores`,
            by name, each a mapping of `value`, `samples` and more, as `metrics.Scorer` gives;
            `versions`, by package; `device`; `seconds`, of training; `git_commit`.
        picture: the name of a file of samples beside the card.
    """
    blocks = [
        _head(description),
        f"# {_title(description)}",
        _summary(description),
        f"![Samples of the seed 0]({picture})" if picture else None,
        "## How to use it",
        _usage(description),
        "## Training",
        _training(description),
        "## Evaluation",
        _evaluation(description),
        "## Limits",
        _limits(description),
        "## Source",
        f"```bibtex\n{_CITATION}\n```",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _title(d: Mapping) -> str:
    return f"UOTM on {d['data_set']}" if d.get("data_set") else "A UOTM generator"


def _head(d: Mapping) -> str:
    images = len(d["data_shape"]) == 3
    lines = ["library_name: keras", "tags:", "- uotm", "- optimal-transport", "- one-step"]
    if images:
        task = "unconditional-image-generation" if d["gaussian_source"] else "image-to-image"
        lines.append(f"pipeline_tag: {task}")
    if d.get("data_set"):
        lines += ["datasets:", f"- {json.dumps(d['data_set'])}"]
    if d.get("scores"):
        lines += ["metrics:", *(f"- {json.dumps(name)}" for name in d["scores"])]
    return "\n".join(["---", *lines, "---"])


def _summary(d: Mapping) -> str:
    start = "Gaussian noise" if d["gaussian_source"] else "examples of another data set"
    return (
        f"A generator that makes a sample in one step from {start}, trained by unbalanced "
        f"optimal transport with {d['library']} on its {d['backend']} backend: "
        f"{d['parameters']:,} parameters, step {d['training_step']} of training, weights: "
        f"{d['weights']}."
    )


def _usage(d: Mapping) -> str:
    shape = ", ".join(map(str, d["source_shape"]))
    inputs = [("source", f"({shape})")]
    if d["latent_dim"] is not None:
        inputs.append(("latent", f"({d['latent_dim']})"))
    if d["format"] == "onnx":
        draw = "np.random.randn(16, {}).astype('float32')"
        code, separator = _ONNX, '"{}": {}'
    else:
        draw, code, separator = "tf.random.normal([16, {}])", _SAVED_MODEL, "{}={}"
    drawn = {name: draw.format(size.strip("()")) for name, size in inputs}
    if not d["gaussian_source"]:
        drawn["source"] = "images"
    first = ""
    if d["gaussian_source"]:
        first = (
            'samples = model.signatures["sample"](n=tf.constant(16), seed=tf.constant(0))'
            '["output_0"]\n'
        )
    arguments = ", ".join(separator.format(name, value) for name, value in drawn.items())
    program = code.format(folder="FOLDER", first=first, arguments=arguments)
    given = "float32 from N(0, 1)" if d["gaussian_source"] else "float32, as the output"
    rows = [
        "| tensor | shape | values |",
        "|---|---|---|",
        f"| `source` | (batch, {shape}) | {given} |",
    ]
    if d["latent_dim"] is not None:
        rows.append(f"| `latent` | (batch, {d['latent_dim']}) | float32 from N(0, 1) |")
    rows.append(f"| `output_0` | (batch, {', '.join(map(str, d['data_shape']))}) | {d['output']} |")
    return f"```python\n{program}\n```\n\n" + "\n".join(rows)


def _training(d: Mapping) -> str:
    facts = []
    if d.get("data_set"):
        facts.append(f"- data: `{d['data_set']}`")
    for name, label in (("device", "device"), ("git_commit", "commit")):
        if d.get(name):
            facts.append(f"- {label}: {d[name]}")
    if d.get("seconds"):
        facts.append(f"- time: {d['seconds'] / 3600:.2g} hours")
    if d.get("versions"):
        facts.append("- versions: " + ", ".join(f"{k} {v}" for k, v in d["versions"].items()))
    text = "\n".join(facts)
    if d.get("flags"):
        table = ["| flag | value |", "|---|---|"]
        table += [f"| `--{name}` | {_cell(value)} |" for name, value in d["flags"].items()]
        text += "\n\n" + "\n".join(table)
    return text.strip() or "Nothing of the training was recorded with this export."


def _evaluation(d: Mapping) -> str:
    if not d.get("scores"):
        return "Not scored at this step."
    rows = ["| score | value | samples | protocol |", "|---|---|---|---|"]
    for name, record in d["scores"].items():
        value = f"{record['value']:.4g}"
        if "std" in record:
            value += f" ± {record['std']:.2g}"
        about = [str(record[key]) for key in ("reference", "network", "weights") if record.get(key)]
        rows.append(
            f"| {_cell(name)} | {value} | {record.get('samples', '')} | {_cell(', '.join(about))} |"
        )
    return "\n".join(rows)


def _limits(d: Mapping) -> str:
    return (
        "It imitates its training data, with their gaps and biases, and may repeat single "
        "examples. What unbalanced transport took for outliers it leaves out, which may be rare "
        "but right examples. Whether the samples may be used, and under which licence, depends "
        "on the training data; no licence is stated here."
    )


def _cell(value: object) -> str:
    text = "none" if value is None else str(value)
    if isinstance(value, (list, tuple)):
        text = ",".join(map(str, value))
    for mark in "\\`|<>[]":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
