"""Members drawn uniformly: every member with the same probability, by walking the trellis with exact counts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nasc.compiler.count import choice_count, counts_ahead, edge_weights, variant_count
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Node, Variant
from nasc.compiler.member import Member
from nasc.compiler.substitution import Decided
from nasc.compiler.world import dotted
from nasc.dsl.diagnostics import NascError

T = TypeVar("T")


def sample_members(
    space: Space,
    count: int,
    seed: int,
    *,
    accept: Callable[[Member], bool] | None = None,
    attempts: int = 10_000,
) -> list[Member]:
    """Draw `count` members uniformly (of those that `accept` takes, by rejection).

    Raises `NascError` where fewer than `count` of `attempts` draws are accepted.
    """
    sampler = Sampler(space, random.Random(seed))
    members: list[Member] = []
    tried = 0
    while len(members) < count:
        if accept is not None and tried >= attempts:
            raise too_few(len(members), attempts, count)
        tried += 1
        member = sampler.draw()
        if accept is None or accept(member):
            members.append(member)
    return members


def too_few(found: int, attempts: int, wanted: int) -> NascError:
    """The error of drawing members by rejection that has to give up."""
    return NascError(
        f"only {found} of {attempts} members drawn meet the condition, {wanted} are wanted",
        "widen the bounds, or see with `nasc cost` what the space can reach",
    )


@dataclass
class _Draw:
    """Decisions made so far along one path."""

    layers: dict[str, Decided | None]
    shared: dict[str, Rational | str]


class Sampler:
    """Draws members of one space. Raises `NascError` for a space without members."""

    def __init__(self, space: Space, random_: random.Random) -> None:
        self.trellis = space.trellis
        self.ahead = counts_ahead(self.trellis)
        self.weight = edge_weights()
        self.random = random_
        if not any(self.ahead[0][s] for s in self.trellis.starts):
            raise NascError(f"`{space.name}` has no members to draw")

    def draw(self) -> Member:
        """One member, uniformly."""
        made = _Draw({}, {})
        cells: dict[str, Domain] = {}  # of decisions that are asked about only: any value in them will do
        state = self.pick(self.trellis.starts, [self.ahead[0][s] for s in self.trellis.starts])
        for slot, following in zip(self.trellis.slots, self.ahead[1:], strict=True):
            edges = slot.edges[state]
            edge = self.pick(edges, [self.weight(e) * following[e.target] for e in edges])
            if edge.variant is None:
                made.layers[slot.address] = None
            else:
                made.layers[slot.address] = self.decide(edge.variant, made.shared)
            state = edge.target
            cells |= {address: cell for address, cell in state.cells if isinstance(cell, Domain)}
        for address, cell in cells.items():
            made.shared.setdefault(address, cell.first)
        return Member(made.layers, made.shared)

    def pick(self, options: Sequence[T], weights: Sequence[int]) -> T:
        """An option with a probability in proportion to its weight, exact for integers of any size."""
        ticket = self.random.randrange(sum(weights))
        for option, weight in zip(options, weights, strict=True):
            if ticket < weight:
                return option
            ticket -= weight
        raise AssertionError("weights do not sum to what was drawn from")

    def decide(self, variant: Variant, shared: dict[str, Rational | str]) -> Decided:
        """Values for a variant's decisions; shared ones are drawn once."""
        decided: dict[str, Rational | str] = dict(variant.chosen)
        for address, text in variant.chosen.items():
            if address.startswith("@"):
                shared.setdefault(address, text)
        for address, domain in variant.shared.items():
            if not address.endswith(".out") and address not in shared:
                shared[address] = self._uniform(domain)
        for decision in variant.decisions:
            decided[decision.address] = self._uniform(decision.domain)
        for node in variant.graph.nodes:
            if node.branches:
                self._choice(node, decided, shared)
        return decided

    def _uniform(self, domain: Domain) -> Rational:
        return domain.at(self.random.randrange(domain.size))

    def _choice(self, node: Node, decided: dict[str, Rational | str], shared: dict[str, Rational | str]) -> None:
        address = str(node.attributes["address"])
        into = shared if address.startswith("@") else decided
        numbers = node.attributes["numbers"]
        if address.startswith("@") and any(dotted(address, f"{n}?") in shared for n in numbers):
            return
        counts = [sum(variant_count(v) for v in b.variants) for b in node.branches]
        if node.op == "one_of":
            index = self.pick(range(len(counts)), counts)
            into[address] = node.branches[index].name
            self._branch(node, index, into, shared)
            return
        assert choice_count(node) > 0
        while True:  # a subset of none is not drawn: it is another path
            present = [self.random.randrange(1 + c) > 0 for c in counts]
            if any(present):
                break
        for index, there in enumerate(present):
            into[dotted(address, f"{numbers[index]}?")] = int(there)
            if there:
                self._branch(node, index, into, shared)

    def _branch(
        self, node: Node, index: int, into: dict[str, Rational | str], shared: dict[str, Rational | str]
    ) -> None:
        variants = node.branches[index].variants
        variant = self.pick(variants, [variant_count(v) for v in variants])
        into.update(self.decide(variant, shared))
