"""The command line that all experiments share: flags, finished cases and results files."""

import dataclasses
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import flags

from experiments import results
from experiments.cases import Cases
from uotm_keras.config import (
    Boolean,
    Command,
    Integer,
    Integers,
    Text,
    flag,
    flags_of,
    run_command,
    to_flags,
)

KEPT = """\
Each finished case (one setting, one seed) is stored in OUT/.cases. After an interruption, the same
command resumes with the remaining cases; --fresh repeats all of them. To share the work, run
several commands with different --only_seeds. Then run the command without it to write the
results."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of every experiment."""

    out: str = flag("runs/experiments", Text("the path of a folder"), "Folder for the results.")
    seeds: int = flag(3, Integer(1, 1_000), "Number of runs per setting, with seeds 0, 1, ….")
    only_seeds: tuple[int, ...] = flag(
        (), Integers(0, empty=True), "Run only these seeds and write no results."
    )
    fresh: bool = flag(False, Boolean(), "Repeat cases that are already finished.")
    iterations: int = flag(6_000, Integer(1, 10_000_000), "Training iterations per run.")
    batch_size: int = flag(256, Integer(2, 1_000_000), "Examples per batch.")
    width: int = flag(64, Integer(1, 100_000), "Width of the networks.")


AnyOptions = TypeVar("AnyOptions", bound=Options)


class PositiveNumbers(flags.ArgumentParser):
    """Parser of one or more positive numbers separated by commas; returns a tuple."""

    syntactic_help = "positive numbers, separated by commas"

    def parse(self, argument: Any) -> tuple[float, ...]:
        """Return the numbers of a text or of a sequence."""
        parts = argument.split(",") if isinstance(argument, str) else argument
        try:
            numbers = tuple(float(part) for part in parts)
        except (TypeError, ValueError):
            numbers = ()
        if not numbers or not all(0 < number < math.inf for number in numbers):
            raise ValueError(f"must be {self.syntactic_help}")
        return numbers


def new_command(
    usage: str | None, options: type[AnyOptions], **defaults: Any
) -> Command[AnyOptions]:
    """Return the command line of an experiment.

    Args:
        usage: the first lines of `--help`; the module's docstring.
        options: a dataclass that extends `Options`.
        defaults: default values of inherited flags.
    """
    return Command(f"{(usage or '').rstrip()}\n\n{KEPT}", options, defaults=defaults)


def run(
    module: str,
    command: Command[AnyOptions],
    work: Callable[[AnyOptions, Cases], results.Results | None],
    argv: Sequence[str] | None = None,
    name_of: Callable[[AnyOptions], str] | None = None,
) -> int:
    """Run an experiment and write its results.

    Args:
        module: the module's name, without "experiments.".
        command: the command line.
        work: computes the results from the options and the experiment's cases; returns None if
            `Cases.is_part`.
        argv: the arguments of the command line; None takes those of the process.
        name_of: returns the name of the results files; None uses `module`.

    Returns:
        The exit code: 0, 2 after one sentence on stderr for bad input, or 130 after Ctrl-C.
    """

    def measured(options: AnyOptions) -> int:
        cases = Cases(module, options.out, to_flags(options))
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = work(options, cases)
        if outcome is None:
            print(f"{len(cases)} cases are stored in {cases.folder}. When all seeds are finished,")
            print("run the same command without --only_seeds to write the results.")
            return 0
        outcome.command = shlex.join(
            ["python", "-m", f"experiments.{module}", *changed_flags(command, options)]
        )
        outcome.wall, outcome.cpu = time.perf_counter() - wall, time.process_time() - cpu
        if cases.reused:
            outcome.cpu, outcome.reused = cases.cpu, cases.reused
        name = module if name_of is None else name_of(options)
        for path in results.write(outcome, options.out, name):
            print(f"  {path}")
        return 0

    kept = "finished cases are stored, and the same command resumes with the rest."
    return run_command(command, measured, argv, kept)


def changed_flags(command: Command[AnyOptions], options: AnyOptions) -> list[str]:
    """Return the flags that change the results and differ from the command's defaults."""
    known, given, defaults = flags_of(type(options)), to_flags(options), to_flags(command.defaults)
    return [
        f"--{name}={known[name].text(value)}"
        for name, value in given.items()
        if value != defaults[name] and name not in ("out", "only_seeds", "fresh")
    ]


def say(text: str) -> None:
    """Print one line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)
