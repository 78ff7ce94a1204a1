"""Mutation: a member of a space in which one layer, or one shared decision, is drawn anew.

The new decisions are drawn uniformly along the trellis, and all others stay as they are. Where one cannot stay (a depth
that is reached ends its stage, two layers may have to agree), it is drawn anew too. Every member can be reached from
every other: layer by layer from the first on, each step with some probability.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from nasc.compiler.count import count_members
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Node, Variant
from nasc.compiler.member import Member
from nasc.compiler.sample import Sampler
from nasc.compiler.substitution import Decided
from nasc.compiler.trellis import Edge
from nasc.compiler.world import dotted
from nasc.dsl.diagnostics import NascError

Shared = dict[str, Rational | str]


class Mutator(Sampler):
    """Mutates members of one space. Raises `NascError` for a space with fewer than two."""

    def __init__(self, space: Space) -> None:
        super().__init__(space, random.Random(0))
        if count_members(space) == 1:
            raise NascError(f"`{space.name}` has one member: there is nothing to mutate it to")

    def mutated(
        self,
        member: Member,
        seed: int,
        *,
        accept: Callable[[Member], bool] | None = None,
        attempts: int = 10_000,
    ) -> Member:
        """A child of `member` that differs from it (of those that `accept` takes, by rejection).

        Which layer or shared decision is drawn anew is drawn uniformly. Raises `NascError` where none of `attempts`
        draws is accepted.
        """
        self.random = random.Random(seed)
        units: list[int | str] = [*range(len(self.trellis.slots)), *dict.fromkeys(map(_unit, member.shared))]
        for _ in range(attempts):
            unit = self.random.choice(units)
            child = self._redrawn(member, unit)
            if child != member and (accept is None or accept(child)):
                return child
        raise NascError(
            f"none of {attempts} mutations of a member meets the condition",
            "widen the bounds, or see with `nasc cost` what the space can reach",
        )

    def _redrawn(self, member: Member, unit: int | str) -> Member:
        """The member with a slot, by its number, or a shared decision drawn anew."""
        shared = {a: v for a, v in member.shared.items() if not isinstance(unit, str) or not _inside(a, unit)}
        layers: dict[str, Decided | None] = {}
        variants: list[Variant] = []
        (state,) = self.trellis.starts
        for number, (slot, following) in enumerate(zip(self.trellis.slots, self.ahead[1:], strict=True)):
            edges = [edge for edge in slot.edges[state] if following[edge.target]]
            before = member.layers.get(slot.address)
            same = [] if number == unit else [e for e in edges if _keeps(e, before) and _agrees(e, shared)]
            edges = same or _closest(edges, shared)
            edge = self.pick(edges, [self.weight(e) * following[e.target] for e in edges])
            layers[slot.address] = None
            if edge.variant is not None:
                variants.append(edge.variant)
                _forget(edge, shared)
                drawn = self.decide(edge.variant, shared)
                layers[slot.address] = {**before, **_tied(drawn)} if same and before is not None else drawn
            state = edge.target
        wanted = {address for variant in variants for address in _shared_of(variant)}
        shared = {a: v for a, v in shared.items() if any(_inside(a, address) for address in wanted)}
        return Member({at: _updated(made, shared) for at, made in layers.items()}, shared)


def _unit(address: str) -> str:
    """What is drawn anew together with a shared decision: of an `any_of`, which of all its operators are there."""
    return address.rpartition(".")[0] if address.endswith("?") else address


def _inside(address: str, whole: str) -> bool:
    return address == whole or address.startswith(f"{whole}.")


def _updated(decided: Decided | None, shared: Shared) -> Decided | None:
    """A layer's decisions with the shared ones among them as they came out."""
    return None if decided is None else {address: shared.get(address, value) for address, value in decided.items()}


def _tied(decided: Decided) -> Decided:
    return {address: value for address, value in decided.items() if address.startswith("@")}


def _keeps(edge: Edge, decided: Decided | None) -> bool:
    """Can this edge be taken with a layer's decisions as they are?"""
    if edge.variant is None or decided is None:
        return edge.variant is None and decided is None
    return _fits(edge.variant, decided)


def _fits(variant: Variant, decided: Decided) -> bool:
    if any(decided.get(a) != text for a, text in variant.chosen.items() if not a.startswith("@")):
        return False
    for decision in variant.decisions:
        value = decided.get(decision.address)
        if value is None or isinstance(value, str) or value not in decision.domain:
            return False
    return all(_chosen_fits(node, decided) for node in variant.graph.nodes if node.branches)


def _chosen_fits(node: Node, decided: Decided) -> bool:
    """Do the decisions of a nested choice lead to alternatives that are there?"""
    address = str(node.attributes["address"])
    if address.startswith("@"):
        return True
    if node.op == "one_of":
        taken = [branch for branch in node.branches if branch.name == decided.get(address)]
        return any(_fits(variant, decided) for branch in taken for variant in branch.variants)
    there = [decided.get(dotted(address, f"{number}?")) for number in node.attributes["numbers"]]
    return any(there) and all(
        present == 0 or (present == 1 and any(_fits(variant, decided) for variant in branch.variants))
        for present, branch in zip(there, node.branches, strict=True)
    )


def _agrees(edge: Edge, shared: Shared) -> bool:
    """Does an edge leave the shared decisions that are made as they are?"""
    return not list(_against(edge, shared))


def _against(edge: Edge, shared: Shared) -> Iterator[str]:
    """The shared decisions that are made otherwise than an edge has them."""
    if edge.variant is None:
        return
    for address, value in shared.items():
        if isinstance(value, str):
            against = edge.variant.chosen.get(address, value) != value
        else:
            left = (edge.variant.shared.get(address), dict(edge.target.cells).get(address))
            against = any(isinstance(domain, Domain) and value not in domain for domain in left)
        if against:
            yield address


def _closest(edges: Sequence[Edge], shared: Shared) -> list[Edge]:
    """Of edges that differ in shared decisions alone, those that leave them as they are, where there are any."""
    alike: dict[object, list[Edge]] = {}
    for edge in edges:
        chosen = () if edge.variant is None else tuple((a, t) for a, t in edge.variant.chosen.items() if a[0] != "@")
        alike.setdefault((edge.kind, chosen), []).append(edge)
    return [edge for group in alike.values() for edge in [e for e in group if _agrees(e, shared)] or group]


def _forget(edge: Edge, shared: Shared) -> None:
    for address in list(_against(edge, shared)):
        for inside in [each for each in shared if _inside(each, address)]:
            del shared[inside]


def _shared_of(variant: Variant) -> Iterator[str]:
    """The shared decisions that a variant may take."""
    yield from (address for address in (*variant.chosen, *variant.shared) if address.startswith("@"))
    for node in variant.graph.nodes:
        if node.branches and str(node.attributes["address"]).startswith("@"):
            yield str(node.attributes["address"])
        for branch in node.branches:
            for inner in branch.variants:
                yield from _shared_of(inner)
