"""Trains tiny models for some iterations and writes their losses and weights to .npz files.

A program of its own, as the number of devices must be set before a backend is imported:

    python train_once.py 2 '[{"out": "a.npz", "potential": "small", ...}, ...]'
"""

import json
import os
import sys

DEFAULTS = {
    "potential": "resmlp",  # or small: with minibatch standard deviation
    "pairing": "paired",
    "penalty": "r1",  # or wgan_gp
    "batch_statistics": "global",
    "accumulate": 1,
    "jit": "auto",
    "steps_per_execution": 1,
    "batch": 16,
    "steps": 10,
    "static": True,  # whether TensorFlow knows the size of a batch beforehand
    "load": None,  # weights to begin with
    "save": None,  # where to leave them
    "blocks": None,  # pretends that one device is as many, each with its own statistics
    "classes": None,  # of a conditional model
    "policy": "float32",
    "loss_scale": None,  # of both players at the start, in float16
}
SHAPE = (8, 8, 1)


def prepare(devices: int) -> None:
    if os.environ["KERAS_BACKEND"] == "jax" and devices > 1:
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * devices
        )


def make(settings):
    import random

    import keras

    import uotm_keras as uk

    random.seed(0)  # of Keras's initializers
    keras.config.set_dtype_policy(settings["policy"])
    if settings["classes"]:
        classes = {"num_classes": settings["classes"]}
        generator = uk.networks.ResMLPGenerator(SHAPE, 3, width=16, blocks=1, **classes)
        potential = uk.networks.SmallPotential(SHAPE, 2, **classes)
    elif settings["potential"] == "small":
        generator = uk.networks.SmallGenerator(SHAPE, 4)
        potential = uk.networks.SmallPotential(SHAPE, 2)
    else:
        generator = uk.networks.ResMLPGenerator(SHAPE, 3, width=16, blocks=1)
        potential = uk.networks.ResMLPPotential(SHAPE, width=16, blocks=1)
    penalties = {"r1": uk.penalties.R1(0.5), "wgan_gp": uk.penalties.WassersteinGP(1.0)}
    model = uk.UOTM(
        generator,
        potential,
        cost=uk.costs.Quadratic(0.05),
        gradient_penalty=penalties[settings["penalty"]],
        pairing=settings["pairing"],
        batch_statistics=settings["batch_statistics"],
        ema_decay=0.9,
        seed=7,
    )
    model.compile(
        uk.optimizers.Adam(1e-3),
        uk.optimizers.Adam(1e-3),
        jit_compile=settings["jit"],
        accumulate=settings["accumulate"],
        steps_per_execution=settings["steps_per_execution"],
    )
    if settings["load"]:
        model.load_weights(settings["load"])
    if settings["loss_scale"]:
        for optimizer in (model.generator_optimizer, model.potential_optimizer):
            optimizer.dynamic_scale.assign(settings["loss_scale"])
    return model


def open_distribution(devices: int):
    """(scope to make models in, processes, this one's number)."""
    import contextlib

    from uotm_keras.backend import distribution

    cluster = distribution.find_cluster()
    if devices == 1 and cluster is None:
        return contextlib.nullcontext, 1, 0
    group = distribution.open_process_group(cluster, 300) if cluster else None
    opened = distribution.open_distribution("multiworker" if cluster else "mirrored", group)
    return opened.scope, opened.processes, opened.process


def train(settings, scope, processes: int, process: int) -> None:
    import keras
    import numpy as np

    from uotm_keras.backend import distribution

    with scope():
        model = make(settings)
    if settings["blocks"]:
        distribution.devices_of_a_batch = lambda: settings["blocks"]

    rng = np.random.default_rng(3)
    steps, batch = settings["steps"], settings["batch"]
    data = np.tanh(rng.normal(size=(steps * batch, *SHAPE))).astype("float32")
    labels = np.arange(len(data)) * 7 % 10 % (settings["classes"] or 1)
    labeled = settings["classes"] is not None
    if labeled:
        model.adapt_conditions(labels)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((data, labels) if labeled else data)
        data = data.batch(batch, drop_remainder=settings["static"])
        arguments = {}
    else:
        data = data.reshape(steps, processes, -1, *SHAPE)[:, process]
        arguments = {"batch_size": data.shape[1]}
        data = data.reshape(-1, *SHAPE)
        if labeled:
            arguments["y"] = labels.reshape(steps, processes, -1)[:, process].reshape(-1)

    losses = []
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda _, logs: losses.append([float(logs[k]) for k in sorted(logs)])
    )
    model.fit(data, verbose=0, shuffle=False, callbacks=[keep], **arguments)
    if settings["save"] and process == 0:
        model.save_weights(settings["save"])
    weights = {f"weight_{i}": w for i, w in enumerate(model.get_weights())}
    if settings["loss_scale"]:
        weights["scales"] = np.array(
            [
                [float(keras.ops.convert_to_numpy(v)) for v in (o.dynamic_scale, o.iterations)]
                for o in (model.generator_optimizer, model.potential_optimizer)
            ]
        )
    if process == 0:
        weights["samples"] = model.transport(
            np.zeros((3, *model.source_shape), "float32"),
            np.zeros((3, model.latent_dim or 0)),
            condition=[0, 1, 2] if labeled else None,
        )
    np.savez(settings["out"] + f"_{process}.npz", losses=np.array(losses), **weights)


if __name__ == "__main__":
    devices = int(sys.argv[1])
    prepare(devices)
    opened = open_distribution(devices)
    for settings in json.loads(sys.argv[2]):
        train({**DEFAULTS, **settings}, *opened)
