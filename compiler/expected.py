"""The cost of the fullest network as formulas of its decisions: with expected widths for widths, the expected cost.

A convolution's is its kernel times E[in] times E[out], each weight once (FiGS, 3.2; eq. 6 summed over all masks would
count a weight for each mask that it hangs on). Where what is decided is decided (widths for expected widths), it is the
exact cost of that network, as long as no operator is gone: `kept_cost` is exact always.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nasc.compiler.cost import Metric, graph_cost
from nasc.compiler.expr import Expr, Size, multiply
from nasc.compiler.graph_tools import live_nodes
from nasc.compiler.ir import Graph, Node
from nasc.compiler.masks import MaskedNetwork
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.specialise import PRESENCE, specialise


def cost_formulas(masked: MaskedNetwork, metric: Metric) -> tuple[Size, ...]:
    """The cost of each operator of the fullest network that has one, in the names of decisions."""
    return tuple(size for layer in masked.layers for size in _layer(layer.layer.graph, metric))


def kept_cost(masked: MaskedNetwork, widths: Mapping[str, int], metric: Metric) -> int:
    """The cost of the network with these widths, without what is gone, as `nasc cost` has it."""
    network = masked.fullest.network
    sources = {stage.name: stage.source for stage in network.stages}
    outputs, total = {"in": network.input}, 0
    for layer in masked.layers:
        stage, _, number = layer.layer.address.rpartition(".")
        source = sources.get(stage)
        if number == "1" and source is not None:
            outputs["in"] = outputs[source]
        full = layer.layer.graph
        inputs = {name: outputs[name] for name in full.inputs}  # of a concatenation before it, parts may be gone
        graph = specialise(Graph.model_construct(inputs=inputs, nodes=full.nodes, output=full.output), widths)
        total += graph_cost(graph, {}, metric)
        outputs["in"] = outputs[stage] = graph.result
    return total


def _layer(graph: Graph, metric: Metric) -> Iterator[Size]:
    factors = dict(_presences(graph))
    for node in graph.nodes:
        primitive, inputs = PRIMITIVES[node.op], [graph.tensor(name) for name in node.inputs]
        size = primitive.weights(node, inputs) if metric == "params" else primitive.macs(node, inputs)
        if size != 0:
            yield multiply(size, factors.get(node.name, 1))


def _presences(graph: Graph) -> Iterator[tuple[str, Size]]:
    """The nodes that are there for an operator with a presence alone, with that decision."""
    for node in graph.nodes:
        presence = node.attributes.get(PRESENCE)
        if isinstance(presence, Expr):
            kept = {other.name for other in _without(graph, node)}
            yield from ((other.name, presence) for other in graph.nodes if other.name not in kept)


def _without(graph: Graph, gone: Node) -> list[Node]:
    """The nodes that reach the output without this one."""
    nodes = [
        other.model_copy(update={"inputs": tuple(name for name in other.inputs if name != gone.name)})
        for other in graph.nodes
        if other is not gone
    ]
    return live_nodes(nodes, graph.output) if gone.name != graph.output else []
