"""A training run: its directory, checkpoints, log, callbacks, and the loop that writes them."""

from uotm_keras.training.scoring import ScoreGenerator

__all__ = ["ScoreGenerator"]
