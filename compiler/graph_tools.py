"""Small tools on graphs: what is live, what sizes are in a node, substitution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nasc.compiler.expr import Expr, Size, substitute
from nasc.compiler.ir import Node, Variant


def live_nodes(nodes: Sequence[Node], output: str) -> list[Node]:
    """The nodes that reach the output, in order."""
    wanted = {output}
    live: list[Node] = []
    for node in reversed(nodes):
        if node.name in wanted:
            live.append(node)
            wanted.update(node.inputs)
    return live[::-1]


def attribute_sizes(value: Any) -> list[Expr]:
    if isinstance(value, Expr):
        return [value]
    return (
        [s for v in value if isinstance(v, Expr | tuple) for s in attribute_sizes(v)]
        if isinstance(value, tuple)
        else []
    )


def node_variables(node: Node) -> frozenset[str]:
    """The decisions a node's attributes and output depend on."""
    sizes = attribute_sizes((node.output.channels, *node.attributes.values()))
    return frozenset().union(*(size.names for size in sizes))


def map_sizes(value: Any, change: Callable[[Size], Size]) -> Any:
    """An attribute value with every symbolic size changed."""
    if isinstance(value, tuple):
        return tuple(map_sizes(v, change) for v in value)
    return change(value) if isinstance(value, Expr) else value


def substituted(node: Node, values: Mapping[str, Size]) -> Node:
    """A node with decisions replaced by sizes."""
    if node_variables(node).isdisjoint(values) and not node.branches:
        return node
    attributes = {k: map_sizes(v, lambda s: substitute(s, values)) for k, v in node.attributes.items()}
    output = node.output.with_channels(substitute(node.output.channels, values))
    return node.model_copy(update={"attributes": attributes, "output": output})


def unique(variants: Sequence[Variant]) -> list[Variant]:
    """Variants that build the same graph from the same decisions, once."""
    seen: list[Variant] = []
    for variant in variants:
        if not any(v.graph == variant.graph and v.decisions == variant.decisions for v in seen):
            seen.append(variant)
    return seen
