"""The papers' claims, run and measured against exact answers and on real digits.

Each module is a command, `python -m experiments.NAME --help`, that writes NAME.csv, NAME.md
and NAME.png. Those that have been run with their default settings are in docs/results.
"""
