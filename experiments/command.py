"""What every experiment does around its work: flags, seeds, the three files of results."""

import sys
import time
from collections.abc import Callable, Sequence

from experiments import results
from uotm_keras.cli.entry import run_command
from uotm_keras.cli.parsing import Command, Text, WholeNumber


def new_command(
    usage: str, iterations: int, seeds: int = 3, batch_size: int = 256, width: int = 64
) -> Command:
    """The flags that every experiment has."""
    c = Command(usage)
    c.group("Flags")
    c.add("out", Text("the path of a folder"), "runs/experiments", "Where the files go.")
    c.add("seeds", WholeNumber(1, 1_000), seeds, "Runs of each setting, with seeds 0, 1, ….")
    c.add("iterations", WholeNumber(1, 10_000_000), iterations, "Of training, in each run.")
    c.add("batch_size", WholeNumber(2, 1_000_000), batch_size, "Points a batch.")
    c.add("width", WholeNumber(1, 100_000), width, "Of the networks.")
    return c


def run(
    name: str,
    command: Callable[[], Command],
    work: Callable[[dict], results.Results],
    argv: Sequence[str] | None = None,
) -> int:
    """Does an experiment: 0, or 2 after one sentence on stderr.

    Args:
        name: of the module, and of its files.
        command: gives the flags.
        work: from the flags' values to the results.
        argv: the flags; None takes those of the command line.
    """

    def measured(arguments: list[str]) -> int:
        flags = command().parse(arguments)
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = work(flags)
        shown = [argument for argument in arguments if not argument.startswith("--out")]
        outcome.command = " ".join(["python -m experiments." + name, *shown])
        outcome.wall, outcome.cpu = time.perf_counter() - wall, time.process_time() - cpu
        for path in results.write(outcome, flags["out"], name):
            print(f"  {path}")
        return 0

    return run_command(argv, command, measured)


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)
