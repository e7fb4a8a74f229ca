"""Prepare values that users and files chose for publication: escape them, drop local paths."""

import re
from collections.abc import Mapping
from typing import Any

_DIRECTORIES = re.compile(r"^(\w+:)?.*[/\\](?=[^/\\])", re.DOTALL)
# What can start markup, HTML, an entity, a mention, a formula or (GitHub's) a bare link.
_MARKUP = re.compile(r"([!#$&*+:<>@\[\\\]^_`{|}~]|(?<=www)\.)", re.IGNORECASE)
_PLAIN = re.compile(r"[-+.,\de]+|[A-Za-z]+")
_PATHS = ("reference", "weights")  # The entries of a score that may hold a path.


def without_local_paths(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata in which every path is reduced to its last component.

    `folder:/home/ann/cats` becomes `folder:cats`. Affected are `data_set`, `flags`, and
    `reference` and `weights` of each of `scores`; see `model_card`.
    """
    published = dict(metadata)
    for name in ("data_set", "flags"):
        if name in published:
            published[name] = _last_component(published[name])
    if published.get("scores"):
        published["scores"] = {
            name: {k: _last_component(v) if k in _PATHS else v for k, v in record.items()}
            for name, record in published["scores"].items()
        }
    return published


def _last_component(value: Any) -> Any:
    if isinstance(value, str):
        return _DIRECTORIES.sub(r"\1", value.rstrip("/\\"))
    if isinstance(value, Mapping):
        return {name: _last_component(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_last_component(item) for item in value]
    return value


def one_line(value: object) -> str:
    """Return a value as one line of text that UTF-8 can encode, without invisible characters."""
    if isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    text = " ".join(str(value).split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown(value: object) -> str:
    """Return a value as Markdown text in which nothing is markup, HTML or a link."""
    return _MARKUP.sub(r"\\\1", one_line(value))


def markdown_code(value: object) -> str:
    """Return a value as a Markdown code span that is valid in a table; numbers as they are."""
    text = one_line(value)
    if _PLAIN.fullmatch(text):
        return text
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    text = text.replace("|", "\\|")
    return f"{fence}{space}{text}{space}{fence}"


def yaml_string(value: object) -> str:
    """Return a value as a double-quoted YAML string of ASCII characters."""
    return '"{}"'.format(
        "".join(
            c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}"
            for c in one_line(value)
        )
    )
