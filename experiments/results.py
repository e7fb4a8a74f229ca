"""Results as CSV, as Markdown and as a figure."""

import csv
import io
import math
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from uotm_keras import backend
from uotm_keras.utils.files import atomic_path, write_text


@dataclass
class Table:
    """Rows of named values; `columns` maps a key to its heading and its format."""

    columns: dict[str, tuple[str, str]]
    rows: list[dict]
    title: str = ""

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""] if self.title else []
        lines.append("| " + " | ".join(heading for heading, _ in self.columns.values()) + " |")
        lines.append("|" + "---|" * len(self.columns))
        for row in self.rows:
            cells = [
                shown(row.get(key), fmt, row.get(f"{key}_sd")) + row.get(f"{key}_of", "")
                for key, (_, fmt) in self.columns.items()
            ]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)


@dataclass
class Results:
    """What an experiment found: a page of text and tables, the single runs, a figure.

    `wall` and `cpu` are seconds of the command; where it took `reused` runs from commands
    before it, `cpu` is that of all runs.
    """

    title: str
    text: str
    tables: list[Table]
    runs: list[dict]
    figure: object | None = None
    caption: str = ""
    command: str = ""
    wall: float = 0.0
    cpu: float = 0.0
    reused: int = 0


def shown(value, fmt: str, deviation=None) -> str:
    """A cell of a table, with its standard deviation if there is one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not fmt or isinstance(value, str):
        return str(value)
    text = format(value, fmt)
    return text if deviation is None else f"{text} ± {format(deviation, fmt)}"


def over_seeds(runs: Iterable[dict], keys: Iterable[str]) -> list[dict]:
    """Means and standard deviations (over n − 1) of all numbers, grouped by `keys`.

    NaN, which a run that has diverged leaves, does not count; the cell says how many do.
    """
    keys = list(keys)
    groups: dict[tuple, list[dict]] = {}
    for row in runs:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    summary = []
    for group in groups.values():
        row = {key: group[0][key] for key in keys}
        for key, value in group[0].items():
            if key in keys or key == "seed" or not isinstance(value, (int, float)):
                continue
            values = np.array([r[key] for r in group], float)
            values = values[~np.isnan(values)]
            row[key] = float(values.mean()) if len(values) else math.nan
            if 0 < len(values) < len(group):
                row[f"{key}_of"] = f" ({len(values)} of {len(group)} runs)"
            if len(values) > 1:
                row[f"{key}_sd"] = float(values.std(ddof=1))
        summary.append({**row, "seeds": len(group)})
    return summary


def machine() -> str:
    """The machine and the backend, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = backend.describe_device()
    if device.startswith("CPU"):
        device = f"{cores} CPU cores ({platform.machine()})"
    return f"{device}, Keras {keras.__version__} on {keras.backend.backend()}"


def write(outcome: Results, folder: str | os.PathLike, name: str) -> list[Path]:
    """Writes `name`.csv, .md and .png into a folder; their paths."""
    folder = Path(folder).expanduser()
    paths = [folder / f"{name}.csv", folder / f"{name}.md"]
    write_text(paths[0], _csv(outcome.runs))
    if outcome.figure is not None:
        paths.append(folder / f"{name}.png")
        with atomic_path(paths[-1]) as temporary:
            outcome.figure.savefig(temporary, dpi=110)
    page = [f"# {outcome.title}", "", outcome.text.strip(), ""]
    if outcome.figure is not None:
        page += [f"![{outcome.caption or outcome.title}]({name}.png)", ""]
        page += [outcome.caption, ""] if outcome.caption else []
    for table in outcome.tables:
        page += [table.markdown(), ""]
    page += [
        f"Each run by itself: `{name}.csv`. Made by",
        "```bash",
        outcome.command,
        "```",
        _spent(outcome),
        "",
    ]
    write_text(paths[1], "\n".join(page))
    return paths


def _spent(outcome: Results) -> str:
    cpu = f"{_duration(outcome.cpu)} of CPU time"
    if not outcome.reused:
        return f"in {_duration(outcome.wall)} ({cpu}) on {machine()}."
    return (
        f"in {cpu} of all runs, on {machine()}. The last command took "
        f"{_duration(outcome.wall)}: it found {outcome.reused} of the runs finished."
    )


def _csv(rows: list[dict]) -> str:
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow(
            {k: f"{v:.6g}" if isinstance(v, (float, np.floating)) else v for k, v in row.items()}
        )
    return text.getvalue()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
