"""Walking a syntax tree: the one place that knows how to get at a node's parts."""

from __future__ import annotations

from collections.abc import Iterator

from nasc.dsl import syntax


def children(node: syntax.Node) -> Iterator[object]:
    """A node's parts in the order of its fields (nodes, tuples of nodes, plain values); places are left out."""
    for name in node.__dataclass_fields__:
        if not name.endswith("span"):
            yield getattr(node, name)


def walk(part: object) -> Iterator[syntax.Node]:
    """A node and all nodes below it, those written first first; of a tuple, those of its items."""
    if isinstance(part, syntax.Node):
        yield part
        for child in children(part):
            yield from walk(child)
    elif isinstance(part, tuple):
        for item in part:
            yield from walk(item)


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
