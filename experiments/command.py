"""What every experiment does around its work: flags, seeds, the three files of results."""

import sys
import time
from collections.abc import Callable, Sequence

from experiments import results
from experiments.cases import Cases
from uotm_keras.cli.entry import run_command
from uotm_keras.config.flags import Choice, Command, Text, WholeNumber, WholeNumbers

_KEPT = """\
Each finished case (a setting and a seed) is kept in OUT/.cases: after an interruption the same
command goes on, and --fresh starts afresh. Several commands can share the seeds by
--only_seeds; when all are done, the same command without it writes the files."""


def new_command(
    usage: str, iterations: int, seeds: int = 3, batch_size: int = 256, width: int = 64
) -> Command:
    """The flags that every experiment has."""
    c = Command(f"{usage.rstrip()}\n\n{_KEPT}")
    c.group("Flags")
    c.add("out", Text("the path of a folder"), "runs/experiments", "Where the files go.")
    c.add("seeds", WholeNumber(1, 1_000), seeds, "Runs of each setting, with seeds 0, 1, ….")
    c.add("only_seeds", WholeNumbers(0, empty=True), [],
          "Only these of them, without tables; nothing is all.")  # fmt: skip
    c.add("fresh", Choice("on", "off"), "off", "on does again what has been done before.")
    c.add("iterations", WholeNumber(1, 10_000_000), iterations, "Of training, in each run.")
    c.add("batch_size", WholeNumber(2, 1_000_000), batch_size, "Points a batch.")
    c.add("width", WholeNumber(1, 100_000), width, "Of the networks.")
    return c


def run(
    module: str,
    command: Callable[[], Command],
    work: Callable[[dict, Cases], results.Results | None],
    argv: Sequence[str] | None = None,
    name_of: Callable[[dict], str] | None = None,
) -> int:
    """Does an experiment: 0, or 2 after one sentence on stderr.

    Args:
        module: its name, without "experiments.".
        command: gives the flags.
        work: from the flags' values and the experiment's cases to the results; None where
            `Cases.is_part`.
        argv: the flags; None takes those of the command line.
        name_of: from the flags' values to the name of the files; None: the module's.
    """

    def measured(arguments: list[str]) -> int:
        arguments = ["--fresh=on" if a in ("--fresh", "-fresh") else a for a in arguments]
        flags = command().parse(arguments)
        name = module if name_of is None else name_of(flags)
        cases = Cases(module, flags)
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = work(flags, cases)
        if outcome is None:
            print(f"{len(cases)} cases are in {cases.folder}; the same command without")
            print("--only_seeds, when all seeds are done, writes the files.")
            return 0
        outcome.command = " ".join([f"python -m experiments.{module}", *_shown(arguments)])
        outcome.wall, outcome.cpu = time.perf_counter() - wall, time.process_time() - cpu
        if cases.reused:
            outcome.cpu, outcome.reused = cases.cpu, cases.reused
        for path in results.write(outcome, flags["out"], name):
            print(f"  {path}")
        return 0

    kept = "finished cases are kept, and the same command goes on."
    return run_command(argv, command, measured, kept)


def _shown(arguments: Sequence[str]) -> list[str]:
    """The arguments that change the results."""
    shown, skip = [], False
    for argument in arguments:
        name, equals, _ = argument.lstrip("-").partition("=")
        if skip or (argument.startswith("-") and name in ("out", "fresh")):
            # "--out FOLDER" is two arguments.
            skip = not skip and not equals
            continue
        shown.append(argument)
    return shown


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)
