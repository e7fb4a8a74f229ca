"""Trains a UOTM: `python train.py --help`."""

import os
import sys


def _quietly_import_main():
    """Imports the command without the notes that TensorFlow writes to stderr as it loads."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        from uotm_keras.cli.train import main
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
    return main


if __name__ == "__main__":
    sys.exit(_quietly_import_main()())
