"""The weights of the FID network behind the golden features."""

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"


def seeded_inception() -> dict[str, np.ndarray]:
    """Return the seeded random weights behind the golden features (recipe: golden/README)."""
    rng = np.random.default_rng(1)
    state = {}
    for name, shape in json.loads((GOLDEN / "fid_inception_state_dict.json").read_text()):
        if name.endswith("num_batches_tracked"):
            state[name] = np.zeros(shape, "int64")
            continue
        a = rng.standard_normal(shape).astype("float32")
        if name.endswith("conv.weight"):
            a = a * (1.5 / np.sqrt(np.prod(shape[1:])))
        elif name.endswith("running_var"):
            a = np.abs(a) + 0.5
        elif name.endswith("bn.weight"):
            a = 1 + 0.1 * a
        elif name == "fc.weight":
            a = a / np.sqrt(2048)
        else:
            a = a * 0.1
        state[name] = a.astype("float32")
    return state
