"""State dicts as numpy arrays: made from a seed, written to and read from safetensors files."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasc.compiler.concrete import concrete
from nasc.compiler.ir import Graph, Network
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import StateTensor
from nasc.compiler.structure import parameter_paths
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError

Array = NDArray[Any]
_SHOWN = 3
_DRAWS = 65_521


def graph_state(graph: Graph, paths: Mapping[str, str] | None = None) -> dict[str, StateTensor]:
    """The tensors that a graph's module stores, by their names in its state dict.

    `paths` says where each node's tensors lie (by default `parameter_paths` of the graph).
    """
    where = parameter_paths(graph) if paths is None else paths
    state: dict[str, StateTensor] = {}
    for node in graph.nodes:
        inputs = [graph.tensor(name) for name in node.inputs]
        for tensor in PRIMITIVES[node.op].state(node, inputs):
            state[joined(where[node.name], tensor.name)] = tensor
    return state


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def network_state(network: Network) -> dict[str, StateTensor]:
    """The tensors that a one-member network's `model.py` stores, by their names in its state dict, in order."""
    state: dict[str, StateTensor] = {}
    for layer in concrete(network).layers():
        state.update(graph_state(layer.graph, layer.parameters()))
    return state


def seeded(state: Mapping[str, StateTensor], seed: int) -> dict[str, Array]:
    """An array for each tensor. Each depends on the seed and its name alone, so other layers do not change it."""
    return {name: _drawn(tensor, [seed, zlib.crc32(name.encode())]) for name, tensor in state.items()}


def _drawn(tensor: StateTensor, seed: list[int]) -> Array:
    if not tensor.std:
        return np.full(tensor.shape, tensor.mean, dtype=tensor.dtype)
    drawn = np.random.default_rng(seed).standard_normal(tensor.shape, dtype=np.float32)
    drawn *= np.float32(tensor.std)
    return drawn


def noise(state: Mapping[str, StateTensor], seed: int) -> dict[str, Array]:
    """As `seeded`, but repeating the same few draws: faster, for measuring, where only the distribution matters."""
    draws = np.random.default_rng(seed).standard_normal(_DRAWS, dtype=np.float32)
    return {
        name: np.resize(draws, tensor.shape) * np.float32(tensor.std) if tensor.std else _drawn(tensor, [])
        for name, tensor in state.items()
    }


def seeded_weights(network: Network, seed: int) -> dict[str, Array]:
    """The state dict of a freshly initialised one-member network (He et al. 2015 for convolutions), float32.

    Raises `NascError` where the network has open decisions or operators that cannot be compiled yet.
    """
    if seed < 0:
        raise NascError(f"the seed must not be negative, but it is {seed}")
    return seeded(network_state(network), seed)


def write_weights(weights: Mapping[str, Array], path: Path) -> None:
    """Write a state dict as a safetensors file; the same arrays give the same bytes. Raises `NascError`."""
    from safetensors.numpy import save

    # Not ascontiguousarray: that makes a vector of a single number.
    write_file(path, save({name: np.asarray(array, order="C") for name, array in weights.items()}))


def read_weights(network: Network, path: Path) -> dict[str, Array]:
    """Read a safetensors file that fits the network, as float32. Raises `NascError` where it does not, or is broken."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found: dict[str, Array] = load_file(path)
    except OSError as error:
        raise NascError(f"{path} cannot be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise NascError(f"{path} is not a readable safetensors file: {error}") from None
    return fitted(network_state(network), found, str(path))


def fitted(state: Mapping[str, StateTensor], found: Mapping[str, Array], source: str) -> dict[str, Array]:
    """The arrays in the order and precision of `state`; counters of batches may be missing.

    Raises `NascError` that lists the first few names that are missing, left over or of another shape.
    """
    wanted = dict(state)
    complete = {n: np.zeros(t.shape, t.dtype) for n, t in wanted.items() if t.dtype == "int64"} | dict(found)
    problems = [f"{name} is missing" for name in wanted if name not in complete]
    problems += [f"{name} is not in the network" for name in complete if name not in wanted]
    problems += [
        f"{name} is {_shape(complete[name].shape)}, the network's is {_shape(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in complete and complete[name].shape != tensor.shape
    ]
    problems += [
        f"{name} has {complete[name].dtype} elements"
        for name, tensor in wanted.items()
        if name in complete and (complete[name].dtype.kind == "f") != (tensor.dtype == "float32")
    ]
    if problems:
        rest = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise NascError(f"{source} does not fit the network: {'; '.join(problems[:_SHOWN])}{rest}")
    return {name: complete[name].astype(tensor.dtype, copy=False) for name, tensor in wanted.items()}


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
