"""Walking a syntax tree: the one place that knows how to get at a node's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from nasc.dsl import syntax

T = TypeVar("T")


_PARTS: dict[type[syntax.Node], tuple[str, ...]] = {}


def _parts(kind: type[syntax.Node]) -> tuple[str, ...]:
    """The fields of a kind of node that hold its parts: all but places."""
    if kind not in _PARTS:
        _PARTS[kind] = tuple(name for name in kind.__dataclass_fields__ if not name.endswith("span"))
    return _PARTS[kind]


def children(node: syntax.Node) -> list[object]:
    """A node's parts in the order of its fields (nodes, tuples of nodes, plain values); places are left out."""
    return [getattr(node, name) for name in _parts(type(node))]


def walk(part: object) -> Iterator[syntax.Node]:
    """A node and all nodes below it, those written first first; of a tuple, those of its items."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, syntax.Node):
            yield part
            waiting.extend(children(part)[::-1])
        elif isinstance(part, tuple):
            waiting.extend(part[::-1])


def mentions(part: object) -> frozenset[str]:
    """All names that a piece of syntax mentions: operators, values and joins."""
    names: set[str] = set()
    for node in walk(part):
        match node:
            case syntax.Reference():
                names.add(node.parts[0])
            case syntax.Call():
                names.add(node.name)
            case syntax.Choice(join=str(join)):
                names.add(join)
    return frozenset(names)


def rewritten(part: T, change: Callable[[syntax.Node], syntax.Node]) -> T:
    """A piece of syntax with `change` applied to every node, the parts of a node before the node itself."""
    if isinstance(part, tuple):
        return type(part)(rewritten(item, change) for item in part)
    if not isinstance(part, syntax.Node):
        return part
    parts = {name: rewritten(getattr(part, name), change) for name in _parts(type(part))}
    changed: T = change(replace(part, **parts))  # type: ignore[assignment]  # a node is changed into one of its kind
    return changed
