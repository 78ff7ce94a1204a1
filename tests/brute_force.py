"""An independent reading of "substitution": every file that a small space stands for, by replacing its choices.

Works on the syntax alone: layers become rows, sets become one of their values, `let`s one value everywhere, a dropped
layer `identity`. Nothing of the compiler is used but the elaboration of files without any choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product
from math import ceil, floor
from typing import Any

from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.dsl import syntax
from nasc.dsl.loader import Module
from tests.spaces import elaborated

FIRST = {"stride"}
"""Parameters that a stage gives to its first layer only."""
RATIOS = {"expand"}
Key = tuple[object, ...]


def members(module: Module) -> dict[Key, tuple[int, int]]:
    """Each distinct member's parameters and MACs."""
    found: dict[Key, tuple[int, int]] = {}
    assert module.space is not None
    for space in _spaces(module.space):
        member = elaborated(replace(module, space=space))
        if count_members(member) == 0:
            continue
        assert count_members(member) == 1, "a choice is left"
        cost = cost_of(member)
        assert cost.params.min == cost.params.max
        found[_key(member)] = (cost.params.min, cost.macs.min)
        for dropped in _drops(module.space, member):
            less = elaborated(replace(module, space=_without(space, dropped)))
            cost = cost_of(less)
            found[_key(less)] = (cost.params.min, cost.macs.min)
    return found


def _key(member: Space) -> Key:
    """What each layer is built as."""
    layers: list[Key] = []
    for slot in member.trellis.slots:
        for edge in (e for edges in slot.edges.values() for e in edges if e.kind == "build"):
            nodes = edge.variant.graph.nodes if edge.variant is not None else ()
            built = tuple((n.op, n.inputs, str(sorted(n.attributes.items())), str(n.output)) for n in nodes)
            layers.append((slot.address, built))
    return tuple(layers)


def _drops(space: syntax.Space, member: Space) -> Iterator[tuple[str, ...]]:
    """The sets of layers that `skip same_shape` may drop: not those that are gone anyway."""
    if not any(isinstance(i, syntax.Attribute) and i.name == "skip" for i in space.items):
        return
    same: list[str] = []
    for slot in member.trellis.slots:
        ((state, (edge,)),) = slot.edges.items()
        built = slot.index and edge.variant is not None and edge.variant.graph.nodes
        if built and state.current == edge.target.current:
            same.append(slot.address)
    for count in range(1, len(same) + 1):
        yield from combinations(same, count)


def _without(space: syntax.Space, dropped: tuple[str, ...]) -> syntax.Space:
    def layer(stage: syntax.Stage, row: syntax.Row) -> syntax.Row:
        if f"{stage.name}.{row.first}" not in dropped:
            return row
        identity = syntax.Call(name="identity", span=row.span, name_span=row.span)
        return replace(row, callee=identity, properties=(), width=None)

    def item(item: Any) -> Any:
        return replace(item, rows=tuple(layer(item, r) for r in item.rows)) if isinstance(item, syntax.Stage) else item

    return replace(space, items=tuple(map(item, space.items)))


# ------------------------------------------------------------------------------------------------- substitution


def _spaces(space: syntax.Space) -> Iterator[syntax.Space]:
    plain = [i for i in space.items if not (isinstance(i, syntax.Attribute) and i.name == "skip")]
    grid = next((_number(i.value) for i in plain if isinstance(i, syntax.Attribute)), Fraction(1))
    shape = next(i.value for i in plain if isinstance(i, syntax.Input))
    channels = _number(shape.sizes[0]) if isinstance(shape, syntax.Shape) else Fraction(0)  # of tokens, none
    lets = [i for i in plain if isinstance(i, syntax.Let)]
    for values in product(*(_values(i.value, grid, None) for i in lets)):
        known = {i.name: v for i, v in zip(lets, values, strict=True)}
        fixed = [_put(i, known) for i in plain if not isinstance(i, syntax.Let)]
        for items in _items(fixed, grid, channels):
            yield replace(space, items=items)


def _items(items: list[Any], grid: Fraction, channels: Fraction) -> Iterator[tuple[Any, ...]]:
    """The items with every choice replaced; `channels` are those that come into the first."""
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    if isinstance(first, syntax.Head):
        for steps in product(*(_values(step, grid, channels) for step in first.steps)):
            for later in _items(rest, grid, channels):
                yield (replace(first, steps=steps), *later)
        return
    if not isinstance(first, syntax.Stage):
        for later in _items(rest, grid, channels):
            yield (first, *later)
        return
    for stage, after in _stages(first, grid, channels):
        for later in _items(rest, grid, after):
            yield later if stage.count == _literal(Fraction(0), stage) else (stage, *later)


def _stages(stage: syntax.Stage, grid: Fraction, channels: Fraction) -> Iterator[tuple[syntax.Stage, Fraction]]:
    counts = [Fraction(1)] if stage.count is None else [_number(v) for v in _values(stage.count, grid, None)]
    for count in counts:
        for width in [None] if stage.width is None else _values(stage.width, grid, None):
            for rows, after in _rows(stage, 1, int(count), width, grid, channels):
                number = syntax.Number(value=count, text=str(count), span=stage.span)
                yield replace(stage, count=number, properties=(), width=width, rows=rows), after


def _rows(
    stage: syntax.Stage, index: int, last: int, width: Any, grid: Fraction, channels: Fraction
) -> Iterator[tuple[tuple[syntax.Row, ...], Fraction]]:
    if index > last:
        yield (), channels
        return
    row = next((r for r in stage.rows if r.first <= index <= r.last), None)
    given = {p.name: p for p in stage.properties if index == 1 or p.name not in FIRST}
    given |= {p.name: p for p in row.properties} if row else {}
    callee = row.callee if row and row.callee is not None else stage.callee
    widths = [None] if row is None or row.width is None else _values(row.width, grid, None)
    choices = [_properties(tuple(given.values()), grid, channels), _values(callee, grid, channels), widths]
    for properties, built, own in product(*choices):
        after = _after(built, own or width, channels)
        here = syntax.Row(first=index, last=index, callee=built, properties=properties, width=own, span=stage.span)
        for rows, end in _rows(stage, index + 1, last, width, grid, after):
            yield (here, *rows), end


def _after(callee: Any, width: Any, channels: Fraction) -> Fraction:
    """The channels that come out: the width, unless the layer is a dropped one."""
    gone = isinstance(callee, syntax.Call) and callee.name == "identity"
    return channels if gone or width is None else _number(width)


def _properties(properties: tuple[syntax.Property, ...], grid: Fraction, channels: Fraction | None) -> list[Any]:
    each = [_values(p.value, grid, channels if p.name in RATIOS else None) for p in properties]
    return [tuple(replace(p, value=v) for p, v in zip(properties, values, strict=True)) for values in product(*each)]


def _values(node: Any, grid: Fraction, channels: Fraction | None) -> list[Any]:
    """Every node without choices that a node stands for, each once."""
    match node:
        case syntax.Range():
            step = _number(node.step) if node.step is not None else Fraction(1)
            first, last = _number(node.first), _number(node.last)
            return [_literal(first + i * step, node) for i in range(int((last - first) / step) + 1)]
        case syntax.Interval():
            unit = channels or Fraction(1)
            low, high = _number(node.low) * unit, _number(node.high) * unit
            widths = [k * grid for k in range(floor(low / grid), ceil(high / grid) + 1)]
            inside = [w for w in widths if (low < w or (low == w and not node.open_low))]
            inside = [w for w in inside if (w < high or (w == high and not node.open_high))]
            return [_literal(w / unit, node) for w in inside]
        case syntax.ValueSet():
            found = [v for m in node.members for v in _values(m, grid, channels)]
            return [v for i, v in enumerate(found) if v not in found[:i]]
        case syntax.Choice():
            return _choice(node, grid, channels)
        case syntax.Candidate():
            steps = product(*(_values(s, grid, channels) for s in node.steps))
            return [replace(node, steps=s) for s in steps]
        case syntax.Step():
            widths = [None] if node.width is None else _values(node.width, grid, None)
            operators = _values(node.operator, grid, channels)
            return [replace(node, operator=o, width=w) for o, w in product(operators, widths)]
        case syntax.Call():
            return [replace(node, properties=p) for p in _properties(node.properties, grid, channels)]
    return [node]


def _choice(choice: syntax.Choice, grid: Fraction, channels: Fraction | None) -> list[syntax.Choice]:
    each = [_values(c, grid, channels) for c in choice.candidates]
    if choice.quantifier == "one":
        return [replace(choice, candidates=(c,)) for found in each for c in found]
    if choice.quantifier == "all":
        return [replace(choice, candidates=c) for c in product(*each)]
    subsets = [s for n in range(1, len(each) + 1) for s in combinations(each, n)]
    found = [replace(choice, quantifier="all", candidates=c) for s in subsets for c in product(*s)]
    return [*found, replace(choice, quantifier="all", candidates=(_nothing(choice),))]


def _nothing(like: syntax.Node) -> syntax.Candidate:
    """What stands for none of the candidates of `any of`."""
    call = syntax.Call(name="nothing", span=like.span, name_span=like.span)
    return syntax.Candidate(steps=(syntax.Step(operator=call, span=like.span),), span=like.span)


def _put(node: Any, known: dict[str, Any]) -> Any:
    """A node with the names of `let`s replaced by their values."""
    if isinstance(node, syntax.Reference) and len(node.parts) == 1:
        return known.get(node.parts[0], node)
    if isinstance(node, syntax.Call) and node.name in known:
        return known[node.name]
    if isinstance(node, tuple):
        return tuple(_put(n, known) for n in node)
    if isinstance(node, syntax.Node):
        fields = {n: _put(getattr(node, n), known) for n in node.__dataclass_fields__ if not n.endswith("span")}
        return replace(node, **fields)
    return node


def _literal(value: Fraction, like: syntax.Node) -> syntax.Number:
    return syntax.Number(value=value, text=str(value), span=like.span)


def _number(value: Any) -> Fraction:
    assert isinstance(value, syntax.Number)
    return value.value
