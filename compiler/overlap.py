"""Alternatives that build the same networks count once: a later one loses what it shares with an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from nasc.compiler.domain import ENUMERABLE, Domain
from nasc.compiler.expr import Expr, Rational, Size, substitute, variable
from nasc.compiler.graph_tools import map_sizes, substituted
from nasc.compiler.ir import Decision, Graph, Tensor, Variant

Box = tuple[Domain, ...]


def without_overlaps(variants: Sequence[Variant]) -> list[list[Variant]]:
    """For each variant, what of it no earlier one builds: itself, nothing, or pieces with narrower domains."""
    if len(variants) < 2:
        return [list(variants)] * len(variants)
    seen: list[tuple[Graph, Box]] = []
    result: list[list[Variant]] = []
    for variant in variants:
        graph, order = _canonical(variant)
        domains = {d.address: d.domain for d in variant.decisions}
        boxes: list[Box] = [tuple(domains[a] for a in order)]
        for other, taken in seen:
            common = _common(graph, len(order), other, taken)
            if common is not None:
                boxes = [piece for box in boxes for piece in _difference(box, common)]
        seen.extend((graph, box) for box in boxes)
        result.append([_narrowed(variant, dict(zip(order, box, strict=True))) for box in boxes])
    return result


def _canonical(variant: Variant) -> tuple[Graph, tuple[str, ...]]:
    """The graph with the variant's own decisions renamed in order of appearance, and that order."""
    own = {d.address for d in variant.decisions}
    order: dict[str, None] = {}

    def rename(size: Size) -> Size:
        if not isinstance(size, Expr):
            return size
        for name in sorted(size.names & own):
            order.setdefault(name)
        places = {name: variable(f"'{i}") for i, name in enumerate(order)}
        return substitute(size, dict(places))

    nodes = tuple(
        node.model_copy(
            update={
                "attributes": {k: map_sizes(v, rename) for k, v in node.attributes.items()},
                "output": _resized(node.output, rename(node.output.channels)),
            }
        )
        for node in variant.graph.nodes
    )
    rest = [d.address for d in variant.decisions if d.address not in order]
    return Graph(inputs=variant.graph.inputs, nodes=nodes, output=variant.graph.output), (*order, *rest)


def _common(graph: Graph, decisions: int, other: Graph, taken: Box) -> Box | None:
    """The part of a graph's decisions that another graph, with its decisions in a box, builds too."""
    if other == graph:
        return taken
    if not taken:  # the other one is a single network: perhaps one of this graph's
        point = _point(graph, other, decisions)
        return None if point is None else tuple(Domain.grid(v, v) for v in point)
    point = _point(other, graph, len(taken)) if not decisions else None
    return () if point is not None and all(v in d for v, d in zip(point, taken, strict=True)) else None


def _point(general: Graph, special: Graph, decisions: int) -> tuple[Rational, ...] | None:
    """The values of a graph's decisions for which it is another graph, where they can be read off it."""
    if len(general.nodes) != len(special.nodes) or general.inputs != special.inputs:
        return None
    values: dict[str, Rational] = {}
    for node, other in zip(general.nodes, special.nodes, strict=True):
        if (node.op, node.inputs) != (other.op, other.inputs):
            return None
        size, known = node.output.channels, other.output.channels
        if isinstance(size, Expr) and not isinstance(known, Expr) and size == variable(next(iter(sorted(size.names)))):
            values.update(dict.fromkeys(size.names, known))
    names = [f"'{i}" for i in range(decisions)]
    if set(names) - values.keys():
        return None
    nodes = tuple(substituted(node, values) for node in general.nodes)
    return tuple(values[n] for n in names) if nodes == special.nodes else None


def _resized(tensor: Tensor, channels: Size) -> Tensor:
    return tensor if channels == tensor.channels else tensor.with_channels(channels)


def _difference(box: Box, taken: Box) -> list[Box]:
    """The points of a box that are not in another, as boxes without common points."""
    pieces: list[Box] = []
    inside: list[Domain] = []
    for place, (domain, other) in enumerate(zip(box, taken, strict=True)):
        common = domain.intersect(other)
        if common is None:
            return [box]
        rest = _rest(domain, other)
        if rest is not None:
            pieces.append((*inside, rest, *box[place + 1 :]))
        inside.append(common)
    return pieces


def _rest(domain: Domain, other: Domain) -> Domain | None:
    if domain.within(other) or domain.size > ENUMERABLE:
        return None
    return domain.split(lambda v: v not in other)[0]


def _narrowed(variant: Variant, domains: dict[str, Domain]) -> Variant:
    if all(d.domain == domains[d.address] for d in variant.decisions):
        return variant
    decisions = tuple(
        Decision.model_construct(address=d.address, domain=domains[d.address], ordered=d.ordered)
        for d in variant.decisions
    )
    return variant.model_copy(update={"decisions": decisions})
