"""Packs a run's averaged generator as the weights of a preset: float16, in a .npz.

python experiments/pack_weights.py runs/digits uotm_keras/weights/digits.npz
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from uotm_keras.cli.runs import load_run

run_dir, out = sys.argv[1:]
weights = load_run(run_dir).model.ema_generator.get_weights()
np.savez_compressed(out, **{f"{i:03d}": w.astype("float16") for i, w in enumerate(weights)})
