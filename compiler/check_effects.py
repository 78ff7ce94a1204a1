"""What shows in an elaborated space only: values without effect, a network's open decisions, spaces without members."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.open_decision import open_decision
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Label
from nasc.dsl.walk import children, mentions

Blocks = Mapping[str, syntax.Block]
Given = tuple[syntax.Property, ...]


def check_effects(space: Space, blocks: Blocks, diagnostics: Diagnostics) -> None:
    """Record what an elaborated space holds for nothing, and whether it has as many members as it says."""
    count = count_members(space)
    if count == 0:
        note = "no choice of its values leaves a network with an output"
        diagnostics.add("E0371", f"`{space.name}` has no members", space.syntax.name_span, note)
        return
    for prop, beside in _given(space.syntax):
        if id(prop) not in space.world.used:
            _without_effect(prop, beside, blocks, diagnostics)
    _depth_and_skip(space, diagnostics)
    if count > 1 and space.syntax.network and not diagnostics.errors:
        _open(space, count, diagnostics)


def _given(space: syntax.Space) -> Iterator[tuple[syntax.Property, Given]]:
    """Every value given at space level, with all that are given beside it or inherited there."""
    defaults = tuple(p for i in space.items if isinstance(i, syntax.Default) for p in i.properties)
    used = mentions(space.items)
    for item in space.items:
        match item:
            case syntax.Default():
                yield from _each(item.properties, item.properties)
            case syntax.Stage():
                inherited = (*item.properties, *defaults)
                yield from _each(item.properties, (*inherited, *(p for row in item.rows for p in row.properties)))
                yield from _calls(item.callee, inherited)
                for row in item.rows:
                    yield from _each(row.properties, (*row.properties, *inherited))
                    yield from _calls(row.callee, (*row.properties, *inherited))
            case syntax.Let() if item.name in used:
                yield from _calls(item.value, defaults)
            case syntax.Head():
                yield from _calls(item.steps, defaults)


def _each(properties: Given, beside: Given) -> Iterator[tuple[syntax.Property, Given]]:
    for prop in properties:
        if prop.name != "skip":
            yield prop, beside
            yield from _calls(prop.value, ())


def _calls(node: object, inherited: Given) -> Iterator[tuple[syntax.Property, Given]]:
    """The values given in the braces of calls."""
    if isinstance(node, syntax.Call):
        yield from _each(node.properties, (*node.properties, *inherited))
        yield from _calls(node.arguments, ())
    elif isinstance(node, syntax.Node):
        for child in children(node):
            yield from _calls(child, inherited)
    elif isinstance(node, tuple):
        for item in node:
            yield from _calls(item, inherited)


def _without_effect(prop: syntax.Property, beside: Given, blocks: Blocks, diagnostics: Diagnostics) -> None:
    silencing = next((o for o in beside if o is not prop and _stands_for(o.name, prop.name, blocks)), None)
    if silencing is None:
        again = next((o for o in beside if o is not prop and o.name == prop.name), None)
        note = "every layer has its own value" if again is not None else "no operator that is built reads it"
        diagnostics.add("E0311", f"`{prop.name}` has no effect in any member", prop.span, note, help="remove it")
        return
    label = Label(silencing.span, f"`{silencing.name}` says it already")
    mend = f"give `{prop.name}` or `{silencing.name}`, not both"
    diagnostics.add("E0311", f"`{prop.name}` has no effect in any member", prop.span, "", [label], mend)


def _stands_for(given: str, other: str, blocks: Blocks) -> bool:
    """Is `other` only there to work out `given` where that is not given (`hidden = expand * in.channels`)?"""
    return any(
        p.name == given and p.default is not None and other in mentions(p.default)
        for block in blocks.values()
        for p in block.parameters
    )


def _depth_and_skip(space: Space, diagnostics: Diagnostics) -> None:
    searched = {name for name, depth in space.trellis.depths.items() if depth.size > 1}
    for stage in space.header.stages:
        slots = [s for s in space.trellis.slots if s.stage == stage.name and s.index and s.skippable]
        if stage.name in searched and slots and stage.count is not None:
            diagnostics.add(
                "E0310",
                f"stage `{stage.name}` has both a searched depth and layers that may be dropped",
                stage.count.span,
                "each network would be there several times",
                help="give the stage `skip no`, or one depth",
            )


def _open(space: Space, count: int, diagnostics: Diagnostics) -> None:
    what, span = open_decision(space)
    labels = [Label(span, f"{what} is open")] if span is not None else []
    message = f"a network has one member, and this has {shown(count)}" + ("" if labels else f": {what} is open")
    mend = "decide it, or write `space` for `network`"
    diagnostics.add("E0370", message, space.syntax.name_span, "", labels, mend)


def shown(count: int) -> str:
    """A count that may be too long to read."""
    return f"{count:,}" if count < 10**12 else f"about 10^{round(math.log10(count))}"
