"""`python -m uotm_keras report`, and the page that training writes at each checkpoint."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from uotm_keras.cli.shared_flags import run_dir_flag
from uotm_keras.config import Command, Integer, TrainConfig, flag, flags_of, run_command, to_flags
from uotm_keras.utils.errors import InputError

if TYPE_CHECKING:
    from uotm_keras.models.uotm import UOTM
    from uotm_keras.reporting.lowest_weights import LowestWeights
    from uotm_keras.training.data import TrainingData
    from uotm_keras.training.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Which run's page is written, and with how many examples ranked."""

    run_dir: str = run_dir_flag()
    examples: int = flag(
        2048, Integer(0, 10_000_000),
        "Maximum number of training examples whose weights are computed. 0 leaves out the "
        "section on outliers.",
    )  # fmt: skip


COMMAND = Command(
    """\
Write the page of a run again: RUN_DIR/report.html, one file that needs no network.

    python -m uotm_keras report --run_dir=runs/digits

train.py also writes the page at each checkpoint. Here the training examples of lowest weight
come from the latest checkpoint; without a checkpoint or the data they are left out.""",
    ReportConfig,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `run_command`."""
    return run_command(COMMAND, _write, argv)


def _write(config: ReportConfig) -> int:
    from uotm_keras import backend
    from uotm_keras.cli.scores import describe_protocol
    from uotm_keras.reporting.page import write_page
    from uotm_keras.training.data import open_data
    from uotm_keras.training.runs import load_run, open_run

    directory = open_run(config.run_dir)
    backend.prepare_command()
    step: int | None = None
    facts: dict[str, str] = {}
    outliers: LowestWeights | str = "Weights were not computed."
    if config.examples:
        try:
            run = load_run(config.run_dir)
            step, facts = run.step, _network_facts(run.model)
            outliers = _outliers(
                run.model, open_data(run.config, directory.index), step, run.config, config
            )
        except InputError as error:
            outliers = f"Weights could not be computed: {error}"
            print(f"without outliers: {' '.join(str(error).split())}")
    page = write_page(
        directory, step=step, facts=facts, lowest_weights=outliers,
        protocol=describe_protocol(directory.read_flags()), **_about_flags(),
    )  # fmt: skip
    print(f"  page  {page}")
    return 0


def page_writer(
    config: TrainConfig, opened: "TrainingData", directory: "RunDirectory"
) -> Callable[["UOTM", int], None]:
    """Return a function of (model, step) that writes the run's page.

    The function draws no random numbers and does not change the model. Any failure becomes
    one line on stderr, because a page is no reason to end a run.

    Args:
        config: the run's configuration.
        opened: its datasets.
        directory: its directory.
    """
    from uotm_keras.cli.scores import describe_protocol
    from uotm_keras.reporting.page import write_page
    from uotm_keras.reporting.thumbnails import Pictures

    pictures = Pictures()
    page = ReportConfig(run_dir=str(directory.path))

    def write(model: "UOTM", step: int) -> None:
        try:
            write_page(
                directory, step=step, facts=_network_facts(model),
                lowest_weights=_outliers(model, opened, step, config, page),
                protocol=describe_protocol(config), pictures=pictures, **_about_flags(),
            )  # fmt: skip
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            print(f"warning: the run's page was not written: {text}", file=sys.stderr, flush=True)

    return write


def _outliers(
    model: "UOTM", opened: "TrainingData", step: int, config: TrainConfig, page: ReportConfig
) -> "LowestWeights | str":
    """The training examples of lowest weight, or a sentence why there are none."""
    from uotm_keras.reporting.lowest_weights import find_lowest_weights
    from uotm_keras.training.ranking import costs_for_weights

    if not model.objective.relaxes_data:
        return "With --target_divergence=balanced every example has the weight 1."
    # Batches as in training, for potentials with minibatch statistics.
    batch_size = min(config.data.batch_size, len(opened.target))
    costs = costs_for_weights(model, opened.source)
    return find_lowest_weights(model, opened.target, step, batch_size, page.examples, costs)


def _about_flags() -> dict[str, Any]:
    """What the page needs to know about the training flags."""
    defaults = to_flags(TrainConfig())
    known = flags_of(TrainConfig)
    return {
        "defaults": {name: value for name, value in defaults.items() if not known[name].required},
        "unset": {name: known[name].text(None) for name in known if known[name].none},
    }


def _network_facts(model: "UOTM") -> dict[str, str]:
    from uotm_keras.reporting.formatting import grouped

    return {
        f"{name}'s parameters": grouped(getattr(model, name).count_params())
        for name in ("generator", "potential")
    }
