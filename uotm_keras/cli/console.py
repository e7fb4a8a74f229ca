"""Progress bars on a terminal, and the table of scores."""

from collections.abc import Callable, Mapping

from uotm_keras.metrics.scorer import LABELS


class Bars:
    """Progress bars on stderr if it is a terminal. Use it as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    @property
    def shown(self) -> bool:
        """Whether stderr is a terminal."""
        return not self._progress.disable

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def bar(self, label: str, total: int | None) -> Callable[[int], None]:
        """Return a function that advances a bar by a count.

        The bar appears at the first call. A second pass over the same images starts a
        second bar.
        """
        task, done = None, 0

        def advance(count: int) -> None:
            nonlocal task, done
            if task is None or (total is not None and done >= total):
                task, done = self._progress.add_task(label, total=total), 0
            done += count
            self._progress.advance(task, count)

        return advance


def print_scores(result: Mapping, subject: str) -> None:
    """Print a result of `evaluate.py` as a table, with its networks and notes."""
    from rich.console import Console
    from rich.table import Table

    records = result["metrics"]
    table = Table("score", "value", "samples", "reference", title=f"Scores of {subject}")
    for name, record in records.items():
        value = f"{record['value']:.4g}"
        if "std" in record:
            value += f" ± {record['std']:.2g}"
        table.add_row(LABELS[name], value, str(record["samples"]), record["reference"] or "none")
        if "real_against_real" in record:
            table.add_row(
                LABELS[f"{name}_real"], f"{record['real_against_real']:.4g}",
                str(record["real_samples"]), f"{record['real_samples']} other real images",
            )  # fmt: skip
    console = Console(highlight=False, markup=False)
    console.print(table)
    for network in dict.fromkeys(_network(record) for record in records.values()):
        console.print(network, soft_wrap=True)
    console.print(f"protocol {result['protocol']}, seed {result['seed']}", soft_wrap=True)
    for note in result["notes"]:
        console.print(f"note: {note}", soft_wrap=True)


def _network(record: Mapping) -> str:
    return (
        f"network {record['network']}, weights {record['weights'][:12]}, preprocessing "
        f"{record['preprocessing']}"
    )
