"""Where a space still has a choice: what it is called, and where it is written."""

from __future__ import annotations

from nasc.compiler.elaborate import Space
from nasc.compiler.ir import Variant
from nasc.compiler.trellis import Edge, Slot
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span


def open_decision(space: Space) -> tuple[str, Span | None]:
    """The first decision with more than one value left: words for it, and its place in the text."""
    for slot in space.trellis.slots:
        stage = next((s for s in space.header.stages if s.name == slot.stage), None)
        for edges in slot.edges.values():
            found = _of_edges(slot, edges)
            if found is not None:
                words, address = found
                return words, _place(space, stage, slot.index, address)
    return "a decision", None


def _of_edges(slot: Slot, edges: list[Edge]) -> tuple[str, str] | None:
    kinds = {e.kind for e in edges}
    variants = [e.variant for e in edges if e.variant is not None]
    if "stop" in kinds and len(kinds) > 1:
        return f"the depth of stage `{slot.stage}`", "x"
    if "drop" in kinds and len(kinds) > 1:
        return f"whether layer {slot.address} is dropped", "skip"
    for variant in variants:
        address = _inside(variant)
        if address is not None:
            return f"`{address.removeprefix('@')}`", address
    keys = sorted({k for v in variants for k in v.chosen})
    for key in keys:
        if len({v.chosen.get(key) for v in variants}) > 1:
            return f"`{slot.address}.{key}`", key
    return (f"`{slot.address}`", "") if len(edges) > 1 else None


def _inside(variant: Variant) -> str | None:
    """A decision that a variant holds itself."""
    if variant.decisions:
        return variant.decisions[0].address
    shared = next((a for a, d in variant.shared.items() if d.size > 1 and not a.endswith(".out")), None)
    if shared is not None:
        return shared
    for node in variant.graph.nodes:
        if len(node.branches) > 1 or node.op == "any_of":
            return str(node.attributes["address"])
        for branch in node.branches:
            inner = next((a for v in branch.variants if (a := _inside(v)) is not None), None)
            if inner is not None:
                return inner
    return None


def _place(space: Space, stage: syntax.Stage | None, index: int, address: str) -> Span | None:
    if address.startswith("@"):
        home, *rest = address[1:].split(".")
        let = space.header.lets.get(home)
        owner = next((s for s in space.header.stages if s.name == home), None)
        if rest[-1:] == ["width"] and owner is not None:
            widths = [r.width.span for r in owner.rows if r.width is not None and rest[0] == str(r.first)]
            return widths[0] if widths else owner.width.span if owner.width is not None else owner.span
        return let.span if let is not None else None
    if stage is None:
        return space.header.head.span if space.header.head is not None else None
    if address == "x" and stage.count is not None:
        return stage.count.span
    words = address.split(".")
    rows = [p for r in stage.rows if r.first <= index <= r.last for p in r.properties]
    for prop in (*rows, *stage.properties, *space.header.sites):
        if prop.name in words:
            return prop.span
    return stage.callee.span
