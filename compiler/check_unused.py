"""Warnings of what is defined and never used: `let`s, blocks, imports, local values."""

from __future__ import annotations

from pathlib import PurePath

from nasc.compiler.block_facts import referenced
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Span
from nasc.dsl.loader import Module
from nasc.dsl.walk import mentions


def warn_unused(module: Module, diagnostics: Diagnostics) -> None:
    """Record what the main file defines for nothing. A file without a space is a library: its blocks are for others."""
    for block in _own(module):
        _locals(block, diagnostics)
    if module.space is None:
        return
    _lets(module.space, diagnostics)
    used = _reached(module, mentions(module.space.items))
    for block in _own(module):
        if block.name not in used:
            _warn(diagnostics, "block", block.name, block.name_span)
    _imports(module, used, diagnostics)


def _warn(diagnostics: Diagnostics, what: str, name: str, span: Span) -> None:
    diagnostics.add("W0402", f"the {what} `{name}` is never used", span, help="remove it")


def _own(module: Module) -> list[syntax.Block]:
    return [b for b in module.blocks.values() if b.span.source is module.file.source]


def _locals(block: syntax.Block, diagnostics: Diagnostics) -> None:
    for statement in block.statements:
        others = tuple(s for s in block.statements if s is not statement)
        if isinstance(statement, syntax.Assignment) and statement.name not in mentions(others):
            _warn(diagnostics, "local value", statement.name, statement.span)


def _lets(space: syntax.Space, diagnostics: Diagnostics) -> None:
    lets = {i.name: i for i in space.items if isinstance(i, syntax.Let)}
    waiting = list(mentions(tuple(i for i in space.items if not isinstance(i, syntax.Let))) & lets.keys())
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting.extend(mentions(lets[name].value) & lets.keys())
    for name, let in lets.items():
        if name not in used:
            _warn(diagnostics, "`let`", name, let.span)


def _reached(module: Module, names: frozenset[str]) -> set[str]:
    """The blocks that are used, directly or by other blocks."""
    used: set[str] = set()
    waiting = (
        [*names, *(i.block for i in module.space.items if isinstance(i, syntax.Default) and i.block)]
        if (module.space)
        else [*names]
    )
    while waiting:
        name = waiting.pop()
        if name in module.blocks and name not in used:
            used.add(name)
            waiting.extend(referenced(module.blocks[name]))
    return used


def _imports(module: Module, used: set[str], diagnostics: Diagnostics) -> None:
    folder = PurePath(module.file.source.name).parent
    for item in module.file.items:
        if not isinstance(item, syntax.Import):
            continue
        name = str(folder / item.path)
        blocks = [b for b in module.blocks.values() if b.span.source.name == name]
        if blocks and not any(b.name in used for b in blocks) and "import" not in blocks[0].span.source.text:
            diagnostics.add("W0402", f"nothing of `{item.path}` is used", item.span, help="remove the import")
