"""Score a run or a folder of images: `python evaluate.py --help`."""

import os
import sys

if __name__ == "__main__":
    os.environ["UOTM_KERAS_COMMAND"] = "1"  # hides TensorFlow's start-up notes
    from uotm_keras.cli.evaluate import main

    sys.exit(main())
