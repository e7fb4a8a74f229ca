"""Experiments: the papers' claims, measured against exact answers and on real digits.

Each module is a command; `python -m experiments.NAME --help` describes it. It writes NAME.csv,
NAME.md and NAME.png. docs/results holds the results with the default settings.
"""
