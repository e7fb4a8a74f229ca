"""The papers' claims, run and measured against exact answers and on real digits.

Each module is a command, `python -m experiments.NAME --help`, that writes NAME.csv, NAME.md
and NAME.png. None has been run with its default settings for the record yet.
"""
