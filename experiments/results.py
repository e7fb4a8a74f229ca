"""Results of an experiment as CSV, Markdown and a figure."""

import csv
import io
import math
import os
import platform
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from uotm_keras import backend
from uotm_keras.utils.files import local_path


@dataclass
class Table:
    """Rows of named values; `columns` maps a key to its heading and number format."""

    columns: dict[str, tuple[str, str]]
    rows: list[dict]
    title: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown."""
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
    """The results of an experiment: text, tables, the individual runs and a figure.

    `wall` and `cpu` are the seconds that the command took. If it reused cases that earlier
    commands had finished, `cpu` counts all cases and `reused` is their number.
    """

    title: str
    text: str
    tables: list[Table]
    runs: list[dict]
    figure: Figure | None = None
    caption: str = ""
    command: str = ""
    wall: float = 0.0
    cpu: float = 0.0
    reused: int = 0

    def page(self, name: str) -> str:
        """Return the Markdown page of the results files `name`.csv, .md and .png."""
        paragraphs = self.text.strip().split("\n\n")
        page = [f"# {self.title}", ""]
        for paragraph in paragraphs:
            page += [textwrap.fill(paragraph, 100, break_on_hyphens=False), ""]
        if self.figure is not None:
            page += [f"![{self.caption or self.title}]({name}.png)", ""]
            page += [self.caption, ""] if self.caption else []
        for table in self.tables:
            page += [table.markdown(), ""]
        page += [
            f"`{name}.csv` lists the individual runs. The results were computed by", "",
            "```bash", self.command, "```", "", _spent(self), "",
        ]  # fmt: skip
        return "\n".join(page)


def shown(value: Any, fmt: str, deviation: float | None = None) -> str:
    """Return the text of a table cell, with the standard deviation if there is one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not fmt or isinstance(value, str):
        return str(value)
    text = format(value, fmt)
    return text if deviation is None else f"{text} ± {format(deviation, fmt)}"


def over_seeds(runs: Iterable[dict], keys: Iterable[str]) -> list[dict]:
    """Return means and standard deviations (divisor n − 1) of all numbers, grouped by `keys`.

    NaN, the result of a run that diverged, is excluded; the cell then states how many runs
    count.
    """
    keys = list(keys)
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        groups.setdefault(tuple(run[key] for key in keys), []).append(run)
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


def deviations(seeds: int) -> str:
    """Return a sentence on the numbers of the tables."""
    if seeds == 1:
        return "Each setting was run with one seed."
    return f"The tables show means ± standard deviations over {seeds} seeds."


def machine() -> str:
    """Return a description of the machine and the backend."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = backend.describe_device()
    if device.startswith("CPU"):
        device = f"{cores} CPU core{'' if cores == 1 else 's'} ({platform.machine()})"
    return f"{device}, Keras {keras.__version__} on {keras.backend.backend()}"


def write(outcome: Results, out: str | os.PathLike, name: str) -> list[Path]:
    """Write `name`.csv, .md and .png into the folder `out`; return their paths."""
    folder = local_path(out)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.csv", folder / f"{name}.md"]
    paths[0].write_text(_csv(outcome.runs), encoding="utf-8")
    paths[1].write_text(outcome.page(name), encoding="utf-8")
    if outcome.figure is not None:
        paths.append(folder / f"{name}.png")
        outcome.figure.savefig(paths[-1], dpi=110)
    return paths


def _spent(outcome: Results) -> str:
    if not outcome.reused:
        return (
            f"in {_duration(outcome.wall)} ({_duration(outcome.cpu)} of CPU time) on {machine()}."
        )
    finished = "1 run was" if outcome.reused == 1 else f"{outcome.reused} runs were"
    return (
        f"on {machine()}. All runs together took {_duration(outcome.cpu)} of CPU time. The last "
        f"command took {_duration(outcome.wall)}, because {finished} already finished."
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
