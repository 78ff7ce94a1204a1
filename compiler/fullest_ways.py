"""The ways to build a layer, and which of them are the fullest: those that are not others with something left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nasc.compiler.expr import Rational
from nasc.compiler.ir import Variant
from nasc.compiler.trellis import Edge

NONE, SOME = "none", "some"


@dataclass(frozen=True)
class Way:
    """A variant of a layer with the edge it is on. `texts` as in `Open`, by the decision's address."""

    edge: Edge
    variant: Variant
    texts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def fullest_ways(ways: Sequence[Way]) -> list[Way]:
    """The alternatives that are not what is left of another one at a width of 0, or without an operator."""
    there = [way for way in ways if not way.edge.target.current.absent and way.variant.graph.nodes]
    kept = [way for way in there if not any(is_less(way.variant, other.variant) for other in there)]
    widest: dict[tuple[tuple[str, str], ...], Way] = {}
    for way in kept:
        key = tuple(sorted(way.variant.chosen.items()))
        if key not in widest or _reach(way.variant) > _reach(widest[key].variant):
            widest[key] = way
    return list(widest.values())


def zeros(ways: Sequence[Way], full: Variant) -> frozenset[str]:
    """The decisions of an alternative that the space lets be 0: there is a variant in which one is."""
    open_there = {d.address for d in full.decisions}
    return frozenset(k for way in ways for k, v in way.variant.chosen.items() if v == "0" and k in open_there)


def is_less(a: Variant, b: Variant) -> bool:
    """Is `a` a case of `b` in which something is absent?"""
    if a is b:
        return False
    open_in_b = {d.address for d in b.decisions}
    gone = [k for k, v in a.chosen.items() if k in open_in_b or (v == NONE and b.chosen.get(k) == SOME)]
    same = all(b.chosen.get(k) == v for k, v in a.chosen.items() if k not in gone and k in b.chosen)
    return bool(gone) and same and len(a.decisions) <= len(b.decisions)


def _reach(variant: Variant) -> Rational:
    return sum((d.domain.last for d in variant.decisions), 0)
