"""Train a model: `python train.py --help`."""

import os
import sys

if __name__ == "__main__":
    os.environ["UOTM_KERAS_COMMAND"] = "1"  # hides TensorFlow's start-up notes
    from uotm_keras.cli.train import main

    sys.exit(main())
