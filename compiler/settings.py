"""`--set irb3.x=6`: values of a file replaced before it is checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NoReturn

from nasc.dsl import syntax
from nasc.dsl.diagnostics import NascError, did_you_mean
from nasc.dsl.loader import Module
from nasc.dsl.parser import parse_setting

ATTRIBUTES = ("granularity", "skip")
FORM = "a setting is STAGE.NAME=VALUE (irb3.x=6, irb3.width=64, irb3.kernel={3,5}) or NAME=VALUE (granularity=16)"


def with_settings(module: Module, sets: Sequence[str]) -> Module:
    """The module with its space's values replaced, in order. Raises `NascError` for what fits nothing in it."""
    space = module.space
    if space is None:
        raise NascError("there is no space or network to set values in")
    for text in sets:
        space = _with_setting(space, text)
    return replace(module, space=space)


def _with_setting(space: syntax.Space, text: str) -> syntax.Space:
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise NascError(f"`{text}` is not a setting", help=FORM)
    value = parse_setting(written, f"--set {key}")
    parts = key.split(".")
    if len(parts) == 1:
        items = _with_item(space, key, value)
    elif len(parts) == 2:
        items = _with_stage(space, parts[0], parts[1], value)
    else:
        raise NascError(f"`{key}` names no place in the space", help=FORM)
    return replace(space, items=tuple(items))


def _with_item(space: syntax.Space, name: str, value: syntax.Value) -> list[syntax.SpaceItem]:
    """A `let`, `granularity` or `skip`, the input's sizes, or the number of classes."""
    found = False
    items: list[syntax.SpaceItem] = []
    for item in space.items:
        match item:
            case syntax.Let() | syntax.Attribute() if item.name == name:
                item, found = replace(item, value=value), True
            case syntax.Input() if name == "input":
                item, found = replace(item, value=value), True
            case syntax.Output() if name == item.kind:
                item, found = replace(item, values=(value,)), True
        items.append(item)
    if not found and name in ATTRIBUTES:
        return [syntax.Attribute(name=name, value=value, span=value.span), *items]
    if not found:
        known = [*ATTRIBUTES, "input", *(i.name for i in space.items if isinstance(i, syntax.Let))]
        known += [f"{s}." for s in _stages(space)] + [i.kind for i in space.items if isinstance(i, syntax.Output)]
        _nothing(f"`{space.name}` has nothing called `{name}`", name, known)
    return items


def _with_stage(space: syntax.Space, stage: str, name: str, value: syntax.Value) -> list[syntax.SpaceItem]:
    if stage not in _stages(space):
        _nothing(f"`{space.name}` has no stage `{stage}`", stage, _stages(space))
    return [
        _changed(item, name, value) if isinstance(item, syntax.Stage) and item.name == stage else item
        for item in space.items
    ]


def _changed(stage: syntax.Stage, name: str, value: syntax.Value) -> syntax.Stage:
    if name == "x":
        return replace(stage, count=value, rows=_rows_up_to(stage, value))
    if name == "width":
        return replace(stage, width=value)
    given = syntax.Property(name=name, value=value, span=value.span, name_span=value.span)
    if any(p.name == name for p in stage.properties):
        properties = tuple(given if p.name == name else p for p in stage.properties)
    else:
        properties = (*stage.properties, given)
    return replace(stage, properties=properties)


def _rows_up_to(stage: syntax.Stage, count: syntax.Value) -> tuple[syntax.Row, ...]:
    """The rows of the layers that a shorter stage still has."""
    if not isinstance(count, syntax.Number):
        return stage.rows
    return tuple(replace(row, last=min(row.last, int(count.value))) for row in stage.rows if row.first <= count.value)


def _stages(space: syntax.Space) -> list[str]:
    return [item.name for item in space.items if isinstance(item, syntax.Stage)]


def _nothing(message: str, name: str, known: Iterable[str]) -> NoReturn:
    names = list(known)
    near = did_you_mean(name, names)
    raise NascError(message, help=near or f"it has {', '.join(dict.fromkeys(n.rstrip('.') for n in names))}")
