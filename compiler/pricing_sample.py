"""Members drawn uniformly, many together, as numbers: `nasc.compiler.sample` step by step, for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasc.compiler.count import counts_ahead, edge_weights, variant_count
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.ir import Variant
from nasc.compiler.member import decided_of
from nasc.compiler.member_cost import variant_of
from nasc.compiler.network import hoisted
from nasc.compiler.pricing_codes import ABSENT, Codes, Coding, Column, Whole
from nasc.compiler.sample import too_few
from nasc.compiler.trellis import Edge, State
from nasc.dsl.diagnostics import NascError

TOGETHER = 1024
"""Draws of rejection sampling that are made at once."""


@dataclass(frozen=True)
class _Way:
    """One way on from a state: the next state's number and, where the layer is built, the variant, with the rows of
    `Codes.choices` that it sets (several where the layer is divided into parts)."""

    target: int
    variant: Variant | None = None
    choices: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class _Ways:
    """The ways on from a state, and the probability that one of the first so many is taken."""

    ways: tuple[_Way, ...]
    cumulative: NDArray[np.float64]

    @classmethod
    def of(cls, weighted: Sequence[tuple[_Way, int]]) -> _Ways:
        """With probabilities in proportion to exact weights; those that lead nowhere are left out."""
        kept = [(way, weight) for way, weight in weighted if weight]
        total = sum(weight for _, weight in kept)
        cumulative = np.cumsum([weight / total for _, weight in kept])
        cumulative[-1:] = 1.0
        return cls(tuple(way for way, _ in kept), cumulative)

    def draw(self, random: np.random.Generator, count: int) -> Whole:
        """The numbers of `count` ways."""
        return np.searchsorted(self.cumulative, random.random(count), side="right").astype(np.int64)


class CodeSampler:
    """Draws members of a space whose network `coding` has, each with the same probability (to 1 part in 2^50).

    Other members than `sample_members` draws with the same seed. Raises `NascError` for a space without members.
    """

    def __init__(self, space: Space, coding: Coding) -> None:
        self.coding, self.trellis = coding, space.trellis
        ahead, self.weight = counts_ahead(space.trellis), edge_weights()
        numbers = [{state: number for number, state in enumerate(states)} for states in ahead]
        starts = [(_Way(numbers[0][state]), ahead[0][state]) for state in self.trellis.starts]
        if not any(weight for _, weight in starts):
            raise NascError(f"`{space.name}` has no members to draw")
        self.start = _Ways.of(starts)
        self.slots = [
            {
                numbers[i][state]: self._ways(slot.address, edges, numbers[i + 1], ahead[i + 1])
                for state, edges in slot.edges.items()
            }
            for i, slot in enumerate(self.trellis.slots)
        ]

    def _ways(self, address: str, edges: Sequence[Edge], numbers: dict[State, int], ahead: dict[State, int]) -> _Ways:
        weighted: list[tuple[_Way, int]] = []
        for edge in edges:
            weight, target = self.weight(edge) * ahead[edge.target], numbers[edge.target]
            if edge.variant is None:
                weighted.append((_Way(target), weight))
                continue
            whole = variant_count(edge.variant)
            for variant in hoisted(edge.variant):
                choices = tuple(self._choices(address, variant))
                weighted.append((_Way(target, variant, choices), weight * variant_count(variant) // whole))
        return _Ways.of(weighted)

    def _choices(self, address: str, variant: Variant) -> Iterator[tuple[int, int]]:
        own, shared = {d.address: d.domain for d in variant.decisions}, variant.shared
        decided = decided_of(variant, {address: domain.first for address, domain in {**own, **shared}.items()})
        for layer in self.coding.homes[address]:
            yield layer, variant_of(self.coding.layers[layer], decided)

    def draw(self, count: int, seed: int | np.random.Generator) -> Codes:
        """`count` members, uniformly; the same ones for the same seed."""
        random, codes = np.random.default_rng(seed), self.coding.empty(count)
        states = np.array([way.target for way in self.start.ways])[self.start.draw(random, count)]
        for slot in self.slots:
            following = np.empty_like(states)
            for state, ways in slot.items():
                there = np.flatnonzero(states == state)
                taken = ways.draw(random, len(there)) if len(there) else there
                for number, way in enumerate(ways.ways):
                    which = there[taken == number]
                    following[which] = way.target
                    self._decide(codes, which, way, random)
            states = following
        return codes

    def _decide(self, codes: Codes, which: Whole, way: _Way, random: np.random.Generator) -> None:
        """Decide what a way decides for the members that take it; shared decisions where they are not made."""
        for layer, choice in way.choices:
            codes.choices[layer, which] = choice
            for column in self.coding.own(layer, choice).values():
                codes.values[column.row, which] = random.integers(column.domain.size, size=len(which))
        for address, domain in way.variant.shared.items() if way.variant is not None else ():
            if address in self.coding.shared:
                column = self.coding.shared[address]
                new = which[codes.values[column.row, which] == ABSENT]
                codes.values[column.row, new] = _drawn(column, domain, len(new), random)


def draw_where(
    sampler: CodeSampler, accept: Callable[[Codes], NDArray[np.bool_]], count: int, seed: int, attempts: int
) -> Codes:
    """Draw `count` members uniformly of those that `accept` takes, by rejection.

    Raises `NascError` where fewer than `count` of `attempts` draws are accepted.
    """
    random, found, tried, kept = np.random.default_rng(seed), [sampler.coding.empty(0)], 0, 0
    while kept < count and tried < attempts:
        codes = sampler.draw(TOGETHER, random).take(np.arange(min(TOGETHER, attempts - tried)))
        found.append(codes.take(np.flatnonzero(accept(codes))))
        tried, kept = tried + len(codes), kept + len(found[-1])
    if kept < count:
        raise too_few(kept, attempts, count)
    return Codes.joined(found).take(np.arange(count))


def _drawn(column: Column, among: Domain, count: int, random: np.random.Generator) -> Whole:
    """Indices in a column's domain of values drawn from a part of it."""
    if among == column.domain:
        return random.integers(among.size, size=count)
    indices = np.array([column.domain.index(value) for value in among], dtype=np.int64)
    return indices[random.integers(len(indices), size=count)]
