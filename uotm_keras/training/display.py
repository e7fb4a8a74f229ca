"""Show the progress of training: a live panel on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple

from uotm_keras.metrics.scorer import LABELS


class _Column(NamedTuple):
    """How a column of the log is shown."""

    line: str  # Format in a line of plain text.
    label: str  # Label in the live panel.


_COLUMNS = {
    "steps_per_second": _Column("{:.1f} steps/s", "steps/s"),
    "images_per_second": _Column("{:.0f} images/s", "images/s"),
    "potential_loss": _Column("potential {:.4g}", "potential loss"),
    "generator_loss": _Column("generator {:.4g}", "generator loss"),
    "cost": _Column("cost {:.4g}", "transport cost"),
    "penalty": _Column("penalty {:.4g}", "gradient penalty"),
    "source_mass": _Column("source mass {:.3g}", "source mass"),
    "target_mass": _Column("target mass {:.3g}", "target mass"),
    "skipped_updates": _Column("skipped {:.0f} updates", "skipped updates"),
    "alpha": _Column("alpha {:.3g}", "alpha"),
    "ema_decay": _Column("EMA {:g}", "EMA decay"),
    "memory_mb": _Column("{:.0f} MiB", "memory, MiB"),
}


class Display:
    """Show the progress of a run; a context manager.

    Args:
        start: The step at which training starts or resumes.
        total: The step at which it ends.
    """

    def __init__(self, start: int, total: int) -> None:
        self.total = total
        self._live: _LivePanel | None = None
        if sys.stdout.isatty():
            self._live = _LivePanel(start, total)

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def message(self, text: str) -> None:
        """Show a message permanently."""
        if self._live:
            self._live.print(text)
        else:
            print(text, flush=True)

    def scored(
        self, step: int, values: Mapping[str, float], best: Mapping[str, Any] | None
    ) -> None:
        """Show the scores of a step, and the best score so far if `best` is its record."""
        shown = [f"{LABELS[name]} {values[name]:.4g}" for name in LABELS if name in values]
        if best is not None:
            new = best["step"] == step
            shown.append(
                "best so far" if new else f"best {best['score']:.4g} at step {best['step']}"
            )
        if self._live:
            self._live.score = f"{', '.join(shown)} (step {step})"
        else:
            print(f"step {step}/{self.total} score  {'  '.join(shown)}", flush=True)

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values of a log interval."""
        rate = values["steps_per_second"]
        left = str(timedelta(seconds=round((self.total - step) / rate))) if rate else "?"
        if self._live:
            self._live.update(step, values, left)
        else:
            parts = [column.line.format(value) for column, value in _shown(values)]
            share = 100 * step // self.total
            print(f"step {step}/{self.total} {share}%  {'  '.join(parts)}  left {left}", flush=True)


def _shown(values: Mapping[str, float]) -> list[tuple[_Column, float]]:
    """Return the columns that are shown, with their values. Updates are skipped rarely."""
    return [
        (column, values[name])
        for name, column in _COLUMNS.items()
        if name in values and (name != "skipped_updates" or values[name])
    ]


class _LivePanel:
    """A progress bar above a table of values, drawn by Rich."""

    def __init__(self, start: int, total: int) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bar = Progress(TextColumn("step"), BarColumn(None), MofNCompleteColumn())
        self._task = self._bar.add_task("step", total=total, completed=start)
        self._live = Live(self._bar, refresh_per_second=2)
        self.start, self.stop = self._live.start, self._live.stop
        self.score = ""  # The latest scores.

    def print(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def update(self, step: int, values: Mapping[str, float], left: str) -> None:
        from rich.console import Group
        from rich.table import Table

        self._bar.update(self._task, completed=step)
        table = Table.grid(padding=(0, 2))
        for column, value in _shown(values):
            table.add_row(column.label, f"{value:.4g}")
        if self.score:
            table.add_row("score", self.score)
        table.add_row("time left", left)
        self._live.update(Group(self._bar, table))
