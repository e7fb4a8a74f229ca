"""`python -m uotm_keras report`, and the page that train.py writes at each checkpoint."""

import sys
from collections.abc import Callable, Mapping, Sequence

from uotm_keras.cli import flags as train_flags
from uotm_keras.cli.entry import run_command
from uotm_keras.config.flags import Command, Text, WholeNumber
from uotm_keras.utils.errors import InputError

USAGE = """\
Writes the page of a run anew: RUN_DIR/report.html, one file to look at without a network.

    python -m uotm_keras report --run_dir=runs/digits

train.py writes it too, at each checkpoint. Here the training data with the lowest weights
come from the newest checkpoint; without one, or without the data, they are left out."""


def command() -> Command:
    """The flags of this command."""
    c = Command(USAGE)
    c.group("Flags")
    c.add("run_dir", Text("the path of a folder"), "runs/digits", "The run's directory.")
    c.add(
        "examples", WholeNumber(0, 10_000_000), 2048,
        "Training examples that are weighed, at most; 0 leaves the outliers out.",
    )  # fmt: skip
    return c


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page as the flags say; 0, or 2 after one sentence on stderr."""
    return run_command(argv, command, lambda arguments: _write(command().parse(arguments)))


def _write(flags: dict) -> int:
    from uotm_keras import backend
    from uotm_keras.cli.build import build_data
    from uotm_keras.cli.runs import load_run, open_run
    from uotm_keras.cli.scores import describe_protocol
    from uotm_keras.reporting.page import write_page

    directory = open_run(flags["run_dir"])
    run_flags, count = directory.read_config()["flags"], flags["examples"]
    backend.prepare_command()
    step, facts, outliers = None, {}, "They were not looked for."
    if count:
        try:
            run = load_run(flags["run_dir"])
            step, facts = run.step, _network_facts(run.model)
            outliers = _outliers(run.model, build_data(run_flags), step, run_flags, count)
        except InputError as error:
            outliers = f"They could not be found here: {error}"
            print(f"without outliers: {' '.join(str(error).split())}")
    page = write_page(
        directory, step=step, facts=facts, lowest_weights=outliers,
        protocol=describe_protocol(run_flags), **_about_flags(),
    )  # fmt: skip
    print(f"  page  {page}")
    return 0


def _outliers(model, data, step: int, flags: Mapping, examples: int):
    """The page's `Outliers`, or a sentence why there are none."""
    from uotm_keras.reporting.lowest_weights import find_lowest_weights

    if flags["target_divergence"] == "balanced":
        return "With --target_divergence=balanced every example has the weight 1: there are none."
    # In batches as in training, for potentials with minibatch statistics.
    batch_size = min(flags["batch_size"], len(data.target))
    return find_lowest_weights(model, data.target, step, batch_size, examples)


def page_writer(flags: Mapping, data, directory) -> Callable[[object, int], None]:
    """A function of (model, step) that writes the run's page.

    It draws no random numbers and leaves the model as it is. Whatever goes wrong is told in
    one line on stderr: a page is no reason to end a run.

    Args:
        flags: of the run.
        data: a `build.Data`.
        directory: the `RunDirectory`.
    """
    from uotm_keras.cli.scores import describe_protocol
    from uotm_keras.reporting.lowest_weights import EXAMPLES
    from uotm_keras.reporting.page import write_page
    from uotm_keras.reporting.thumbnails import Pictures

    pictures = Pictures()

    def write(model, step: int) -> None:
        try:
            write_page(
                directory, step=step, facts=_network_facts(model),
                lowest_weights=_outliers(model, data, step, flags, EXAMPLES),
                protocol=describe_protocol(flags), pictures=pictures, **_about_flags(),
            )  # fmt: skip
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            print(f"warning: the run's page was not written: {text}", file=sys.stderr, flush=True)

    return write


def _about_flags() -> dict:
    """What the page must know of the training flags."""
    values = train_flags.parse(["--run_dir=none", "--dataset=none"])
    command = train_flags.command()
    names = [name for name in values if name not in ("run_dir", "dataset")]
    return {
        "defaults": {name: values[name] for name in names},
        # No flag but these two lacks a default, which says how None is written.
        "unset": {name: str(command.default(name)) for name in names if values[name] is None},
    }


def _network_facts(model) -> dict[str, str]:
    from uotm_keras.reporting.formatting import grouped

    return {
        f"{name}'s parameters": grouped(getattr(model, name).count_params())
        for name in ("generator", "potential")
    }
