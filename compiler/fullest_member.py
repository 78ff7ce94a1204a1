"""The fullest member of a space, and the same one made narrower: what a width multiplier is put to.

The fullest member drops no layer and stops no stage early; it has every operator of an `any of`, every width at its
maximum, and of any other choice the option that stands first in the file. With a multiplier, every open width is that
part of its maximum, or what is nearest to it of the values that it can have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational, bounds, evaluate, variables
from nasc.compiler.ir import Node, Variant
from nasc.compiler.member import Member
from nasc.compiler.trellis import Edge, Slot, State
from nasc.compiler.world import dotted
from nasc.dsl.diagnostics import NascError

Decisions = dict[str, "Rational | str"]
Rank = tuple[float, float, float, float]
"""What is less full comes later: layers left out, options that stand later in the file, distance from the widths that
are wanted, and of two as near the narrower."""


def fullest_member(space: Space, multiplier: float = 1.0) -> Member:
    """The fullest member, its open widths multiplied by `multiplier` (above 0, at most 1).

    Raises `NascError` for a space without members.
    """
    return _Narrowing(space, multiplier).member()


@dataclass
class _Choices:
    """What can be chosen in one place: the order of each choice's options, the greatest of each width."""

    orders: dict[str, list[str]] = field(default_factory=dict)
    widths: set[str] = field(default_factory=set)
    domains: dict[str, Domain] = field(default_factory=dict)
    most: dict[str, Rational] = field(default_factory=dict)
    channels: float = 0.0
    """Of all operators together, where options stand first and widths are the greatest."""

    def later(self, variant: Variant) -> int:
        """How many options stand before those of a variant."""
        chosen = ((a, text) for a, text in variant.chosen.items() if a not in self.widths)
        return sum(self.orders[address].index(text) for address, text in chosen)

    def most_channels(self, variant: Variant) -> float:
        domains = {**self.domains, **_all_domains(variant)}

        def ends(address: str) -> tuple[Rational, Rational]:
            return domains[address].first, domains[address].last

        return sum(float(bounds(size, ends)[1]) for size in _sizes(variant))


class _Narrowing:
    """The shortest path through the trellis, by `Rank`."""

    def __init__(self, space: Space, multiplier: float) -> None:
        self.space, self.multiplier = space, multiplier
        every = [variants for slot in space.trellis.slots for variants in _groups(slot)]
        declared = {address: shared.domain for address, shared in space.trellis.shared.items()}
        for variant in (variant for variants in every for variant in variants):
            declared = {a: d for a, d in _all_domains(variant).items() if a.startswith("@")} | declared
        self.outside = _Choices(domains=declared, most={address: domain.last for address, domain in declared.items()})
        tied = {address for variants in every for address in _options(variants) if address.startswith("@")}
        self.widths = {a for a in tied if a.endswith(".width") or any(_is_width(a, variants) for variants in every)}

    def member(self) -> Member:
        trellis = self.space.trellis
        reached: dict[State, tuple[Rank, tuple[Edge, ...]]] = {start: ((0, 0, 0, 0), ()) for start in trellis.starts}
        found = [self._choices(_groups(slot), self.outside) for slot in trellis.slots]
        for slot, choices in zip(trellis.slots, found, strict=True):
            following: dict[State, tuple[Rank, tuple[Edge, ...]]] = {}
            for state, (rank, path) in reached.items():
                for edge in slot.edges[state]:
                    total = _sum(rank, self._rank(edge, choices))
                    if edge.target not in following or total < following[edge.target][0]:
                        following[edge.target] = (total, (*path, edge))
            reached = following
        ends = [way for state, way in reached.items() if trellis.final(state)]
        if not ends:
            raise NascError(f"`{self.space.name}` has no members")
        shared: Decisions = {}
        layers = {
            slot.address: None if edge.variant is None else self._decided(edge.variant, choices, shared)
            for slot, choices, edge in zip(trellis.slots, found, min(ends, key=lambda way: way[0])[1], strict=True)
        }
        return Member(layers, shared)

    # ------------------------------------------------------------------------------------------ what there is

    def _choices(self, groups: Sequence[Sequence[Variant]], around: _Choices) -> _Choices:
        """Of variants, grouped by what comes before them; `around`: of the place that they are in."""
        found = _Choices(widths={*self.widths}, domains=around.domains, most={**around.most})
        for variants in groups:
            found.widths |= {address for address in _options(variants) if _is_width(address, variants)}
            for variant in variants:
                for address, text in variant.chosen.items():
                    order = found.orders.setdefault(address, [])
                    order += [text] if text not in order else []
                for address, domain in _all_domains(variant).items():
                    found.most[address] = max(found.most.get(address, domain.last), domain.last)
        every = [variant for variants in groups for variant in variants]
        first = min((found.later(variant) for variant in every), default=0)
        found.channels = max((found.most_channels(v) for v in every if found.later(v) == first), default=0.0)
        return found

    # ------------------------------------------------------------------------------------------ what is taken

    def _rank(self, edge: Edge, choices: _Choices) -> Rank:
        return (1, 0, 0, 0) if edge.variant is None else self._rank_of(edge.variant, choices)

    def _rank_of(self, variant: Variant, choices: _Choices) -> Rank:
        values = self._values(variant, choices)
        channels = sum(float(evaluate(size, values)) for size in _sizes(variant))
        part = channels / max(choices.channels, 1)
        return 0, choices.later(variant), abs(part - self.multiplier), -part

    def _values(self, variant: Variant, choices: _Choices) -> dict[str, Rational]:
        """What sizes depend on: all of an `any_of` is there, and every width as near as can be to what is wanted."""
        wanted = {address for size in _sizes(variant) for address in variables(size)}
        domains = {**choices.domains, **_all_domains(variant)} if wanted else {}
        return {a: 1 if a.endswith("?") else self._nearest(a, domains[a], choices) for a in wanted}

    def _nearest(self, address: str, domain: Domain, choices: _Choices) -> Rational:
        return _nearest(domain, self.multiplier * float(choices.most[address]))

    def _value(self, variant: Variant, address: str, domain: Domain, choices: _Choices) -> Rational:
        """The value of a decision: of a width what is nearest to the part that is wanted, else its first."""
        if not any(address in variables(size) for size in _sizes(variant)):
            return domain.first
        return self._nearest(address, domain, choices)

    def _decided(self, variant: Variant, choices: _Choices, shared: Decisions) -> Decisions:
        decided: Decisions = dict(variant.chosen)
        shared |= {address: text for address, text in variant.chosen.items() if address.startswith("@")}
        for address, domain in _domains(variant).items():
            into = shared if address.startswith("@") else decided
            if not address.endswith(".out"):
                into.setdefault(address, self._value(variant, address, domain, choices))
        for node in variant.graph.nodes:
            if node.branches:
                self._nested(
                    node, replace(choices, domains={**choices.domains, **_all_domains(variant)}), decided, shared
                )
        return decided

    def _nested(self, node: Node, around: _Choices, decided: Decisions, shared: Decisions) -> None:
        """All operators of an `any_of`, the first of a `one_of`."""
        address = str(node.attributes["address"])
        into = shared if address.startswith("@") else decided
        branches = node.branches[:1] if node.op == "one_of" else node.branches
        if node.op == "one_of":
            into[address] = branches[0].name
        else:
            into |= {dotted(address, f"{number}?"): 1 for number in node.attributes["numbers"]}
        for branch in branches:
            choices = self._choices([branch.variants], around)
            taken = min(branch.variants, key=lambda variant: self._rank_of(variant, choices))
            into |= self._decided(taken, choices, shared)


def _sum(one: Rank, other: Rank) -> Rank:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def _nearest(domain: Domain, wanted: float) -> Rational:
    """The value nearest to `wanted`; of two, the larger."""
    if domain.listed:
        return min(domain.listed, key=lambda value: (abs(float(value) - wanted), -value))
    index = int((wanted - float(domain.first)) / float(domain.step) + 0.5)
    return domain.at(min(max(index, 0), domain.size - 1))


def _groups(slot: Slot) -> list[list[Variant]]:
    """The variants of a slot, by what comes before them."""
    return [[edge.variant for edge in edges if edge.variant is not None] for edges in slot.edges.values()]


def _domains(variant: Variant) -> dict[str, Domain]:
    return {**variant.shared, **{decision.address: decision.domain for decision in variant.decisions}}


def _all_domains(variant: Variant) -> dict[str, Domain]:
    """Those of nested choices too; of an operator of an `any_of`, whether it is there."""
    found = _domains(variant)
    for node in variant.graph.nodes:
        home = str(node.attributes.get("address", ""))
        for number in node.attributes.get("numbers", ()) if node.branches else ():
            found[dotted(home, f"{number}?")] = Domain.grid(0, 1)
        for inner in (inner for branch in node.branches for inner in branch.variants):
            found |= {a: d for a, d in _all_domains(inner).items() if a not in found or d.last > found[a].last}
    return found


def _sizes(variant: Variant) -> Iterator[Any]:
    return (node.output.channels for node in variant.graph.nodes if not node.output.absent)


def _options(variants: Sequence[Variant]) -> set[str]:
    return {address for variant in variants for address in variant.chosen}


def _is_width(address: str, variants: Sequence[Variant]) -> bool:
    """Do options of a choice, all else alike, build the same operators of other widths?"""
    seen: dict[object, set[str]] = {}
    for variant in variants:
        if address in variant.chosen:
            others = tuple(item for item in variant.chosen.items() if item[0] != address)
            seen.setdefault((others, _operators(variant)), set()).add(variant.chosen[address])
    return any(len(texts) > 1 for texts in seen.values())


_OF_WIDTHS = frozenset({"groups", "heads", "start", "stop"})
"""Attributes that follow from widths."""


def _operators(variant: Variant) -> object:
    return tuple(
        (node.op, node.inputs, tuple((k, v) for k, v in node.attributes.items() if k not in _OF_WIDTHS))
        for node in variant.graph.nodes
    )
