"""Blocks, checked on the syntax: their names, their statements, and that none is built from itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from nasc.compiler.block_facts import referenced
from nasc.compiler.check_names import WORDS, NameChecker, Scope
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Label, Span
from nasc.dsl.walk import mentions


def check_blocks(blocks: Iterable[syntax.Block], names: NameChecker) -> None:
    """Check the blocks that a file defines or imports."""
    for block in blocks:
        _block(block, names)
    _recursion(names)


def declared_once(declared: Iterable[tuple[str, Span]], diagnostics: Diagnostics) -> None:
    """Record names that are taken twice, or that have a meaning already."""
    seen: dict[str, Span] = {}
    for name, span in declared:
        if name in WORDS:
            diagnostics.add("E0358", f"`{name}` has a meaning already", span, help="choose another name")
        elif name in seen:
            first = Label(seen[name], "the first")
            diagnostics.add("E0352", f"`{name}` is defined twice", span, labels=[first], help="rename one")
        seen.setdefault(name, span)


def circles(
    definitions: Mapping[str, syntax.Node], mentioned: Callable[[syntax.Node], frozenset[str]]
) -> list[tuple[str, ...]]:
    """The circles in which named things are defined by one another, each once, from its first name on."""
    found: list[tuple[str, ...]] = []
    done: set[str] = set()
    for start in definitions:
        trail: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            name, depth = stack.pop()
            del trail[depth:]
            if name in trail:
                found.append(tuple(trail[trail.index(name) :]))
            elif name not in done:
                done.add(name)
                trail.append(name)
                below = sorted(mentioned(definitions[name]) & definitions.keys())
                stack.extend((n, len(trail)) for n in below)
    return found


def _block(block: syntax.Block, names: NameChecker) -> None:
    locals_ = [s for s in block.statements if isinstance(s, syntax.Assignment)]
    declared = [(p.name, p.span) for p in block.parameters]
    if block.width is not None:
        declared.append((block.width, block.name_span))
    declared_once([(block.name, block.name_span)], names.diagnostics)
    declared_once([*declared, *((a.name, a.span) for a in locals_)], names.diagnostics)
    values = frozenset(n for n, _ in declared) | {a.name for a in locals_}
    for parameter in block.parameters:
        names.visit(parameter.default, Scope(values, inside=True))
    _statements(block, names, Scope(values, inside=True, decides=False))
    for circle in circles({a.name: a.value for a in locals_}, mentions):
        _circle(circle, next(a.span for a in locals_ if a.name == circle[0]), names.diagnostics)


def _circle(circle: tuple[str, ...], span: Span, diagnostics: Diagnostics) -> None:
    way = " → ".join(f"`{name}`" for name in (*circle, circle[0]))
    diagnostics.add("E0307", f"`{circle[0]}` is defined by itself", span, way if len(circle) > 1 else "")


def _statements(block: syntax.Block, names: NameChecker, scope: Scope) -> None:
    result = block.statements[-1] if block.statements else None
    if result is None or isinstance(result, syntax.Assignment):
        mend = "end it with a pipeline, such as `in | relu`"
        names.diagnostics.add("E0342", f"`{block.name}` has no result", block.name_span, help=mend)
    for statement in block.statements:
        value = statement.value if isinstance(statement, syntax.Assignment) else statement
        if statement is value and statement is not result:
            names.diagnostics.add(
                "E0359",
                "what comes out here goes nowhere",
                value.span,
                help="name it (`y = …`) and use the name; the last pipeline is the block's result",
            )
        names.visit(value, scope)


def _recursion(names: NameChecker) -> None:
    for circle in circles(names.blocks, _operators):
        block = names.blocks[circle[0]]
        way = " uses ".join(f"`{name}`" for name in (*circle, circle[0]))
        names.diagnostics.add("E0308", f"`{block.name}` is built from itself", block.name_span, way)


def _operators(node: syntax.Node) -> frozenset[str]:
    """The blocks that a block mentions; its own parameters and local values are none."""
    assert isinstance(node, syntax.Block)
    own = {p.name for p in node.parameters} | {s.name for s in node.statements if isinstance(s, syntax.Assignment)}
    return referenced(node) - own
