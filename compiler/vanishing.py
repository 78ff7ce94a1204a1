"""What is absent of a layer's graph where decisions are 0: for sure, or maybe."""

from __future__ import annotations

from collections.abc import Mapping, Set

from nasc.compiler.expr import Size, evaluate, variable, variables
from nasc.compiler.full_layer import Open
from nasc.compiler.ir import Graph, Node
from nasc.compiler.specialise import JOINS, PRESENCE, AbsentOutput, specialise

_Cause = tuple[str, frozenset[int]]
"""A decision, and the widths of it at which something is absent."""


def alive(graph: Graph, widths: Mapping[str, int]) -> frozenset[str]:
    """The nodes that are there when decisions have these widths. Raises `AbsentOutput` where nothing is left."""
    try:
        left = specialise(graph, widths)
    except ZeroDivisionError:
        raise AbsentOutput("a size divides by a width that is 0") from None
    return frozenset(node.name for node in left.nodes)


def frail(graph: Graph, opens: Mapping[str, Open]) -> frozenset[str]:
    """The nodes that may be absent in a member while the layer is there."""
    return _gone_with(graph, {node.name for node in graph.nodes if _causes(node, opens)})


def may_lose_a_factor(graph: Graph, product: Node, opens: Mapping[str, Open]) -> bool:
    """May some factors of a product be absent and others not? The product is then that of the others."""
    causes = {node.name: _causes(node, opens) for node in graph.nodes}
    sure = _sure_causes(graph, causes)
    shared = frozenset.intersection(*(sure[name] for name in product.inputs))  # what these take, they take with all
    start = {name for name, own in causes.items() if own - shared}
    factors = set(product.inputs)
    if not factors & _gone_with(graph, start):
        return False
    return not any(
        factors - {name} <= _gone_with(graph, {name}) and not factors & _gone_with(graph, start, spared=name)
        for name in factors
    )


def _gone_with(graph: Graph, start: Set[str], spared: str = "") -> frozenset[str]:
    """The nodes that are absent where those in `start` are; `spared` is there in any case."""
    found: set[str] = set()
    for node in graph.nodes:
        inside = [name in found for name in node.inputs]
        lost = all(inside) if node.op in JOINS else any(inside)
        if node.name != spared and (node.name in start or (inside and lost)):
            found.add(node.name)
    return frozenset(found)


def _sure_causes(graph: Graph, causes: Mapping[str, frozenset[_Cause]]) -> dict[str, frozenset[_Cause]]:
    """For each tensor what makes it absent by itself."""
    found: dict[str, frozenset[_Cause]] = dict.fromkeys(graph.inputs, frozenset())
    for node in graph.nodes:
        inside = [found[name] for name in node.inputs]
        gather = frozenset.intersection if node.op in JOINS else frozenset.union
        found[node.name] = causes[node.name] | (gather(*inside) if inside else frozenset())
    return found


def _causes(node: Node, opens: Mapping[str, Open]) -> frozenset[_Cause]:
    """What makes a node absent whose inputs are there."""
    sizes: list[Size] = [node.attributes[PRESENCE]] if PRESENCE in node.attributes else []
    if node.op not in JOINS:
        sizes.append(node.output.channels)
    return frozenset(
        (name, widths) for size in sizes for name in variables(size) if (widths := _zeros(size, name, opens))
    )


def _zeros(size: Size, name: str, opens: Mapping[str, Open]) -> frozenset[int]:
    """The widths of a decision at which a size is 0, if it is of that decision alone."""
    if name not in opens or len(variables(size)) > 1:
        return frozenset()
    if size == variable(name):
        return frozenset({0}.intersection(opens[name].widths))
    return frozenset(width for width in opens[name].widths if _is_zero(size, name, width))


def _is_zero(size: Size, name: str, width: int) -> bool:
    try:
        return evaluate(size, {name: width}) == 0
    except ZeroDivisionError:
        return True
