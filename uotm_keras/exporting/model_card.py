"""Write `model_card.md`, which tells strangers what an export is, for the Hugging Face Hub.

The sections are those of "Model Cards for Model Reporting" (Mitchell et al., 2019); the YAML
header is the one that the Hub reads. Whatever a user or a file named is escaped.
"""

from collections.abc import Mapping
from typing import Any

from uotm_keras.exporting.published import markdown, markdown_code, yaml_string

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

_LITERT = """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

run = Interpreter("{folder}/model.tflite").get_signature_runner()
samples = run({arguments})["output_0"]"""

_LIMITATIONS = """\
The generator imitates its training data, including their gaps and biases, and may reproduce
single training examples. Unbalanced transport leaves out what it takes for outliers; these may
be rare but valid examples. Whether and under which license the samples may be used depends on
the training data; this card grants no license."""


def model_card(description: Mapping[str, Any], picture: str | None = None) -> str:
    """Return the model card as Markdown.

    Args:
        description: What `uotm_keras.exporting.export` writes to `uotm_keras.json`. Optional
            entries that appear on the card: `data_set` (a name), `flags` (the flags of the
            run by name), `scores` (by name, each a mapping with `value`, `samples` and other
            entries as returned by `uotm_keras.metrics.Scorer`), `versions` (by package),
            `device`, `seconds` (of training) and `git_commit`.
        picture: The name of a picture of samples next to the card. Defaults to None.

    Returns:
        The text of the card.
    """
    blocks = [
        _header(description),
        f"# {_title(description)}",
        _summary(description),
        f"![Samples for seed 0]({picture})" if picture else None,
        "## How to use",
        _usage(description),
        "## Training",
        _training(description),
        "## Evaluation",
        _evaluation(description),
        "## Limitations",
        _LIMITATIONS,
        "## Citation",
        f"```bibtex\n{_CITATION}\n```",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _title(d: Mapping[str, Any]) -> str:
    return f"UOTM on {markdown_code(d['data_set'])}" if d.get("data_set") else "UOTM generator"


def _header(d: Mapping[str, Any]) -> str:
    lines = ["library_name: keras", "tags:", "- uotm", "- optimal-transport", "- one-step"]
    if len(d["data_shape"]) == 3:
        task = "unconditional-image-generation" if d["gaussian_source"] else "image-to-image"
        lines.append(f"pipeline_tag: {task}")
    if d.get("data_set"):
        lines += ["datasets:", f"- {yaml_string(d['data_set'])}"]
    if d.get("scores"):
        lines += ["metrics:", *(f"- {yaml_string(name)}" for name in d["scores"])]
    return "\n".join(["---", *lines, "---"])


def _summary(d: Mapping[str, Any]) -> str:
    source = "Gaussian noise" if d["gaussian_source"] else "an example of another dataset"
    return (
        f"This generator produces a sample from {source} in one step. It has "
        f"{d['parameters']:,} parameters and was trained by unbalanced optimal transport with "
        f"{d['library']} ({d['backend']} backend). The weights are those of "
        f"training step {d['training_step']} ({d['weights']})."
    )


def _usage(d: Mapping[str, Any]) -> str:
    shape = ", ".join(map(str, d["source_shape"]))
    inputs = [("source", f"({shape})")]
    if d["latent_dim"] is not None:
        inputs.append(("latent", f"({d['latent_dim']})"))
    condition = d.get("condition")
    if d["format"] == "onnx":
        draw = "np.random.randn(16, {}).astype('float32')"
        code, separator = _ONNX, '"{}": {}'
    elif d["format"] == "litert":
        draw, code = "np.random.randn(16, {}).astype('float32')", _LITERT
        separator = "{}={}"
    else:
        draw, code, separator = "tf.random.normal([16, {}])", _SAVED_MODEL, "{}={}"
    drawn = {name: draw.format(size.strip("()")) for name, size in inputs}
    if not d["gaussian_source"]:
        drawn["source"] = "images"
    if condition is not None:
        size = ", ".join(map(str, [16, *condition["shape"]]))
        zeros = "tf.zeros" if d["format"] == "savedmodel" else "np.zeros"
        drawn["condition"] = f"{zeros}([{size}], '{_condition_dtype(condition)}')"
    first = ""
    if d["gaussian_source"]:
        more = f", condition={drawn['condition']}" if condition is not None else ""
        first = (
            f'samples = model.signatures["sample"](n=tf.constant(16), seed=tf.constant(0){more})'
            '["output_0"]\n'
        )
    arguments = ", ".join(separator.format(name, value) for name, value in drawn.items())
    program = code.format(folder="FOLDER", first=first, arguments=arguments)
    given = "float32, drawn from N(0, 1)" if d["gaussian_source"] else "float32, like the output"
    rows = [
        "| tensor | shape | values |",
        "|---|---|---|",
        f"| `source` | (batch, {shape}) | {given} |",
    ]
    if d["latent_dim"] is not None:
        rows.append(f"| `latent` | (batch, {d['latent_dim']}) | float32, drawn from N(0, 1) |")
    if condition is not None:
        size = ", ".join(map(str, ["batch", *condition["shape"]]))
        rows.append(f"| `condition` | ({size}) | {_condition_values(d, condition)} |")
    rows.append(f"| `output_0` | (batch, {', '.join(map(str, d['data_shape']))}) | {d['output']} |")
    return f"```python\n{program}\n```\n\n" + "\n".join(rows)


def _condition_dtype(condition: Mapping[str, Any]) -> str:
    return "float32" if condition["num_classes"] is None else "int32"


def _condition_values(d: Mapping[str, Any], condition: Mapping[str, Any]) -> str:
    text = _condition_dtype(condition)
    if condition["num_classes"] is not None:
        text += ", labels from 0 to at most " + ", ".join(
            str(count - 1) for count in condition["num_classes"]
        )
    names = d.get("class_names")
    return f"{text}: {', '.join(map(markdown, names))}" if names else text


def _training(d: Mapping[str, Any]) -> str:
    facts = []
    for name, label in (("data_set", "dataset"), ("device", "device"), ("git_commit", "commit")):
        if d.get(name):
            facts.append(f"- {label}: {markdown_code(d[name])}")
    if d.get("seconds"):
        facts.append(f"- time: {d['seconds'] / 3600:.2g} hours")
    if d.get("versions"):
        versions = ", ".join(f"{markdown(k)} {markdown(v)}" for k, v in d["versions"].items())
        facts.append(f"- versions: {versions}")
    text = "\n".join(facts)
    if d.get("flags"):
        table = ["| flag | value |", "|---|---|"]
        for name, value in d["flags"].items():
            shown = markdown_code("none" if value is None else value)
            table.append(f"| {markdown_code(f'--{name}')} | {shown} |")
        text += "\n\n" + "\n".join(table)
    return text.strip() or "This export has no record of its training."


def _evaluation(d: Mapping[str, Any]) -> str:
    if not d.get("scores"):
        return "No scores were computed at this step."
    rows = ["| score | value | samples | protocol |", "|---|---|---|---|"]
    for name, record in d["scores"].items():
        value = f"{record['value']:.4g}"
        if "std" in record:
            value += f" ± {record['std']:.2g}"
        about = [str(record[key]) for key in ("reference", "network", "weights") if record.get(key)]
        samples = markdown(record.get("samples", ""))
        rows.append(f"| {markdown(name)} | {value} | {samples} | {markdown(', '.join(about))} |")
    return "\n".join(rows)
