"""The backend's own convolution against Keras's, and what a compiled step may not do twice."""

import keras
import numpy as np
import pytest
from keras import ops

from uotm_keras import backend
from uotm_keras.networks.layers import Convolution


def penalty_and_gradients(convolve, x, kernel):
    """A loss with ‖∇ₓ‖² in it, as R1 has, and its gradients in x and the kernel."""

    def value(x, kernel):
        def inner(x):
            return ops.sum(ops.tanh(convolve(ops.tanh(x), kernel)), axis=(1, 2, 3))

        v, gradient = backend.value_and_input_gradient(inner, x)
        return ops.sum(v) + ops.sum(ops.square(gradient))

    name = keras.backend.backend()
    if name == "jax":
        import jax

        return jax.value_and_grad(value, argnums=1)(x, kernel)
    if name == "torch":
        import torch

        kernel = kernel.clone().requires_grad_()
        loss = value(x, kernel)
        return loss.detach(), torch.autograd.grad(loss, kernel)[0]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(kernel)
        loss = value(x, kernel)
    return loss, tape.gradient(loss, kernel)


@pytest.mark.parametrize("batch, size, kernel_size", [(4, 6, 3), (3, 5, 1), (6, 32, 3), (2, 8, 5)])
def test_convolution_is_keras_convolution_up_to_second_derivatives(batch, size, kernel_size):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(batch, size, size, 3)).astype("float32")
    kernel = 0.2 * generator.normal(size=(kernel_size, kernel_size, 3, 4)).astype("float32")
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)

    def keras_convolution(x, kernel):
        return ops.conv(x, kernel, 1, "same", "channels_last")

    ours = [ops.convert_to_numpy(backend.convolution(x, kernel))]
    theirs = [ops.convert_to_numpy(keras_convolution(x, kernel))]
    ours += map(ops.convert_to_numpy, penalty_and_gradients(backend.convolution, x, kernel))
    theirs += map(ops.convert_to_numpy, penalty_and_gradients(keras_convolution, x, kernel))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


def test_convolution_layer_is_keras_layer_and_keeps_kernel_through_assignment():
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 3)).astype("float32")
    for arguments in (
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 1},
        {"kernel_size": 3, "strides": 2, "padding": "valid"},
        {"kernel_size": 2, "padding": "same"},
    ):
        ours, theirs = Convolution(5, **arguments), keras.layers.Conv2D(5, **arguments)
        ours.build(x.shape)
        theirs.build(x.shape)
        ours.set_weights(theirs.get_weights())
        np.testing.assert_array_equal(ours.get_weights()[0], theirs.get_weights()[0])
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours(x)), ops.convert_to_numpy(theirs(x)), atol=1e-5
        )


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch runs uncompiled")
def test_nothing_is_traced_again_after_the_first_step(monkeypatch):
    import uotm_keras as uk

    model = uk.UOTM(uk.networks.ResMLPGenerator(2, 2), uk.networks.ResMLPPotential(2))
    model.compile()
    traces = []
    iterate = model._iterate
    monkeypatch.setattr(model, "_iterate", lambda data: (traces.append(1), iterate(data))[1])
    data = np.zeros((32, 2), "float32")
    model.fit(data, batch_size=8, steps_per_epoch=1, verbose=0)
    assert traces
    first = len(traces)
    model.fit(data, batch_size=8, epochs=3, verbose=0)
    model.fit(data, batch_size=8, epochs=1, verbose=0)
    assert len(traces) == first
