"""The run page: one HTML file with the samples, scores, curves and configuration of a run."""
