"""At which values of the decisions of a space its cost is least or largest.

Nearly every width grows with its decision, and so does what it costs: the extremes are at the ends. Where a width falls
with a decision (`-> 16 - w`) they are at the other ends; where some grow with it and some fall, every value is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod

from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Expr, Rational, Size
from nasc.compiler.graph_tools import attribute_sizes
from nasc.compiler.ir import Decision, Graph, Variant
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.base import Primitive
from nasc.dsl.diagnostics import NascError

MOST_TRIES = 4096
"""Combinations of values that are tried one by one."""

COSTLY = frozenset(
    name
    for name, primitive in PRIMITIVES.items()
    if type(primitive).weights is not Primitive.weights or type(primitive).macs is not Primitive.macs
)


@dataclass(frozen=True)
class Ends:
    """Where to look for the `largest` cost, or for the least: `falling` and `mixed` are addresses of decisions.

    `fixed` are the shared decisions that are tried value by value, at one of these values.
    """

    largest: bool
    falling: frozenset[str] = frozenset()
    mixed: frozenset[str] = frozenset()
    fixed: Mapping[str, Rational] = field(default_factory=dict)

    def of(self, address: str, domain: Domain) -> Rational:
        """The end of a decision's domain to look at."""
        if address in self.fixed:
            return self.fixed[address]
        return domain.last if self.largest != (address in self.falling) else domain.first

    def own(self, decisions: tuple[Decision, ...]) -> Iterator[dict[str, Rational]]:
        """The values to look at of decisions that a layer makes by itself."""
        yield from _combinations({d.address: self._candidates(d) for d in decisions})

    def _candidates(self, decision: Decision) -> Domain:
        if decision.address in self.mixed:
            return decision.domain
        end = self.of(decision.address, decision.domain)
        return Domain.grid(end, end)

    def agrees(self, address: str, values: Domain | str) -> bool:
        """Is a shared decision that is tried value by value among these?"""
        if address not in self.fixed:
            return True
        value = self.fixed[address]
        return str(value) == values if isinstance(values, str) else value in values


def ends_of(space: Space, largest: bool) -> Iterator[Ends]:
    """The ends at which a cost may be extreme: the extreme is that of all of them.

    Raises `NascError` where more combinations of values than can be tried are not at an end.
    """
    rising, falling = _directions(space)
    mixed = rising & falling
    tried = {a: d.domain for a, d in space.trellis.shared.items() if a in mixed and not a.endswith(".out")}
    first = Ends(largest, falling - mixed, mixed)
    for values in _combinations(tried):
        yield replace(first, fixed=values)


def _combinations(domains: Mapping[str, Domain]) -> Iterator[dict[str, Rational]]:
    if prod(d.size for d in domains.values()) > MOST_TRIES:
        names = ", ".join(f"`{address.removeprefix('@')}`" for address in domains)
        raise NascError(
            f"the least and the largest cost cannot be told: some widths grow with {names} and others fall",
            f"narrow {'it' if len(domains) == 1 else 'them'}: at most {MOST_TRIES:,} combinations are tried",
        )
    for values in product(*domains.values()):
        yield dict(zip(domains, values, strict=True))


def _directions(space: Space) -> tuple[frozenset[str], frozenset[str]]:
    """The decisions with which some width or kernel grows, and those with which one falls."""
    rising: set[str] = set()
    falling: set[str] = set()
    seen = {
        id(edge.variant): edge.variant
        for slot in space.trellis.slots
        for edges in slot.edges.values()
        for edge in edges
        if edge.variant is not None and edge.variant.graph.nodes
    }
    for size in {size for variant in seen.values() for size in _sizes(variant)}:
        _add_directions(size, True, rising, falling)
    return frozenset(rising), frozenset(falling)


def _sizes(variant: Variant) -> Iterator[Size]:
    """The widths and kernels on which a variant's cost depends, and the one that it hands on."""
    graph: Graph = variant.graph
    shapes = {**graph.inputs, **{node.name: node.output for node in graph.nodes}}
    yield graph.result.channels
    for node in graph.nodes:
        if node.op in COSTLY:
            yield from (shapes[name].channels for name in (*node.inputs, node.name))
            yield from attribute_sizes((node.attributes.get("kernel", ()),))
        for branch in node.branches:
            for inner in branch.variants:
                yield from _sizes(inner)


def _add_directions(size: Size, is_rising: bool, rising: set[str], falling: set[str]) -> None:
    """Of every term by itself: every function of the language grows with what it is a function of."""
    if not isinstance(size, Expr):
        return
    for monomial, coefficient in size.terms:
        for atom, power in monomial:
            up = is_rising == ((coefficient > 0) == (power > 0))
            if isinstance(atom, str):
                (rising if up else falling).add(atom)
            else:
                for argument in atom.arguments:
                    _add_directions(argument, up, rising, falling)
