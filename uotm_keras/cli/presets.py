"""`uotm presets`: the presets, and which of them come with weights."""

import dataclasses
from collections.abc import Sequence

from uotm_keras.config import Command, run_command


@dataclasses.dataclass(frozen=True)
class PresetsConfig:
    """This command has no flags of its own."""


COMMAND = Command(
    """\
List the presets: names for UOTM.from_preset, and for --config of the command train.

    uotm presets""",
    PresetsConfig,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `run_command`."""
    return run_command(COMMAND, _list, argv)


def _list(config: PresetsConfig) -> int:
    from rich.console import Console
    from rich.table import Table

    from uotm_keras import presets
    from uotm_keras.models.loading import with_weights

    table = Table("preset", "what it is", "weights", box=None)
    weights = with_weights()
    for name, description in presets.list().items():
        table.add_row(name, description, "yes" if name in weights else "")
    Console(highlight=False, markup=False).print(table)
    return 0
