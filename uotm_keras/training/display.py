"""What a run shows while it trains: a live panel on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType

from uotm_keras.metrics.scorer import LABELS

_UNITS = {
    "steps_per_second": ("{:.1f} steps/s", "steps/s"),
    "images_per_second": ("{:.0f} images/s", "images/s"),
    "potential_loss": ("potential {:.4g}", "potential loss"),
    "generator_loss": ("generator {:.4g}", "generator loss"),
    "cost": ("cost {:.4g}", "transport cost"),
    "penalty": ("penalty {:.4g}", "gradient penalty"),
    "alpha": ("alpha {:.3g}", "alpha"),
    "ema_decay": ("EMA {:g}", "EMA decay"),
    "memory_mb": ("{:.0f} MB", "memory, MB"),
}


class Display:
    """Shows the progress of a run; a context manager.

    Args:
        start, total: the step at which training starts, and at which it ends.
    """

    def __init__(self, start: int, total: int):
        self.total = total
        self._live = None
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
        """Shows a sentence that stays."""
        if self._live:
            self._live.print(text)
        else:
            print(text, flush=True)

    def scored(self, step: int, values: Mapping[str, float], best: Mapping | None) -> None:
        """Shows the scores of a step, and the best one so far if it is kept."""
        shown = [f"{LABELS[name]} {values[name]:.4g}" for name in LABELS if name in values]
        if best is not None:
            new = best["step"] == step
            shown.append(
                "the best so far" if new else f"best {best['score']:.4g} at {best['step']}"
            )
        if self._live:
            self._live.score = f"{', '.join(shown)} (step {step})"
        else:
            print(f"step {step}/{self.total} score  {'  '.join(shown)}", flush=True)

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the numbers of a log interval."""
        rate = values["steps_per_second"]
        left = str(timedelta(seconds=round((self.total - step) / rate))) if rate else "?"
        if self._live:
            self._live.update(step, values, left)
        else:
            parts = [_UNITS[name][0].format(values[name]) for name in _UNITS if name in values]
            share = 100 * step // self.total
            print(f"step {step}/{self.total} {share}%  {'  '.join(parts)}  left {left}", flush=True)


class _LivePanel:
    """A progress bar over a table of numbers, by Rich."""

    def __init__(self, start: int, total: int):
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bar = Progress(TextColumn("step"), BarColumn(None), MofNCompleteColumn())
        self._task = self._bar.add_task("step", total=total, completed=start)
        self._live = Live(self._bar, refresh_per_second=2)
        self.start, self.stop = self._live.start, self._live.stop
        self.score = ""
        """The newest scores, which stay until there are others."""

    def print(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def update(self, step: int, values: Mapping[str, float], left: str) -> None:
        from rich.console import Group
        from rich.table import Table

        self._bar.update(self._task, completed=step)
        table = Table.grid(padding=(0, 2))
        for name, (_, label) in _UNITS.items():
            if name in values:
                table.add_row(label, f"{values[name]:.4g}")
        if self.score:
            table.add_row("score", self.score)
        table.add_row("time left", left)
        self._live.update(Group(self._bar, table))
