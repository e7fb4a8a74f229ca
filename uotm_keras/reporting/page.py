"""`report.html`: one file that shows a run, without a network."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from uotm_keras.metrics.scorer import LABELS, LOWER_IS_BETTER
from uotm_keras.reporting import charts as report_charts
from uotm_keras.reporting import run_files as report_data
from uotm_keras.reporting.axes import grouped, number
from uotm_keras.reporting.clouds import draw_points, draw_weights
from uotm_keras.reporting.curves import draw
from uotm_keras.reporting.lowest_weights import Outliers
from uotm_keras.reporting.thumbnails import Pictures
from uotm_keras.training.metrics_log import read_log
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.utils.files import write_text

_TEMPLATES = Path(__file__).parent / "templates"
_TABLE_ROWS = 100
_PRINTED_GRIDS = 5


def write_page(
    directory: RunDirectory,
    *,
    step: int | None = None,
    defaults: Mapping | None = None,
    unset: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
    protocol: Sequence[str] = (),
    outliers: Outliers | str = "",
    pictures: Pictures | None = None,
    now: datetime | None = None,
) -> Path:
    """Builds the page of a run from what lies in its directory, and puts it there.

    Args:
        directory: of the run.
        step: the step that the run has reached; None takes the log's last.
        defaults: the flags' default values; flags that differ come first.
        unset: what the value None of a flag is on the command line, where it is not "none".
        facts: more lines for "What was trained".
        protocol: sentences on how its scores are made.
        outliers: the training data of lowest weight, or why they are not there.
        pictures: those embedded before; keep it from page to page to save time.
        now: the time to state; None takes the clock's.

    Returns:
        The file's path.

    Raises:
        InputError: the run's files cannot be read, or the page cannot be written.
    """
    text = render(
        directory.path.resolve().name,
        directory.read_config(),
        read_log(directory.metrics),
        step=step, defaults=defaults or {}, unset=unset or {}, facts=facts or {},
        protocol=protocol, outliers=outliers, now=now or datetime.now(UTC),
        best=report_data.best_checkpoint(directory),
        **_samples(directory, pictures or Pictures()),
    )  # fmt: skip
    write_text(directory.page, text)
    return directory.page


def render(
    name: str,
    config: Mapping,
    lines: Sequence[Mapping],
    *,
    step: int | None,
    defaults: Mapping,
    unset: Mapping[str, str],
    facts: Mapping[str, str],
    protocol: Sequence[str],
    outliers: Outliers | str,
    now: datetime,
    best: Mapping | None,
    grids: Sequence[Mapping],
    beside: Sequence[Mapping],
    grid_note: str,
) -> str:
    """The page's text; the arguments are those of `write_page`, read.

    Args:
        name: of the run.
        config: of `RunDirectory.read_config`.
        lines: of `metrics_log.read_log`.
        best: the record of the best checkpoint, or None.
        grids: pictures of samples: `step`, `picture`, and whether it is `printed`.
        beside: pictures beside them: `label`, `alt` and `picture`.
        grid_note: what was left out of `grids` or made smaller.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"grouped": grouped, "number": number}
    style, script = (
        (_TEMPLATES / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
    flags = config["flags"]
    curves = report_data.curves(lines)
    last = max([step or 0, *(line["step"] for line in lines), *(g["step"] for g in grids)])
    groups = {
        kind: [_drawn(chart, last) for chart in charts]
        for kind, charts in (
            ("scores", report_charts.score_charts(curves)),
            ("training", report_charts.training_charts(curves)),
            ("machine", report_charts.machine_charts(curves)),
        )
    }
    step = last if step is None else step
    return environment.get_template("report.html").render(
        style=style, script=script, style_hash=_hash(style), script_hash=_hash(script),
        name=name, flags=flags, config=config, step=step, now=now,
        max_steps=flags.get("max_steps", step),
        title=f"UOTM on {flags.get('dataset', 'unknown data')}",
        tiles=_tiles(lines, step), facts=_facts(config, step, facts),
        texts={name: _text(value, unset.get(name, "none")) for name, value in flags.items()},
        changed=_changed(flags, defaults), groups=groups,
        constants=report_charts.constants(curves),
        protocol=protocol, best=_best(best), grids=grids, beside=beside, grid_note=grid_note,
        outliers=None if isinstance(outliers, str) else _outliers(outliers),
        no_outliers=outliers if isinstance(outliers, str) else "",
        columns=list(curves), rows=_rows(lines), lines=len(lines),
        drawn=max((len(curve.steps) for curve in curves.values()), default=0),
        data=_data(step, len(lines), curves),
    )  # fmt: skip


def _hash(text: str) -> str:
    """The page's policy lets the browser take this script and this style, and no other."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _samples(directory: RunDirectory, pictures: Pictures) -> dict:
    found = report_data.sample_grids(directory)
    chosen = [found[i] for i in report_data.evenly(len(found), report_data.GRIDS)]
    read = [(grid, pictures.embed(grid.path)) for grid in chosen]
    grids = [{"step": grid.step, "picture": p} for grid, p in read if p is not None]
    printed = set(report_data.evenly(len(grids), _PRINTED_GRIDS))
    for i, grid in enumerate(grids):
        grid["printed"] = i in printed
    beside = []
    for file, label, alt in (
        ("real.png", "Real data", "Examples of the training data"),
        ("source.png", "Source", "Examples of the source, which the samples were made from"),
    ):
        picture = pictures.embed(directory.samples / file)
        if picture is not None:
            beside.append({"label": label, "alt": alt, "picture": picture})
    notes = []
    if len(chosen) < len(found):
        notes.append(f"{len(chosen)} of {len(found)} sample grids are here, evenly spaced.")
    if len(grids) < len(chosen):
        notes.append(f"{len(chosen) - len(grids)} could not be read.")
    if not all(entry["picture"].exact for entry in [*grids, *beside]):
        notes.append("Large pictures were made smaller for this page; samples/ has them whole.")
    return {"grids": grids, "beside": beside, "grid_note": " ".join(notes)}


def _drawn(chart: report_charts.Chart, last_step: int) -> dict:
    outside = chart.outside()
    notes = []
    if chart.scale().log:
        notes.append("logarithmic axis")
    if outside:
        notes.append(f"{outside} {'point lies' if outside == 1 else 'points lie'} outside the axis")
    return {"chart": chart, "svg": draw(chart, last_step), "notes": notes}


def _tiles(lines: Sequence[Mapping], step: int) -> list[tuple[str, str]]:
    """The run at a glance: (what, value)."""
    newest = {name: value for line in lines for name, value in line.items()}
    tiles = []
    if "seconds" in newest:
        tiles.append(("training time", duration(newest["seconds"])))
    for name in LABELS:
        if name in newest and name in LOWER_IS_BETTER:
            tiles.append((LABELS[name], number(newest[name])))
    if "images_per_second" in newest:
        rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
        tiles.append(("images / s, median", number(float(np.median(rates)))))
    if "memory_mb" in newest:
        highest = max(line.get("memory_mb", 0) for line in lines)
        tiles.append(("memory, MiB, highest", number(highest)))
    return tiles


def _facts(config: Mapping, step: int, more: Mapping[str, str]) -> dict[str, str]:
    flags = config["flags"]
    facts = {"data set": flags.get("dataset"), "outliers mixed in": flags.get("contaminate")}
    facts["source"] = flags.get("source_dataset") or "Gaussian noise"
    if config.get("data_shape"):
        facts["shape of an example"] = " × ".join(map(str, config["data_shape"]))
    if flags.get("batch_size"):
        facts["examples seen"] = f"{grouped(step * flags['batch_size'])} in {grouped(step)} steps"
    facts |= more
    facts["backend"] = config["backend"]
    facts["device"] = config.get("device")
    facts["started"] = str(config.get("started") or "").replace("T", " ").replace("+00:00", " UTC")
    facts["versions"] = ", ".join(f"{k} {v}" for k, v in (config.get("versions") or {}).items())
    facts["commit"] = _commit(config.get("git_commit"))
    return {name: str(value) for name, value in facts.items() if value}


def _commit(recorded: str | None) -> str:
    if not recorded:
        return ""
    return recorded[:12] + (", with changes" if recorded.endswith("+") else "")


def _changed(flags: Mapping, defaults: Mapping) -> list[str]:
    """The names of the flags with other values than their defaults."""
    return [name for name in flags if name in defaults and defaults[name] != flags[name]]


def _best(record: Mapping | None) -> str:
    if record is None:
        return ""
    metric = LABELS.get(record["metric"], record["metric"])
    about = [f"{record[k]} {k}" for k in ("samples",) if k in record]
    about += [f"{k} {record[k]}" for k in ("seed", "protocol") if k in record]
    about += [
        f"{k} {str(record[k])[:40]}" for k in ("reference", "network", "preprocessing", "weights")
        if record.get(k)
    ]  # fmt: skip
    return (
        f"Best checkpoint: step {grouped(record['step'])}, {metric} {number(record['score'])}"
        f" ({', '.join(about)})."
    )


def _outliers(found: Outliers) -> dict:
    finite = np.isfinite(found.weights)
    weights, known = found.weights[finite], found.known[finite]
    drawings = []
    if len(weights) > 1:
        drawings.append(("Weights", "training examples", draw_weights(weights, known)))
    if found.points is not None and len(weights) > 1:
        flat = found.points.shape[1] == 1
        drawings.append(
            (
                "Where the lowest lie",
                "weight" if flat else "y₂",
                draw_points(found.points[finite], weights, len(found.lowest)),
            )
        )
    return {
        "found": found, "drawings": drawings,
        "median": float(np.median(found.weights)), "any_known": bool(known.any()),
    }  # fmt: skip


def _rows(lines: Sequence[Mapping]) -> list[Mapping]:
    return [lines[i] for i in report_data.evenly(len(lines), _TABLE_ROWS)]


def _data(step: int, lines: int, curves: Mapping[str, report_data.Curve]) -> dict:
    """What the script reads, and any other program may."""
    return {
        "step": step,
        "lines": lines,
        "curves": {
            name: {"steps": curve.steps.tolist(), "values": curve.values.tolist()}
            for name, curve in curves.items()
        },
    }


def _text(value: object, unset: str) -> str:
    """A flag's value as it is given on the command line."""
    if value is None:
        return unset
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def duration(seconds: float) -> str:
    """Such as 25 s, 3 min 56 s, 2 h 5 min, 4 d 1 h."""
    rest = round(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
