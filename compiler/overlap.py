"""Alternatives that build the same networks count once: a later one loses what it shares with an earlier one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from nasc.compiler.domain import ENUMERABLE, Domain
from nasc.compiler.expr import Expr, Rational, variable
from nasc.compiler.graph_tools import attribute_sizes, node_variables, substituted
from nasc.compiler.ir import Decision, Graph, Variant

Box = tuple[Domain, ...]
_Named = tuple[Graph, tuple[str, ...]]
"""A graph, and the names that its variant's own decisions have in it."""


def without_overlaps(variants: Sequence[Variant]) -> list[list[Variant]]:
    """For each variant, what of it no earlier one builds: itself, nothing, or pieces with narrower domains."""
    if len(variants) < 2:
        return [list(variants)] * len(variants)
    orders = [_order(variant) for variant in variants]
    alike = all(order == orders[0] for order in orders)
    seen = _Seen()
    result: list[list[Variant]] = []
    for variant, order in zip(variants, orders, strict=True):
        named = (variant.graph, order) if alike else _renamed(variant.graph, order)
        domains = {d.address: d.domain for d in variant.decisions}
        boxes: list[Box] = [tuple(domains[a] for a in order)]
        for other, taken in seen.near(named):
            common = _common(named, other, taken)
            if common is not None:
                boxes = [piece for box in boxes for piece in _difference(box, common)]
        for box in boxes:
            seen.add(named, box)
        result.append([_narrowed(variant, dict(zip(order, box, strict=True))) for box in boxes])
    return result


class _Seen:
    """What earlier variants build. Only what can have anything in common with a graph is compared with it."""

    def __init__(self) -> None:
        self.found: list[tuple[_Named, Box]] = []
        self.places: dict[Hashable, list[int]] = {}

    def add(self, named: _Named, box: Box) -> None:
        for key in ((bool(box), _shape(named[0])), _content(named[0])):
            self.places.setdefault(key, []).append(len(self.found))
        self.found.append((named, box))

    def near(self, named: _Named) -> Iterator[tuple[_Named, Box]]:
        """The same graph; and of those with the same operators the ranges for one network, the networks for a range."""
        same = self.places.get(_content(named[0]), ())
        others = self.places.get((not named[1], _shape(named[0])), ())
        return (self.found[place] for place in sorted({*same, *others}))


def _shape(graph: Graph) -> Hashable:
    return tuple((node.op, node.inputs) for node in graph.nodes)


def _content(graph: Graph) -> Hashable:
    """Equal for equal graphs."""
    return tuple((n.name, n.op, frozenset(n.attributes.items()), n.output.channels) for n in graph.nodes)


def _order(variant: Variant) -> tuple[str, ...]:
    """The variant's own decisions in order of appearance in its graph, then those that do not appear."""
    own = [d.address for d in variant.decisions]
    seen: dict[str, None] = {}
    for node in variant.graph.nodes:
        for size in attribute_sizes((*node.attributes.values(), node.output.channels)):
            seen |= dict.fromkeys(sorted(size.names.intersection(own)))
    return (*seen, *(name for name in own if name not in seen))


def _renamed(graph: Graph, order: tuple[str, ...]) -> _Named:
    """The graph with the decisions named by their place in the order."""
    names = tuple(f"'{i}" for i in range(len(order)))
    places = dict(zip(order, map(variable, names), strict=True))
    nodes = tuple(substituted(node, places) for node in graph.nodes)
    return Graph.model_construct(inputs=graph.inputs, nodes=nodes, output=graph.output), names


def _common(named: _Named, other: _Named, taken: Box) -> Box | None:
    """The part of a graph's decisions that another graph, with its decisions in a box, builds too."""
    if other[0] == named[0]:
        return taken
    if not taken:  # the other one is a single network: perhaps one of this graph's
        point = _point(named, other[0])
        return None if point is None else tuple(Domain.grid(v, v) for v in point)
    point = _point(other, named[0]) if not named[1] else None
    return () if point is not None and all(v in d for v, d in zip(point, taken, strict=True)) else None


def _point(named: _Named, special: Graph) -> tuple[Rational, ...] | None:
    """The values of a graph's decisions for which it is another graph, where they can be read off it."""
    general, names = named
    if len(general.nodes) != len(special.nodes) or general.inputs != special.inputs:
        return None
    values: dict[str, Rational] = {}
    for node, other in zip(general.nodes, special.nodes, strict=True):
        if (node.op, node.inputs) != (other.op, other.inputs):
            return None
        if not node.branches and node != other and not node_variables(node):
            return None
        size, known = node.output.channels, other.output.channels
        if isinstance(size, Expr) and not isinstance(known, Expr) and size == variable(next(iter(sorted(size.names)))):
            values.update(dict.fromkeys(size.names, known))
    if set(names) - values.keys():
        return None
    nodes = tuple(substituted(node, values) for node in general.nodes)
    return tuple(values[n] for n in names) if nodes == special.nodes else None


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
