"""A run on disk: its directory, checkpoints, logs, samples, and the loop that writes them."""
