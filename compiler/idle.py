"""Leaving out what has no effect in a space that nasc has written (an SE width where no SE is left)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import TypeVar

from nasc.compiler.elaborate import elaborate
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics
from nasc.dsl.walk import mentions

T = TypeVar("T")


def without_idle(file: syntax.File, blocks: Mapping[str, syntax.Block]) -> syntax.File:
    """The file without the values that no layer reads. Raises `DiagnosticError` for a space that means nothing."""
    space = next(item for item in file.items if isinstance(item, syntax.Space))
    diagnostics = Diagnostics()
    elaborated = elaborate(space, blocks, diagnostics)
    diagnostics.raise_errors()
    assert elaborated is not None
    items = tuple(kept for item in space.items if (kept := _item(item, elaborated.world.used)) is not None)
    return replace(file, items=tuple(replace(space, items=items) if i is space else i for i in file.items))


def without_unused_lets(items: Sequence[syntax.SpaceItem]) -> tuple[syntax.SpaceItem, ...]:
    """The items of a space without the `let`s that no other item mentions, directly or through another `let`."""
    used = mentions(tuple(item for item in items if not isinstance(item, syntax.Let)))
    for _ in items:
        used |= mentions(tuple(i.value for i in items if isinstance(i, syntax.Let) and i.name in used))
    return tuple(item for item in items if not isinstance(item, syntax.Let) or item.name in used)


def _item(item: syntax.SpaceItem, used: Set[int]) -> syntax.SpaceItem | None:
    match item:
        case syntax.Default():
            kept = _kept(item.properties, used)
            return replace(item, properties=kept) if kept else None
        case syntax.Stage():
            rows = [
                replace(r, callee=_trimmed(r.callee, used), properties=_kept(r.properties, used)) for r in item.rows
            ]
            return replace(
                item,
                callee=_trimmed(item.callee, used),
                properties=_kept(item.properties, used),
                rows=tuple(r for r in rows if r.callee is not None or r.properties or r.width is not None),
            )
        case syntax.Let():
            return replace(item, value=_trimmed(item.value, used))
        case syntax.Head():
            return replace(item, steps=_trimmed(item.steps, used))
    return item


def _kept(properties: tuple[syntax.Property, ...], used: Set[int]) -> tuple[syntax.Property, ...]:
    kept = (p for p in properties if p.name == "skip" or id(p) in used)
    return tuple(replace(p, value=_trimmed(p.value, used)) for p in kept)


def _trimmed(part: T, used: Set[int]) -> T:
    """A piece of syntax without the values in the braces of its calls that are not used."""
    if isinstance(part, tuple):
        return type(part)(_trimmed(item, used) for item in part)
    if not isinstance(part, syntax.Node):
        return part
    changes = {name: _trimmed(getattr(part, name), used) for name in part.__dataclass_fields__ if "span" not in name}
    if isinstance(part, syntax.Call):
        changes["properties"] = properties = _kept(part.properties, used)
        changes["braced"] = part.braced and bool(properties or not part.properties)
    return replace(part, **changes)
