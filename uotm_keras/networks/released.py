"""Weights with the names and layouts of the authors' released PyTorch checkpoints.

Convolutions are (out, in, k, k) there and (k, k, in, out) here; dense layers are (out, in)
and (in, out); the attention's `NIN` matrices are (in, out) in both.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from uotm_keras.networks.layers import (
    AdaptiveGroupNorm,
    DownResidualBlock,
    GroupNorm,
    SelfAttention,
    StyledResidualBlock,
)
from uotm_keras.networks.ncsnpp import NCSNpp
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.npz import read_arrays
from uotm_keras.utils.pth import read_state_dict

_StateDict = Mapping[str, Any] | str | os.PathLike
_Axes = dict[str, tuple[int, ...] | None]
_TO_OURS: _Axes = {"conv": (2, 3, 1, 0), "dense": (1, 0), "same": None}
_TO_RELEASED: _Axes = {
    "conv": (3, 2, 0, 1),
    "dense": (1, 0),
    "same": None,
}


class _Entry(NamedTuple):
    name: str
    variable: keras.Variable
    layout: str


def load_released_generator(
    generator: NCSNpp, state_dict: Mapping[str, np.ndarray] | str | os.PathLike
) -> NCSNpp:
    """Load a released generator's weights into an `NCSNpp` of the same configuration.

    Args:
        generator: the network, whose weights are set in place.
        state_dict: arrays by released name (with or without the prefix `module.`), or the
            path of a `.pth` or `.npz` file of them. A `.pth` file is read without PyTorch,
            and nothing in it is executed. `Dense_0` entries, which the released code never
            uses, are ignored.

    Returns:
        The generator.

    Raises:
        InputError: arrays are missing, unused or of another shape (all are listed); the
            generator is then unchanged.
    """
    _load(list(_generator_entries(generator)), state_dict, "generator")
    return generator


def load_released_potential(
    potential: keras.Model, state_dict: Mapping[str, np.ndarray] | str | os.PathLike
) -> keras.Model:
    """Load a released potential's weights into a `SmallPotential` or `LargePotential`.

    See `load_released_generator`.
    """
    _load(list(_potential_entries(potential)), state_dict, "potential")
    return potential


def released_generator_state(generator: NCSNpp) -> dict[str, np.ndarray]:
    """Return the generator's weights with the released names and layouts."""
    return _state(_generator_entries(generator))


def released_potential_state(potential: keras.Model) -> dict[str, np.ndarray]:
    """Return the potential's weights with the released names and layouts."""
    return _state(_potential_entries(potential))


def _state(entries: Iterator[_Entry]) -> dict[str, np.ndarray]:
    return {
        e.name: _transposed(keras.ops.convert_to_numpy(e.variable), _TO_RELEASED[e.layout])
        for e in entries
    }


def _transposed(array: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    return array if axes is None else np.transpose(array, axes)


# --- names --------------------------------------------------------------------------------


def _generator_entries(generator: NCSNpp) -> Iterator[_Entry]:
    for number, name in enumerate(_run_order(generator)):
        yield from _layer_entries(f"all_modules.{number}", generator.get_layer(name))
    for i in range(generator.mapping_layers + 1):
        yield from _kernel_and_bias(
            f"z_transform.{2 * i + 1}", generator.get_layer(f"mapping_{i}"), "dense"
        )


def _run_order(generator: NCSNpp) -> Iterator[str]:
    """The layers with weights, except the mapping network, in the order in which they run."""
    present = {layer.name for layer in generator.layers}
    levels = range(len(generator.channel_multipliers))
    order = ["stem"]
    for level in levels:
        for i in range(generator.num_res_blocks):
            order += [f"down_{level}_block_{i}", f"down_{level}_attention_{i}"]
        order += [f"down_{level}_resample", f"pyramid_{level}_conv"]
    order += ["middle_block_0", "middle_attention", "middle_block_1"]
    for level in reversed(levels):
        order += [f"up_{level}_block_{i}" for i in range(generator.num_res_blocks + 1)]
        order += [f"up_{level}_attention", f"up_{level}_resample"]
    order += ["head_norm", "head_conv"]
    return (name for name in order if name in present)


def _potential_entries(potential: keras.Model) -> Iterator[_Entry]:
    yield from _kernel_and_bias("start_conv", potential.get_layer("stem"), "conv")
    blocks = [layer for layer in potential.layers if isinstance(layer, DownResidualBlock)]
    for number in range(len(blocks)):
        block = potential.get_layer(f"block_{number}")
        prefix = f"conv{number + 1}"
        yield from _kernel_and_bias(f"{prefix}.conv1.0", block.conv_1, "conv")
        yield from _kernel_and_bias(f"{prefix}.conv2.0", block.conv_2, "conv")
        yield _Entry(f"{prefix}.skip.0.weight", block.shortcut.kernel, "conv")
    yield from _kernel_and_bias("final_conv", potential.get_layer("final_conv"), "conv")
    yield from _kernel_and_bias("end_linear", potential.get_layer("value"), "dense")


def _kernel_and_bias(prefix: str, layer: Any, layout: str) -> Iterator[_Entry]:
    yield _Entry(f"{prefix}.weight", layer.kernel, layout)
    yield _Entry(f"{prefix}.bias", layer.bias, "same")


def _layer_entries(prefix: str, layer: Any) -> Iterator[_Entry]:
    if isinstance(layer, StyledResidualBlock):
        yield from _layer_entries(f"{prefix}.GroupNorm_0", layer.norm_1)
        yield from _kernel_and_bias(f"{prefix}.Conv_0", layer.conv_1, "conv")
        yield from _layer_entries(f"{prefix}.GroupNorm_1", layer.norm_2)
        yield from _kernel_and_bias(f"{prefix}.Conv_1", layer.conv_2, "conv")
        if layer.shortcut:
            yield from _kernel_and_bias(f"{prefix}.Conv_2", layer.shortcut, "conv")
    elif isinstance(layer, SelfAttention):
        yield from _layer_entries(f"{prefix}.GroupNorm_0", layer.norm)
        dense = (layer.query, layer.key, layer.value, layer.output_projection)
        for i, projection in enumerate(dense):
            yield _Entry(f"{prefix}.NIN_{i}.W", projection.kernel, "same")
            yield _Entry(f"{prefix}.NIN_{i}.b", projection.bias, "same")
    elif isinstance(layer, AdaptiveGroupNorm):
        yield from _kernel_and_bias(f"{prefix}.style", layer, "dense")
    elif isinstance(layer, GroupNorm):
        yield _Entry(f"{prefix}.weight", layer.scale, "same")
        yield _Entry(f"{prefix}.bias", layer.shift, "same")
    elif layer.name.startswith("pyramid"):
        yield from _kernel_and_bias(f"{prefix}.Conv2d_0", layer, "conv")
    else:
        yield from _kernel_and_bias(prefix, layer, "conv")


# --- loading ------------------------------------------------------------------------------


def _load(entries: list[_Entry], state_dict: _StateDict, what: str) -> None:
    state = _read(state_dict)
    expected = {e.name for e in entries}
    unused = [name for name in state if name not in expected and ".Dense_0." not in name]
    missing, misshaped, arrays = [], [], []
    for entry in entries:
        if entry.name not in state:
            missing.append(entry.name)
            continue
        array = _transposed(state[entry.name], _TO_OURS[entry.layout])
        if array.shape != tuple(entry.variable.shape):
            axes = _TO_RELEASED[entry.layout]
            wanted = tuple(entry.variable.shape)
            if axes is not None:
                wanted = tuple(wanted[axis] for axis in axes)
            misshaped.append(f"{entry.name} {state[entry.name].shape} instead of {wanted}")
        arrays.append(array)
    problems = [
        f"{len(names)} {kind} ({_shortened(names)})"
        for kind, names in (
            ("missing", missing),
            ("unused", unused),
            ("of another shape", misshaped),
        )
        if names
    ]
    if problems:
        raise InputError(f"the state dict does not fit this {what}: {'; '.join(problems)}.")
    for entry, array in zip(entries, arrays, strict=True):
        entry.variable.assign(array)


def _shortened(names: list[str], limit: int = 20) -> str:
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _read(state_dict: _StateDict) -> dict[str, np.ndarray]:
    if isinstance(state_dict, (str, os.PathLike)):
        path = os.fspath(state_dict)
        if path.endswith(".npz"):
            state_dict = read_arrays(path)
        else:
            state_dict = read_state_dict(path)
    arrays = {}
    for name, value in state_dict.items():
        if isinstance(value, Mapping):
            raise InputError(
                f"the state dict contains another dict under {name!r}: pass the one that maps "
                "names to arrays."
            )
        value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        arrays[name.removeprefix("module.")] = value
    return arrays
