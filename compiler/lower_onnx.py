"""Blocks and one-member networks as ONNX models, built node by node from their graphs (no tracing)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from nasc.compiler.concrete import INPUT, ConcreteNetwork, check_concrete, concrete
from nasc.compiler.fold import without_norms
from nasc.compiler.ir import Graph, Network
from nasc.compiler.onnx_builder import DTYPES, GraphBuilder
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.structure import parameter_paths, used_inputs
from nasc.compiler.weights import Array, fitted, graph_state, joined, network_state, noise
from nasc.dsl.diagnostics import NascError

Tensors = dict[str, dict[str, tuple[str, Array]]]


def block_onnx(
    graph: Graph,
    *,
    batch: int = 1,
    precision: str = "fp32",
    name: str = "block",
    weights: Mapping[str, Array] | None = None,
    seed: int = 0,
    fold: bool = True,
) -> onnx.ModelProto:
    """A concrete graph as an ONNX model with inputs called as the graph's, the output `output`, and a fixed batch.

    `weights` is the state dict of the graph's module (by default drawn from `seed`). With `fold`, a normalisation that
    follows a convolution or linear layer alone is merged into it, as inference engines do.
    Raises `NascError` for a precision other than fp32, fp16 and bf16, for open sizes, and for weights that do not fit.
    """
    _check_precision(precision)
    check_concrete(graph, name)
    state = graph_state(graph)
    weights = noise(state, seed) if weights is None else fitted(state, weights, "the weights")
    tensors = _by_node(graph, parameter_paths(graph), weights)
    if fold:
        graph = _folded(graph, tensors)
    builder = GraphBuilder(precision)
    inputs = {n: graph.inputs[n] for n in used_inputs(graph)}
    value = builder.lower(graph, {n: n for n in inputs}, tensors)
    return builder.model(name, inputs, {"output": (value, graph.result)}, batch)


def network_onnx(network: Network, weights: Mapping[str, Array], *, precision: str = "fp32") -> onnx.ModelProto:
    """A one-member network as an ONNX model: `input` to `output`, any batch, initializers named as in the state dict.

    A network with `output features` has an output for each, called as its stage.
    Raises `NascError` where the network is not one member or the weights do not fit it.
    """
    _check_precision(precision)
    flat = concrete(network)
    weights = fitted(network_state(network), weights, "the weights")
    builder = GraphBuilder(precision)
    values = {INPUT: "input"}
    for stage in flat.stages:
        for i, layer in enumerate(stage.layers):
            operands = {n: values[layer.values[n]] for n in used_inputs(layer.graph)}
            tensors = _by_node(layer.graph, layer.parameters(), weights)
            values[f"{stage.name}.{i}"] = builder.lower(layer.graph, operands, tensors, layer.path)
        values[stage.name] = values[f"{stage.name}.{len(stage.layers) - 1}"]
    outputs = {n: (values[v], flat.shape(v)) for n, v in _output_names(flat).items()}
    return builder.model(flat.name, {"input": flat.input}, outputs, "batch")


def _output_names(flat: ConcreteNetwork) -> dict[str, str]:
    if flat.output[0] == "features":
        names = (f"{name}_" if name == "input" else name for name in flat.output[1])
        return dict(zip(names, flat.results, strict=True))
    return {"output": flat.results[0]}


def _check_precision(precision: str) -> None:
    if precision not in DTYPES:
        raise NascError(f"ONNX files cannot be written in {precision}", help=f"choose one of {', '.join(DTYPES)}")


def _by_node(graph: Graph, paths: Mapping[str, str], weights: Mapping[str, Array]) -> Tensors:
    """The arrays of each node by the tensor's own name, with the name of the initializer."""
    found: Tensors = {}
    for node in graph.nodes:
        for tensor in PRIMITIVES[node.op].state(node, [graph.tensor(n) for n in node.inputs]):
            full = joined(paths[node.name], tensor.name)
            found.setdefault(node.name, {})[tensor.name] = (full, weights[full])
    return found


def _folded(graph: Graph, tensors: Tensors) -> Graph:
    """The graph without each batch normalisation whose source takes it over; changes `tensors` accordingly."""
    folded, taken = without_norms(graph)
    norms = {node.name: node for node in graph.nodes if node.name in taken}
    for norm, source in taken.items():
        tensors[source] = _merged(tensors[source], tensors[norm], float(norms[norm].attributes["eps"]))
    return folded


def _merged(
    layer: dict[str, tuple[str, Array]], norm: dict[str, tuple[str, Array]], eps: float
) -> dict[str, tuple[str, Array]]:
    """w' = w g / sqrt(v + eps) and b' = (b - m) g / sqrt(v + eps) + beta, for each filter."""
    scale = norm["weight"][1] / np.sqrt(norm["running_var"][1] + np.float32(eps))
    name, weight = layer["weight"]
    bias = layer["bias"][1] if "bias" in layer else np.zeros_like(scale)
    bias = (bias - norm["running_mean"][1]) * scale + norm["bias"][1]
    scaled = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    return {"weight": (name, scaled), "bias": (f"{name.removesuffix('weight')}bias", bias)}
