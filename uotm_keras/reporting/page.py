"""Write `report.html`, one file that shows a run without a network connection."""

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uotm_keras.metrics.scorer import LABELS, LOWER_IS_BETTER
from uotm_keras.reporting import charts, figures, run_files
from uotm_keras.reporting.formatting import duration, flag_value, grouped, number
from uotm_keras.reporting.lowest_weights import LowestWeights
from uotm_keras.reporting.thumbnails import Pictures
from uotm_keras.training.metrics_log import read_log
from uotm_keras.training.run_directory import RunDirectory
from uotm_keras.utils.files import write_text

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent / "templates"
_TABLE_ROWS = 100
_PRINTED_GRIDS = 5
_SKIPPED_FILES = 200


def write_page(
    directory: RunDirectory,
    *,
    step: int | None = None,
    defaults: Mapping[str, Any] | None = None,
    unset: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
    protocol: Sequence[str] = (),
    lowest_weights: LowestWeights | str = "",
    pictures: Pictures | None = None,
    now: datetime | None = None,
) -> Path:
    """Write the page of a run from the files in its directory.

    Every argument but the first is optional: the page of a finished run can be rewritten from
    its files alone.

    Args:
        directory: The run's directory.
        step: The training step that the run has reached. Defaults to the last step in the
            log.
        defaults: The default values of the flags; flags that differ are listed first.
        unset: By flag name, how None is written on the command line. Defaults to "none".
        facts: Additional entries of the section "Configuration".
        protocol: Sentences on how the scores are computed.
        lowest_weights: The training examples with the lowest weights, or a sentence that says
            why they are missing.
        pictures: The pictures embedded so far. Pass the same object for every page of a run
            to read each file once.
        now: The time of writing. Defaults to the current time.

    Returns:
        The path of the page.

    Raises:
        InputError: If the run's files cannot be read or the page cannot be written.

    Example:
        >>> write_page(RunDirectory("runs/digits"))  # doctest: +SKIP
        PosixPath('runs/digits/report.html')
    """
    lines = read_log(directory.metrics)
    config = directory.read_config()
    samples = _samples(directory, pictures or Pictures())
    curves = run_files.curves(lines)
    last = max(
        [step or 0, *(line["step"] for line in lines), *(g["step"] for g in samples["grids"])]
    )
    step = last if step is None else step
    flags, unset, defaults = config["flags"], unset or {}, defaults or {}
    missing = isinstance(lowest_weights, str)
    text = _render(
        name=directory.path.resolve().name,
        title=f"UOTM on {flags.get('dataset', 'an unknown dataset')}",
        step=step, max_steps=flags.get("max_steps", step), now=now or datetime.now(UTC),
        tiles=_tiles(lines), groups=_groups(curves, last), constants=charts.constants(curves),
        protocol=protocol, best=_best(run_files.best_checkpoint(directory)),
        lowest=None if isinstance(lowest_weights, str) else _lowest(lowest_weights),
        why_no_lowest=lowest_weights if missing else "",
        facts=_facts(config, step, facts or {}), flags=flags, config=config,
        most_skipped=_SKIPPED_FILES,
        texts={name: flag_value(value, unset.get(name, "none")) for name, value in flags.items()},
        changed=[name for name in flags if name in defaults and defaults[name] != flags[name]],
        columns=list(curves), lines=len(lines), skipped=run_files.skipped_files(directory),
        rows=_rows(lines),
        drawn=max((len(curve.steps) for curve in curves.values()), default=0),
        data=_data(step, len(lines), curves), **samples,
    )  # fmt: skip
    # Names of files and columns may hold lone surrogates, which UTF-8 cannot encode.
    write_text(directory.page, text.encode("utf-8", "replace").decode("utf-8"))
    return directory.page


def _render(**context: Any) -> str:
    """Fill in the template, which escapes all values."""
    return _template().render(context)


@functools.cache
def _template() -> "jinja2.Template":
    """Return the compiled template, which holds the style, the script and their hashes."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"grouped": grouped, "number": number}
    for name, file in (("style", "page.css"), ("script", "page.js")):
        text = (_TEMPLATES / file).read_text(encoding="utf-8")
        environment.globals |= {name: text, f"{name}_hash": _hash(text)}
    return environment.get_template("page.html")


def _hash(text: str) -> str:
    """Return the hash by which the page's policy admits this script or style and no other."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _samples(directory: RunDirectory, pictures: Pictures) -> dict[str, Any]:
    found = run_files.sample_grids(directory)
    chosen = [found[i] for i in run_files.evenly(len(found), run_files.GRIDS)]
    read = [(grid, pictures.embed(grid.path)) for grid in chosen]
    grids: list[dict[str, Any]] = [
        {"step": grid.step, "picture": picture} for grid, picture in read if picture is not None
    ]
    printed = set(run_files.evenly(len(grids), _PRINTED_GRIDS))
    for i, grid in enumerate(grids):
        grid["printed"] = i in printed
    beside = []
    for file, label, alt in (
        ("real.png", "Real data", "Examples of the training data"),
        ("source.png", "Source", "Examples of the source from which the samples were generated"),
    ):
        picture = pictures.embed(directory.samples / file)
        if picture is not None:
            beside.append({"label": label, "alt": alt, "picture": picture})
    notes = []
    if len(chosen) < len(found):
        notes.append(f"{len(chosen)} of {len(found)} sample grids are shown, evenly spaced.")
    if len(grids) < len(chosen):
        notes.append(f"{len(chosen) - len(grids)} could not be read.")
    if not all(entry["picture"].exact for entry in [*grids, *beside]):
        notes.append("Large pictures are scaled down on this page; samples/ has the originals.")
    return {"grids": grids, "beside": beside, "grid_note": " ".join(notes)}


def _groups(curves: Mapping[str, run_files.Curve], last_step: int) -> dict[str, list[dict]]:
    """Draw the charts of each section."""
    return {
        kind: [
            {"chart": chart, "notes": chart.notes(),
             "svg": figures.draw_curves(chart, last_step, f"{kind}-{i}")}
            for i, chart in enumerate(found)
        ]
        for kind, found in (
            ("scores", charts.score_charts(curves)),
            ("training", charts.training_charts(curves)),
            ("machine", charts.machine_charts(curves)),
        )
    }  # fmt: skip


def _tiles(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the key figures of the run as (name, value)."""
    newest = {name: value for line in lines for name, value in line.items()}
    tiles = []
    if "seconds" in newest:
        tiles.append(("training time", duration(newest["seconds"])))
    for name in LABELS:
        if name in newest and name in LOWER_IS_BETTER:
            tiles.append((LABELS[name], number(newest[name])))
    if "images_per_second" in newest:
        rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
        tiles.append(("images / s (median)", number(float(np.median(rates)))))
    skipped = sum(line.get("skipped_updates", 0) for line in lines)
    if skipped:
        tiles.append(("skipped updates", number(skipped)))
    if "memory_mb" in newest:
        highest = max(line.get("memory_mb", 0) for line in lines)
        tiles.append(("memory, MiB (peak)", number(highest)))
    return tiles


def _facts(config: Mapping[str, Any], step: int, more: Mapping[str, str]) -> dict[str, str]:
    flags = config["flags"]
    facts = {"dataset": flags.get("dataset"), "contamination": flags.get("contaminate")}
    facts["source"] = flags.get("source_dataset") or "Gaussian noise"
    if config.get("num_classes"):
        names = ", ".join(map(str, config.get("class_names") or ()))
        facts["conditioned on"] = (
            f"{config['num_classes']} classes{f' ({names})' if names else ''}; each row of the "
            "sample grids is one class"
        )
    if config.get("data_shape"):
        facts["example shape"] = " × ".join(map(str, config["data_shape"]))
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
    return recorded[:12] + (", with local changes" if recorded.endswith("+") else "")


def _best(record: Mapping[str, Any] | None) -> str:
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


def _lowest(lowest: LowestWeights) -> dict[str, Any]:
    finite = np.isfinite(lowest.weights)
    weights, known = lowest.weights[finite], lowest.known[finite]
    drawings = []
    if len(weights) > 1:
        drawings.append(
            ("Weights", "training examples", figures.draw_weights(weights, known, "weights"))
        )
    if lowest.points is not None and len(weights) > 1:
        drawings.append(
            (
                "Points of lowest weight",
                "weight" if lowest.points.shape[1] == 1 else "y₂",
                figures.draw_points(lowest.points[finite], weights, len(lowest.lowest), "points"),
            )
        )
    return {
        "result": lowest, "drawings": drawings,
        "median": float(np.median(lowest.weights)), "any_known": bool(known.any()),
    }  # fmt: skip


def _rows(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of the table, without values that are not numbers."""
    chosen = [lines[i] for i in run_files.evenly(len(lines), _TABLE_ROWS)]
    return [{k: v for k, v in line.items() if run_files.is_number(v)} for line in chosen]


def _data(step: int, lines: int, curves: Mapping[str, run_files.Curve]) -> dict[str, Any]:
    """Return what the page's script reads, and any other program may."""
    return {
        "step": step,
        "lines": lines,
        "curves": {
            name: {"steps": curve.steps.tolist(), "values": curve.values.tolist()}
            for name, curve in curves.items()
        },
    }
