"""Small versions of a space, cut from its syntax tree at random, so that brute force can list their members.

Of an image classifier the first stages are kept, of a stage two layers, of a set two values; then choices are closed
until few members are left. Open defaults of blocks become properties of the stages, where brute force reads them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space, elaborate
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics
from nasc.dsl.loader import Module
from nasc.dsl.walk import walk

STAGES = 4
LAYERS = 2
ATTEMPTS = 60


def shrunk(module: Module, seed: int, most: int = 24) -> Module:
    """A version of the module's space with 2 to `most` members."""
    space, rng = module.space, random.Random(seed)
    assert space is not None
    lifted = _lifted_space(_shorter(space), module.blocks)
    for attempt in range(ATTEMPTS):
        keep = 0.35 * (1 - attempt / ATTEMPTS)
        small = _Cut(rng, keep).space(lifted)
        made = elaborate(small, module.blocks, Diagnostics())
        if made is not None and 2 <= count_members(made) <= most and not _cut_short(made):
            return replace(module, space=small)
    raise AssertionError(f"no small version of {space.name} was found")


def _cut_short(space: Space) -> bool:
    """Does a `take` get more channels from some values of a decision than there are, and fewer from others?

    Members that differ in it are then one network, which brute force sees once.
    """
    edges = [e for slot in space.trellis.slots for found in slot.edges.values() for e in found]
    nodes = [n for e in edges if e.variant is not None for n in e.variant.graph.nodes]
    return any(n.op == "slice" and n.attributes["start"] == 0 and "min(" in str(n.attributes["stop"]) for n in nodes)


def _shorter(space: syntax.Space) -> syntax.Space:
    """The first stages alone, where nothing but the head reads the last."""
    if any(isinstance(i, syntax.Output) and i.kind in ("features", "depth") for i in space.items):
        return space
    stages = [i for i in space.items if isinstance(i, syntax.Stage)][STAGES:]
    return replace(space, items=tuple(i for i in space.items if i not in stages))


# ------------------------------------------------------------------------------------------------- defaults of blocks


def _lifted_space(space: syntax.Space, blocks: Mapping[str, syntax.Block]) -> syntax.Space:
    lets = {i.name for i in space.items if isinstance(i, syntax.Let)}
    defaults = {i.block: i.properties for i in space.items if isinstance(i, syntax.Default)}
    items: list[Any] = []
    for item in space.items:
        if isinstance(item, syntax.Stage) and isinstance(item.callee, syntax.Call) and item.callee.name not in lets:
            given = (*defaults.get(None, ()), *defaults.get(item.callee.name, ()), *item.properties)
            item = replace(item, properties=(*item.properties, *_open(item.callee, given, item.width, blocks)))
        elif isinstance(item, syntax.Let) and isinstance(item.value, syntax.Call):
            item = replace(item, value=_lifted(item.value, blocks))
        items.append(item)
    return replace(space, items=tuple(items))


def _lifted(call: syntax.Call, blocks: Mapping[str, syntax.Block]) -> syntax.Call:
    """A call with the open defaults of its block written out in its braces."""
    return replace(call, braced=True, properties=(*call.properties, *_open(call, call.properties, None, blocks)))


def _open(
    call: syntax.Call, given: tuple[syntax.Property, ...], width: Any, blocks: Mapping[str, syntax.Block]
) -> list[syntax.Property]:
    """The parameters of a block that are left to their defaults, and whose defaults hold choices."""
    block = blocks.get(call.name)
    if block is None:
        return []
    known: dict[str, Any] = {p.name: p.default for p in block.parameters if p.default is not None}
    known |= {p.name: p.value for p in given}
    if isinstance(width, syntax.Number) and block.width is not None:
        known[block.width] = width
    found = []
    for parameter in block.parameters:
        if parameter.default is None or parameter.name in {p.name for p in given}:
            continue
        value = _written(parameter.default, known, blocks)
        if any(isinstance(n, syntax.Range | syntax.ValueSet | syntax.Choice) for n in walk(value)):
            found.append(syntax.Property(name=parameter.name, value=value, span=block.span, name_span=block.span))
    return found


def _written(value: Any, known: Mapping[str, Any], blocks: Mapping[str, syntax.Block]) -> Any:
    """A default with what it mentions put in; its ranges become two values, so that no `take` is cut short twice."""
    match value:
        case syntax.Reference(parts=(name,)) if isinstance(known.get(name), syntax.Number):
            return known[name]
        case syntax.Call() if value.name in blocks or isinstance(known.get(value.name), syntax.Call | syntax.Reference):
            other = known.get(value.name)
            name = other.name if isinstance(other, syntax.Call) else other.parts[0] if other is not None else value.name
            properties = _rebuilt(value.properties, lambda n: _written(n, known, blocks))
            return _lifted(replace(value, name=name, properties=properties), blocks)
        case syntax.Step() if isinstance(value.width, syntax.Range):
            operator = _written(value.operator, known, blocks)
            return replace(value, operator=operator, width=_range(value.width, 1, 2))
        case syntax.Range():
            return _range(value, 3, 4)
        case syntax.Node():
            return _parts(value, lambda n: _written(n, known, blocks))
    return value


def _range(like: syntax.Range, first: int, last: int) -> syntax.Range:
    return replace(like, first=_number(first, like), last=_number(last, like), step=None)


def _rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    return tuple(map(change, value)) if isinstance(value, tuple) else change(value)


def _parts(node: Any, change: Callable[[Any], Any]) -> Any:
    """A node with each of its parts changed."""
    fields = [n for n in node.__dataclass_fields__ if not n.endswith("span")]
    return replace(node, **{n: _rebuilt(getattr(node, n), change) for n in fields})


# ------------------------------------------------------------------------------------------------- cutting


class _Cut:
    """Cuts every choice to two values, and to one where it does not stay open (with the chance `keep`)."""

    def __init__(self, rng: random.Random, keep: float) -> None:
        self.rng = rng
        self.keep = keep

    def space(self, space: syntax.Space) -> syntax.Space:
        items = [i for i in space.items if not isinstance(i, syntax.Attribute) or i.name != "skip" or self.stays()]
        return replace(space, items=tuple(map(self.node, items)))

    def stays(self) -> bool:
        return self.rng.random() < self.keep

    def node(self, node: Any) -> Any:
        match node:
            case syntax.Stage():
                return self.stage(node)
            case syntax.Range():
                return self.range(node)
            case syntax.Interval():
                return self.interval(node)
            case syntax.ValueSet():
                return self.values(node)
            case syntax.Choice(quantifier="one" | "any"):
                chosen = self.sample(node.candidates)
                quantifier = "all" if len(chosen) == 1 and node.quantifier == "any" else node.quantifier
                return _parts(replace(node, candidates=chosen, quantifier=quantifier), self.node)
            case syntax.Node():
                return _parts(node, self.node)
        return node

    def stage(self, stage: syntax.Stage) -> syntax.Stage:
        rows = tuple(replace(r, last=min(r.last, LAYERS)) for r in stage.rows if r.first <= LAYERS)
        count = stage.count
        if isinstance(count, syntax.Number):
            count = _number(min(int(count.value), LAYERS), count)
        elif isinstance(count, syntax.Range):
            count = _range(count, 1, LAYERS) if self.stays() else _number(LAYERS, count)
        kept = tuple(p for p in stage.properties if p.name != "skip")  # brute force drops layers of whole spaces only
        made: syntax.Stage = _parts(replace(stage, count=None, rows=rows, properties=kept), self.node)
        return replace(made, count=count)

    def sample(self, options: tuple[Any, ...]) -> tuple[Any, ...]:
        chosen = self.rng.sample(range(len(options)), min(2, len(options)) if self.stays() else 1)
        return tuple(options[i] for i in sorted(chosen))

    def values(self, node: syntax.ValueSet) -> Any:
        """Of the members that are ranges too, one value."""
        chosen = self.sample(node.members)
        plain = tuple(m.first if isinstance(m, syntax.Range) else m for m in chosen)
        return replace(node, members=plain) if len(plain) > 1 else plain[0]

    def range(self, node: syntax.Range) -> Any:
        first, last = _value(node.first), _value(node.last)
        step = Fraction(1) if node.step is None else _value(node.step)
        low = first + step * self.rng.randint(0, max(0, int((last - first) / step) - 1))
        if self.stays() and low + step <= last:
            return replace(node, first=_number(low, node), last=_number(low + step, node))
        return _number(self.rng.choice((low, min(low + step, last))), node)

    def interval(self, node: syntax.Interval) -> Any:
        high = min(_value(node.high), _value(node.low) + 1)
        return replace(node, high=_number(high, node)) if self.stays() else _number(high, node)


def _number(value: int | Fraction, like: syntax.Node) -> syntax.Number:
    return syntax.Number(value=Fraction(value), text=str(value), span=like.span)


def _value(node: Any) -> Fraction:
    assert isinstance(node, syntax.Number)
    return node.value
