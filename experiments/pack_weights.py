"""Pack the averaged generator of a run as the weights of a preset: float16 in an .npz file.

python -m experiments.pack_weights --run_dir=runs/digits --out=uotm_keras/weights/digits.npz
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uotm_keras.config import Command, Text, flag, run_command


@dataclasses.dataclass(frozen=True)
class PackOptions:
    """The flags of this command."""

    run_dir: str = flag("", Text("the path of a run directory"), "The run.", required=True)
    checkpoint: str = flag(
        "newest",
        Text("newest, best, a step, or the path of a .weights.h5 file"),
        "The checkpoint of the run to pack.",
    )
    out: str = flag("", Text("the path of an .npz file"), "The file to write.", required=True)


COMMAND = Command(__doc__ or "", PackOptions)


def work(options: PackOptions) -> int:
    """Write the file."""
    # Imported here, so that mistakes in the flags are reported before Keras starts.
    from uotm_keras.training.runs import load_run

    model = load_run(options.run_dir, checkpoint=options.checkpoint).model
    weights = model.ema_generator.get_weights()
    arrays = {f"{i:03d}": w.astype("float16") for i, w in enumerate(weights)}
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **arrays)
    print(f"{len(arrays)} arrays were written to {options.out}.")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    return run_command(COMMAND, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
