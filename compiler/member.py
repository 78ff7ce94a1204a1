"""One member of a space: what every decision came out as, and the member written as a `.nas` file.

`Member` files decisions under the addresses that the elaborator gave them. Writing substitutes them in the space's own
text (language.md: "Meaning: substitution"), closes up dropped layers, and prints every decided parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Network, Variant
from nasc.compiler.layers import layer_texts
from nasc.compiler.substitution import Decided, Substitution, is_open, plain_number
from nasc.compiler.values import Bound, SpaceScope
from nasc.compiler.world import dotted
from nasc.dsl import syntax
from nasc.dsl.loader import Module
from nasc.dsl.walk import mentions


@dataclass(frozen=True)
class Member:
    """`layers` maps a layer's address to its decisions, or to None where it is dropped or beyond the stage's depth."""

    layers: Mapping[str, Decided | None]
    shared: Decided = field(default_factory=dict)


Choices = Mapping[str, tuple[int, Mapping[str, int]] | None]


def member_from_choices(network: Network, choices: Choices, shared: Decided | None = None) -> Member:
    """A member from what a search chose: for each layer None, or a variant's index and its widths."""
    layers: dict[str, Decided | None] = {}
    every = [layer for stage in network.stages for layer in stage.layers]
    for layer in [*every, *([network.head] if network.head is not None else [])]:
        choice = choices.get(layer.address, (0, {}))
        layers[layer.address] = None if choice is None else decided_of(layer.variants[choice[0]], choice[1])
    return Member(layers, shared or {})


def decided_of(variant: Variant, values: Mapping[str, Rational]) -> Decided:
    """A variant's decisions as one mapping."""
    return {**variant.chosen, **values}


def member_text(space: Space, member: Member, module: Module, note: str = "") -> str:
    """The member as the text of a `.nas` file with one member. `note` is its provenance, a comment at the top."""
    from nasc.dsl.format import print_file

    file = member_file(space, member, module)
    return print_file(_without_idle(file, space, module), note)


def member_file(space: Space, member: Member, module: Module) -> syntax.File:
    """The member as a syntax tree."""
    writer = _Writer(space, member)
    items: list[syntax.SpaceItem] = []
    for item in space.syntax.items:
        match item:
            case syntax.Input() | syntax.Output():
                items.append(item)
            case syntax.Default():
                kept = tuple(p for p in item.properties if not is_open(p.value, space.world.blocks, space.header.lets))
                if kept:
                    items.append(replace(item, properties=kept))
            case syntax.Stage():
                stage = writer.stage(item)
                if stage is not None:
                    items.append(stage)
            case syntax.Head():
                items.append(writer.head(item))
    network = replace(space.syntax, network=True, items=tuple(items))
    blocks = used_blocks(network, module)
    source = module.file.source
    return syntax.File(span=module.file.span, source=source, version=1, items=(*blocks, network))


def used_blocks(space: syntax.Space, module: Module) -> tuple[syntax.Block, ...]:
    """The blocks that are not the library's and that a space uses, directly or not."""
    wanted = set(mentions(space))
    own = {n: b for n, b in module.blocks.items() if n not in module.library}
    found: dict[str, syntax.Block] = {}
    while fresh := [n for n in own if n in wanted and n not in found]:
        for name in fresh:
            found[name] = own[name]
            wanted |= mentions(own[name])
    return tuple(b for n, b in own.items() if n in found)


@dataclass(frozen=True)
class _Line:
    """One layer to be printed: its block and what it is given."""

    callee: syntax.Call | syntax.Choice
    properties: Mapping[str, syntax.Value]
    width: syntax.Value | None


class _Writer:
    """Writes the stages of one member."""

    def __init__(self, space: Space, member: Member) -> None:
        self.space = space
        self.member = member
        self.span = space.syntax.span
        self.shared = Substitution(space.world.blocks, space.header.lets, member.shared, member.shared)

    def substitution(self, decided: Decided) -> Substitution:
        return Substitution(self.space.world.blocks, self.space.header.lets, decided, self.member.shared)

    def stage(self, stage: syntax.Stage) -> syntax.Stage | None:
        texts = layer_texts(stage, self.space.header, self._last(stage), SpaceScope(self.space.header.lets, {}))
        kept = [t for t in texts if self.member.layers.get(t.address) is not None]
        if not kept:
            if stage.name not in mentions(self.space.syntax) | {
                s.source for s in self.space.header.stages if s.source is not None
            }:
                return None
            callee = syntax.Call(name="identity", span=self.span, name_span=self.span)
            return replace(stage, callee=callee, count=None, properties=(), width=None, rows=())
        lines = []
        for text in kept:
            decided = self.member.layers[text.address]
            assert decided is not None
            lines.append(self._line(text.callee, text.given, text.width, self.substitution(decided)))
        constant = {
            p.name: p.value
            for p in stage.properties
            if p.name != "skip" and not is_open(p.value, self.space.world.blocks, self.space.header.lets)
        }
        if kept[0].index != 1:
            constant = {k: v for k, v in constant.items() if k != "stride"}
        return self._gathered(stage, lines, constant)

    def _last(self, stage: syntax.Stage) -> int:
        return int(self.space.trellis.depths[stage.name].last)

    def _line(
        self,
        callee: syntax.Call | syntax.Choice,
        given: Mapping[str, Bound],
        width: Bound | None,
        substitution: Substitution,
    ) -> _Line:
        """A layer's block and decided properties: nearest given first, then open defaults of the block."""
        chosen, home = substitution.callee(callee)
        properties: dict[str, syntax.Value] = {}
        if isinstance(chosen, syntax.Call):
            name = substitution.block_name(chosen.name)
            names = substitution.parameters(name)
            inherited = {**self._defaults(name), **{k: b.value for k, b in given.items()}}
            own = {p.name: p.value for p in chosen.properties}
            for key, value in {**inherited, **own}.items():
                if key in names and not (
                    key in inherited and key not in own and self._is_constant_of_stage(given, key, value)
                ):
                    substitution.property(name, key, value, dotted(home, key), properties)
            instance = chosen.name if chosen.name in self.space.header.lets else ""
            substitution.defaults(name, properties, f"@{instance}" if instance else home, {**inherited, **own})
            chosen = syntax.Call(name=name, span=self.span, name_span=self.span)
        return _Line(chosen, properties, self._width(width, substitution))

    def _is_constant_of_stage(self, given: Mapping[str, Bound], key: str, value: syntax.Value) -> bool:
        """Is a value written for the whole stage (or in a `default`) and not open? Then it stays there."""
        stays = key not in given or given[key].of_stage
        return stays and not is_open(value, self.space.world.blocks, self.space.header.lets)

    def _defaults(self, name: str) -> dict[str, syntax.Value]:
        defaults = self.space.header.defaults
        found = {**defaults.get(None, {}), **defaults.get(name, {})}
        return {
            k: b.value for k, b in found.items() if is_open(b.value, self.space.world.blocks, self.space.header.lets)
        }

    def _width(self, width: Bound | None, substitution: Substitution) -> syntax.Value | None:
        return None if width is None else substitution.value(width.value, width.address)

    # --------------------------------------------------------------------------------------------- gathering

    def _gathered(self, stage: syntax.Stage, lines: list[_Line], constant: Mapping[str, syntax.Value]) -> syntax.Stage:
        """Lines that agree in a property have it at the stage, the others in rows; equal neighbours share a row."""
        callee = lines[0].callee
        common = {
            k: v
            for k, v in lines[0].properties.items()
            if k != "stride" and all(line.properties.get(k) == v for line in lines)
        }
        width = lines[0].width if all(line.width == lines[0].width for line in lines) else None
        order = [p.name for p in stage.properties]
        together = {**constant, **common}
        names = sorted(together, key=lambda n: (order.index(n) if n in order else len(order), n))
        rows: list[syntax.Row] = []
        for index, line in enumerate(lines, start=1):
            row = self._row(index, line, callee, common, width)
            if (
                rows
                and replace(row, first=rows[-1].first, last=rows[-1].last) == rows[-1]
                and rows[-1].last == index - 1
            ):
                rows[-1] = replace(rows[-1], last=index)
            else:
                rows.append(row)
        rows = [r for r in rows if r.callee is not None or r.properties or r.width is not None]
        return replace(
            stage,
            callee=callee,
            count=plain_number(len(lines), self.span) if len(lines) > 1 else None,
            properties=tuple(self._property(n, together[n]) for n in names),
            width=width,
            rows=tuple(rows),
        )

    def _row(
        self,
        index: int,
        line: _Line,
        callee: syntax.Call | syntax.Choice,
        common: Mapping[str, syntax.Value],
        width: syntax.Value | None,
    ) -> syntax.Row:
        return syntax.Row(
            span=self.span,
            first=index,
            last=index,
            callee=line.callee if line.callee != callee else None,
            properties=tuple(self._property(k, v) for k, v in line.properties.items() if k not in common),
            width=line.width if width is None else None,
        )

    def _property(self, name: str, value: syntax.Value) -> syntax.Property:
        return syntax.Property(span=self.span, name=name, value=value, name_span=self.span)

    # --------------------------------------------------------------------------------------------- the head

    def head(self, head: syntax.Head) -> syntax.Head:
        substitution = self.substitution(self.member.layers.get("head") or {})
        return replace(head, steps=tuple(substitution.step(s, str(i + 1)) for i, s in enumerate(head.steps)))


def _without_idle(file: syntax.File, space: Space, module: Module) -> syntax.File:
    """Leave out the values that have no effect in this one member (an SE width where there is no SE)."""
    from nasc.compiler.elaborate import elaborate
    from nasc.dsl.diagnostics import Diagnostics

    network = next(i for i in file.items if isinstance(i, syntax.Space))
    diagnostics = Diagnostics()
    written = elaborate(network, module.blocks, diagnostics)
    diagnostics.raise_errors()
    assert written is not None
    used = written.world.used

    def keep(properties: tuple[syntax.Property, ...]) -> tuple[syntax.Property, ...]:
        return tuple(p for p in properties if id(p) in used)

    items: list[syntax.SpaceItem] = []
    for item in network.items:
        if isinstance(item, syntax.Default):
            if keep(item.properties):
                items.append(replace(item, properties=keep(item.properties)))
        elif isinstance(item, syntax.Stage):
            rows = [replace(r, properties=keep(r.properties)) for r in item.rows]
            rows = [r for r in rows if r.callee is not None or r.properties or r.width is not None]
            items.append(replace(item, properties=keep(item.properties), rows=tuple(rows)))
        else:
            items.append(item)
    trimmed = replace(network, items=tuple(items))
    return replace(file, items=tuple(trimmed if i is network else i for i in file.items))
