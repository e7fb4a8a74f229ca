"""The only place that knows TensorFlow, JAX and PyTorch apart.

Each module gives the same few functions, and the one that fits the running Keras
backend is taken at import:

- `value_and_input_gradient(function, x)`: v(x) and ∇v(x), differentiable again;
- `without_gradient(function)`: the function's value, no gradient through it;
- `minimize(model, loss_function, variables, optimizer)`: one optimizer step;
- `train_step(model, iterate, *arguments)`: what `keras.Model.train_step` is here;
- `normal(shape, seed)`, `uniform(shape, seed)`: the training noise;
- `compile_arguments(jit_compile)`: (what Keras compiles, what `minimize` compiles);
- `sync(model)`: lets callbacks read the model's variables in the middle of `fit`;
- `adam_step(...)`: one variable's Adam step, ε added to √v̂ after the bias correction;
- `move_average(averages, values, decay)`: average ← decay·average + (1 − decay)·value;
- `convolution(x, kernel)`: stride 1, same size, (B, H, W, C) and (k, k, in, out), k odd;
- `arrange_kernel(variable)`: lays a kernel out in memory as `convolution` likes it;
- `arrange_like(variable, other)`: lays a variable out in memory as another of its shape;
- `prepare_command()`: settings of the whole process, for programs of our own only;
- `CONVOLUTION_FORMAT`: the data format in which its convolutions run fastest;
- `WRITES_SAVED_MODELS`: whether TensorFlow itself runs the networks;
- `describe_device()`: one line for the records.
"""

import keras

from uotm_keras.errors import InputError

_name = keras.backend.backend()
if _name == "tensorflow":
    from uotm_keras.backend.tensorflow import *  # noqa: F403
elif _name == "jax":
    from uotm_keras.backend.jax import *  # noqa: F403
elif _name == "torch":
    from uotm_keras.backend.torch import *  # noqa: F403
else:
    raise InputError(
        f"KERAS_BACKEND={_name} is not supported: accepted are tensorflow, jax and torch."
    )
