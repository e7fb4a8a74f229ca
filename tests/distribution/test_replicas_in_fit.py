"""Plain `fit` over replicas of TensorFlow: what is refused, in a process with two devices."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import uotm_keras as uk

def networks(normalize):
    inputs = keras.Input((2,))
    h = keras.layers.BatchNormalization()(inputs) if normalize else inputs
    potential = keras.Model(inputs, keras.layers.Dense(1)(h))
    return uk.networks.ResMLPGenerator(2, 0, width=4, blocks=1), potential

def tried(action):
    try:
        action()
    except uk.InputError as error:
        print("refused:", error)
    else:
        print("accepted")

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
y = np.zeros((8, 2), "float32")
with strategy.scope():
    normalized, plain, outside = (uk.UOTM(*networks(n)) for n in (True, False, False))
    normalized.compile()
tried(lambda: normalized.fit(y, batch_size=4, verbose=0))
plain.compile("sgd", "sgd")
tried(lambda: plain.fit(y, batch_size=4, verbose=0))
tried(lambda: outside.compile(keras.optimizers.SGD(), keras.optimizers.SGD()))
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="replicas of TensorFlow")
def test_what_is_refused():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "without dropout and batch normalization" in lines[0]
    assert lines[1] == "accepted"
    assert "made outside of strategy.scope()" in lines[2]
