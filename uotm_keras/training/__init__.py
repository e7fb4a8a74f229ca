"""A run on disk: its directory, checkpoints, logs, samples, scores, and the loop around them."""

from uotm_keras.training.scoring import ScoreGenerator

__all__ = ["ScoreGenerator"]
