"""The papers' claims on points, run and measured against exact answers.

Each module is a command, `python -m experiments.NAME --help`, that writes NAME.csv, NAME.md
and NAME.png; `docs/results/` holds what they wrote with their default settings.
"""
