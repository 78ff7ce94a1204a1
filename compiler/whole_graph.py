"""A network with one member as one dataflow graph, for engines that take graphs."""

from __future__ import annotations

from nasc.compiler.concrete import INPUT, ConcreteLayer, concrete
from nasc.compiler.ir import Graph, Network, Node
from nasc.dsl.diagnostics import NascError


def network_graph(network: Network) -> Graph:
    """The layers' graphs joined into one, from `in` to the network's output.

    Raises `NascError` for a network with open decisions, and for one with several outputs.
    """
    flat = concrete(network)
    if len(flat.results) != 1:
        raise NascError(f"`{network.name}` has {len(flat.results)} outputs: it is not one graph")
    nodes: list[Node] = []
    values = {INPUT: INPUT}
    for stage in flat.stages:
        for i, layer in enumerate(stage.layers):
            values[f"{stage.name}.{i}"] = values[stage.name] = _append(nodes, layer, values)
    return Graph(inputs={INPUT: flat.input}, nodes=tuple(nodes), output=values[flat.results[0]])


def _append(nodes: list[Node], layer: ConcreteLayer, values: dict[str, str]) -> str:
    """Add a layer's nodes under names of their own; the name of its result."""
    graph = layer.graph
    names = {name: values[layer.values[name]] for name in graph.inputs if name in layer.values}
    names |= {node.name: f"n{number}" for number, node in enumerate(graph.nodes, len(nodes) + 1)}
    nodes += [
        node.model_copy(update={"name": names[node.name], "inputs": tuple(names[name] for name in node.inputs)})
        for node in graph.nodes
    ]
    return names[graph.output]
