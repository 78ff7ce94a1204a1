"""Exact counting of members: sums over the trellis, products inside a variant, all in Python integers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from nasc.compiler.elaborate import Space
from nasc.compiler.ir import Node, Variant
from nasc.compiler.trellis import Edge, State, Trellis


def count_members(space: Space) -> int:
    """How many members a space has: one value for every decision that is taken (language.md, Counting)."""
    ahead = counts_ahead(space.trellis)
    return sum(ahead[0][s] for s in space.trellis.starts)


def counts_ahead(trellis: Trellis) -> list[dict[State, int]]:
    """For every slot and state, how many ways lead on from there to the end; one more entry for the end."""
    weight = edge_weights()
    ends = {e.target for edges in trellis.slots[-1].edges.values() for e in edges}
    ahead: list[dict[State, int]] = [{s: int(trellis.final(s)) for s in ends}]
    for slot in reversed(trellis.slots):
        following = ahead[-1]
        ahead.append({s: sum(weight(e) * following[e.target] for e in edges) for s, edges in slot.edges.items()})
    return ahead[::-1]


def edge_weights() -> Callable[[Edge], int]:
    """The number of ways to take an edge: its own decisions, and the shared ones that it is the first to take."""
    local = cache(variant_count)

    def weight(edge: Edge) -> int:
        variant = edge.variant
        if variant is None:
            return 1
        count = local(_Key(variant))
        for address in edge.newly:
            if address in variant.shared:
                count *= variant.shared[address].size
            elif not address.startswith("?"):
                count *= _tied_count(variant, address)
        return count

    return weight


class _Key:
    """A variant by identity: equal layers share the object."""

    __slots__ = ("variant",)

    def __init__(self, variant: Variant) -> None:
        self.variant = variant

    def __hash__(self) -> int:
        return id(self.variant)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.variant is self.variant


def variant_count(key: _Key | Variant) -> int:
    """How many ways a variant's own decisions can fall."""
    variant = key.variant if isinstance(key, _Key) else key
    count = 1
    for decision in variant.decisions:
        count *= decision.domain.size
    for node in variant.graph.nodes:
        if node.branches and not str(node.attributes["address"]).startswith("@"):
            count *= choice_count(node)
    return count


def choice_count(node: Node) -> int:
    """How many ways a nested choice can fall (for `any_of`: at least one operator stays)."""
    home = str(node.attributes["address"])
    each = [sum(_branch_count(v, home) for v in branch.variants) for branch in node.branches]
    if node.op == "one_of":
        return sum(each)
    product = 1
    for count in each:
        product *= 1 + count
    return product - 1


def _branch_count(variant: Variant, home: str) -> int:
    count = variant_count(variant)
    if home.startswith("@"):
        for address, domain in variant.shared.items():
            count *= domain.size if address.startswith(f"{home}.") else 1
    return count


def _tied_count(variant: Variant, address: str) -> int:
    return next(choice_count(n) for n in variant.graph.nodes if n.branches and n.attributes["address"] == address)


def layer_factors(space: Space) -> list[tuple[str, int, bool]]:
    """Each layer's address, the ways to build it, and whether it may be dropped, where layers are independent."""
    weight = edge_weights()
    rows: list[tuple[str, int, bool]] = []
    for slot in space.trellis.slots:
        edges = next(iter(slot.edges.values()))
        rows.append((slot.address, sum(weight(e) for e in edges if e.kind == "build"), slot.skippable))
    return rows
