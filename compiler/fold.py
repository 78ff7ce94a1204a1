"""Batch normalisation merged into the convolution or linear layer before it, as inference engines do."""

from __future__ import annotations

from collections import Counter

from nasc.compiler.ir import Graph

TAKES_OVER = frozenset({"conv2d", "linear"})
"""Operators that a normalisation of their output alone can be merged into."""


def without_norms(graph: Graph) -> tuple[Graph, dict[str, str]]:
    """The graph without the normalisations that what comes before takes over, as a bias too; and which took which.

    The second is the node that took it over, by the normalisation's name. Weights are the caller's to merge.
    """
    uses = Counter([graph.output, *(name for node in graph.nodes for name in node.inputs)])
    sources = {node.name: node for node in graph.nodes}
    merged: dict[str, str] = {}
    for node in graph.nodes:
        source = sources.get(node.inputs[0])
        if node.op == "bn" and source is not None and source.op in TAKES_OVER and uses[source.name] == 1:
            merged[node.name] = source.name
    biased = set(merged.values())
    nodes = tuple(
        node.model_copy(
            update={
                "inputs": tuple(merged.get(name, name) for name in node.inputs),
                "attributes": {**node.attributes, "bias": True} if node.name in biased else node.attributes,
            }
        )
        for node in graph.nodes
        if node.name not in merged
    )
    return Graph(inputs=graph.inputs, nodes=nodes, output=merged.get(graph.output, graph.output)), merged
