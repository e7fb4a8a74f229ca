"""Draw samples from a trained generator: `python generate.py --help`."""

import os
import sys

if __name__ == "__main__":
    os.environ["UOTM_KERAS_COMMAND"] = "1"  # hides TensorFlow's start-up notes
    from uotm_keras.cli.generate import main

    sys.exit(main())
