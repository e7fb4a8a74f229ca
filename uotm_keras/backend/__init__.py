"""The only place that knows TensorFlow, JAX and PyTorch apart.

Each module gives the same few functions, and the one that fits the running Keras
backend is taken at import:

- `value_and_input_gradient(function, x)`: v(x) and ∇v(x), differentiable again;
- `without_gradient(function)`: the function's value, no gradient through it;
- `minimize(model, loss_function, batch, variables, optimizer, micro_batches)`: one optimizer
  step on `loss_function(batch)`. With several micro-batches each tensor of the batch holds
  them along its first axis, and gradients and logs are averaged over them one by one;
- `map_micro_batches(model, function, batch, micro_batches)`: a pair of tensors for each
  micro-batch, without gradient;
- `train_step(model, iterate, *arguments)`: what `keras.Model.train_step` is here;
- `normal(shape, seed)`, `uniform(shape, seed)`: the training noise;
- `compile_arguments(jit_compile)`: (what Keras compiles, what `minimize` compiles);
- `sync(model)`: lets callbacks read the model's variables in the middle of `fit`;
- `adam_step(...)`: one variable's Adam step, ε added to √v̂ after the bias correction;
- `adam_steps(...)`: the same for lists of variables, or None where steps are taken one by one;
- `update_ema(averages, values, decay)`: average ← decay·average + (1 − decay)·value;
- `convolution(x, kernel)`: stride 1, same size, (B, H, W, C) and (k, k, in, out), k odd;
- `arrange_kernel(variable)`: lays a kernel out in memory as `convolution` likes it;
- `arrange_like(variable, other)`: lays a variable out in memory as another of its shape;
- `prepare_command(deterministic=False)`: settings of the whole process, for programs of our own
  only; called before the engine starts;
- `set_matmul_precision(precision)`: how matrix products and convolutions of float32 tensors
  compute on a GPU, "tf32" or "highest"; "default" leaves the engine's own setting;
- `CONVOLUTION_FORMAT`: the data format in which its convolutions run fastest;
- `WRITES_SAVED_MODELS`: whether TensorFlow itself runs the networks;
- `describe_device()`: one line for the records;
- `prefers_bfloat16()`: whether the policy mixed_bfloat16 is known to be faster on this device;
- `require(condition, sentence)`: raises `InputError`, or fails the step where the condition
  is a tensor.

`distribution` is the module of what concerns several devices and processes:

- `REPLICAS_ARE_APART`: whether each replica runs the step on its own rows, or one program
  sees the whole batch;
- `HOW_TO_START_SEVERAL`: processes, in half a sentence;
- `replicas()`, `replica()`: how many run this step, and which one this is;
- `rows_of_all_replicas(rows)`: the rows of the whole batch, given this replica's;
- `gather(x)`: the rows of all replicas in order, no gradient through it;
- `devices_of_a_batch()`: over how many devices a batch that the program sees is spread;
- `shard_rows(x, axis)`: spreads rows evenly over the devices;
- `make_train_function(model, own, force)`: what `keras.Model.make_train_function` is here;
- `predict(network, inputs)`: numpy, run by this process alone;
- `alone()`: in here this process reads and saves a model, while the others wait;
- `find_cluster()`: the processes that the environment names, see `cluster.Cluster`; None for
  one process;
- `split_cpu(count)`: makes so many devices of the CPU, before it is used;
- `count_devices()`: (devices of this process that can share a batch, what they are called);
- `open_process_group(cluster, seconds)`: the `process_group.ProcessGroup` of all processes,
  formed by the engine's own rendezvous;
- `open_distribution(strategy, group)`: a `cluster.Distribution`.
"""

import keras

from uotm_keras.utils.errors import InputError

NAME: str = keras.backend.backend()
"""The running backend: `"tensorflow"`, `"jax"`, or `"torch"`."""
if NAME == "tensorflow":
    from uotm_keras.backend import tensorflow_distribution as distribution
    from uotm_keras.backend.tensorflow import *  # noqa: F403
elif NAME == "jax":
    from uotm_keras.backend import jax_distribution as distribution  # type: ignore[no-redef]
    from uotm_keras.backend.jax import *  # type: ignore[assignment]  # noqa: F403
elif NAME == "torch":
    from uotm_keras.backend import torch_distribution as distribution  # type: ignore[no-redef]  # noqa: F401
    from uotm_keras.backend.torch import *  # noqa: F403
else:
    raise InputError(
        f"KERAS_BACKEND={NAME} is not supported: accepted are tensorflow, jax and torch."
    )
