"""Settings of the process, and Adam's steps in one kernel."""

import keras
import numpy as np
import pytest
from keras import ops

from uotm_keras import backend


@pytest.fixture
def _restored():
    """Restore the settings of the engine."""
    name = keras.backend.backend()
    if name == "torch":
        import torch

        modules = (torch.backends.cuda.matmul, torch.backends.cudnn)
        before = [module.allow_tf32 for module in modules]
        yield
        for module, value in zip(modules, before, strict=True):
            module.allow_tf32 = value
    elif name == "jax":
        import jax

        before = jax.config.jax_default_matmul_precision
        yield
        jax.config.update("jax_default_matmul_precision", before)
    else:
        import tensorflow as tf

        yield
        tf.config.experimental.enable_tensor_float_32_execution(True)


def engine_setting():
    if keras.backend.backend() == "torch":
        import torch

        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    if keras.backend.backend() == "jax":
        import jax

        return jax.config.jax_default_matmul_precision
    import tensorflow as tf

    return tf.config.experimental.tensor_float_32_execution_enabled()


EXPECTED = {
    "torch": {"default": (False, True), "tf32": (True, True), "highest": (False, False)},
    "jax": {"default": None, "tf32": "tensorfloat32", "highest": "highest"},
    "tensorflow": {"default": True, "tf32": True, "highest": False},
}


def test_matmul_precision_is_set_and_changes_nothing_on_a_cpu(_restored):
    generator = np.random.default_rng(0)
    x = ops.convert_to_tensor(generator.normal(size=(2, 8, 8, 3)).astype("float32"))
    kernel = ops.convert_to_tensor(generator.normal(size=(3, 3, 3, 4)).astype("float32"))
    outputs = []
    for precision, setting in EXPECTED[keras.backend.backend()].items():
        backend.set_matmul_precision(precision)
        assert engine_setting() == setting
        y = ops.matmul(backend.convolution(x, kernel), ops.transpose(kernel[0, 0]))
        outputs.append(ops.convert_to_numpy(y))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


@pytest.mark.one_backend("torch")
def test_the_fused_steps_are_those_of_one_variable():
    """The kernel for GPUs, run on the CPU, where PyTorch has it too."""
    import torch

    from uotm_keras.backend.torch import _fused_adam_steps

    generator = np.random.default_rng(0)
    variables, moments = [], []
    for shape in ((3, 3, 8, 16), (16,), (5, 7)):
        variable = keras.Variable(generator.normal(size=shape).astype("float32"))
        if len(shape) == 4:
            backend.arrange_kernel(variable)
        variables.append(variable)
        pair = [keras.Variable(np.zeros(shape, "float32")) for _ in range(2)]
        for moment in pair:
            backend.arrange_like(moment, variable)
        moments.append(pair)
    copies = [
        [v.value.detach().clone(memory_format=torch.preserve_format) for v in (variable, *pair)]
        for variable, pair in zip(variables, moments, strict=True)
    ]
    constants = {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-8}
    for step in (1.0, 2.0, 3.0):
        # Laid out in another way than the kernel is.
        gradients = [
            torch.from_numpy(generator.normal(size=v.shape).astype("float32")) for v in variables
        ]
        settings = {"rate": torch.tensor(1e-3), "step": torch.tensor(step), **constants}
        for gradient, variable, pair in zip(gradients, variables, moments, strict=True):
            backend.adam_step(gradient, variable, *pair, **settings)
        with torch.no_grad():
            _fused_adam_steps(gradients, *zip(*copies, strict=True), **settings)
    for variable, pair, copied in zip(variables, moments, copies, strict=True):
        for ours, theirs in zip((variable, *pair), copied, strict=True):
            torch.testing.assert_close(ours.value.detach(), theirs, rtol=1e-5, atol=1e-7)
