"""One member of a space: what every decision came out as, and the member written as a `.nas` file.

`Member` files decisions under the addresses that the elaborator gave them. Writing substitutes them in the space's own
text (language.md: "Meaning: substitution"), closes up dropped layers, and prints every decided parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nasc.compiler.decided_values import plain_number
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational
from nasc.compiler.idle import without_idle, without_unused_lets
from nasc.compiler.ir import Network, Variant
from nasc.compiler.layer_lines import Line, first_only, gathered, refuses_width, side_by_side
from nasc.compiler.layer_writer import LayerWriter
from nasc.compiler.layers import LayerText, layer_texts
from nasc.compiler.parts import layer_address
from nasc.compiler.substitution import Decided, Substitution, is_open
from nasc.compiler.values import SpaceScope
from nasc.dsl import syntax
from nasc.dsl.loader import Module
from nasc.dsl.walk import mentions, rewritten


@dataclass(frozen=True)
class SideBySide:
    """Several alternatives of a layer at once, added. With `residual`, each would add the layer's input, and only the
    first does."""

    alternatives: tuple[Decided, ...]
    residual: bool


@dataclass(frozen=True)
class Member:
    """`layers` maps a layer's address to its decisions, or to None where it is dropped or beyond the stage's depth.

    `beside` has the layers that are several of their alternatives at once: such a network is no member of the space
    itself, but of what masks make of it (FiGS, 3.3).
    """

    layers: Mapping[str, Decided | None]
    shared: Decided = field(default_factory=dict)
    beside: Mapping[str, SideBySide] = field(default_factory=dict)


Choices = Mapping[str, tuple[int, Mapping[str, Rational]] | None]


def member_from_choices(network: Network, choices: Choices, shared: Decided | None = None) -> Member:
    """A member from what a search chose: for each layer None, or a variant's index and its widths."""
    layers: dict[str, Decided | None] = {}
    every = [layer for stage in network.stages for layer in stage.layers]
    for layer in [*every, *([network.head] if network.head is not None else [])]:
        choice = choices.get(layer.address, (0, {}))
        address = layer_address(layer.address)
        if choice is None:
            layers[address] = None
        else:
            layers[address] = {**(layers.get(address) or {}), **decided_of(layer.variants[choice[0]], choice[1])}
    return Member(layers, shared or {})


def decided_of(variant: Variant, values: Mapping[str, Rational]) -> Decided:
    """A variant's decisions as one mapping."""
    return {**variant.chosen, **values}


def member_text(space: Space, member: Member, module: Module, note: str = "") -> str:
    """The member as the text of a `.nas` file with one member. `note` is its provenance, a comment at the top."""
    from nasc.dsl.format import print_file

    file = member_file(space, member, module)
    return print_file(without_idle(file, module.blocks), note)


def member_file(space: Space, member: Member, module: Module) -> syntax.File:
    """The member as a syntax tree, of which no part is in two places."""
    writer = _Writer(space, member)
    items: list[syntax.SpaceItem] = []
    for item in space.syntax.items:
        match item:
            case syntax.Input() | syntax.Output():
                items.append(item)
            case syntax.Let() if not is_open(item.value, space.world.blocks, space.header.lets):
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
    network = replace(space.syntax, network=True, items=without_unused_lets(rewritten(tuple(items), writer.closed)))
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


class _Writer:
    """Writes the stages of one member."""

    def __init__(self, space: Space, member: Member) -> None:
        self.space = space
        self.member = member
        self.lines = LayerWriter(space, space.header.lets)

    def substitution(self, address: str, decided: Decided) -> Substitution:
        blocks = self.space.world.blocks
        header, channels = self.space.header, self.lines.channels(address)
        return Substitution(
            blocks, header.lets, decided, self.member.shared, channels=channels, granularity=header.granularity
        )

    def closed(self, node: syntax.Node) -> syntax.Node:
        """A new node, without the arrow that nothing takes and that is undecided for that."""
        if isinstance(node, syntax.Stage | syntax.Row | syntax.Step) and node.width is not None:
            is_idle = self.lines.is_open(node.width)
            return replace(node, width=None if is_idle else node.width)
        return node

    def stage(self, stage: syntax.Stage) -> syntax.Stage | None:
        """A stage of the layers that are built, or None where nothing is left of it."""
        last = int(self.space.trellis.depths[stage.name].last)
        texts = layer_texts(stage, self.space.header, last, SpaceScope(self.space.header.lets, {}))
        kept = [(t, made) for t in texts if (made := self.member.layers.get(t.address)) is not None]
        if not kept:
            named = mentions(self.space.syntax) | {s.source for s in self.space.header.stages}
            return gathered(replace(stage, count=None), (), {}, {}) if stage.name in named else None
        lines = [self._line(text, made) for text, made in kept]
        constant = self.lines.constant(stage)
        if kept[0][0].index != 1:
            late = first_only([a.callee for line in lines for a in line.alternatives], self.space.world.blocks)
            constant = {name: value for name, value in constant.items() if name not in late}
        if all(line.width == lines[0].width for line in lines):
            stage = replace(stage, width=lines[0].width)
            lines = [replace(line, width=None) for line in lines]
        else:
            stage = replace(stage, width=None)
        count = plain_number(len(lines), stage.span) if len(lines) > 1 else None
        return gathered(replace(stage, count=count), lines, constant, self.space.world.blocks)

    def _line(self, text: LayerText, decided: Decided) -> Line:
        made = self.substitution(text.address, decided)
        width = None if text.width is None else made.value(text.width.value, text.width.address)
        several = self.member.beside.get(text.address)
        if several is None:
            found = self.lines.alternative(text, made)
            return Line((found,), None if refuses_width(found.callee, self.space.world.blocks) else width)
        each = [self.lines.alternative(text, self.substitution(text.address, one)) for one in several.alternatives]
        return Line((side_by_side(each, several.residual, self.space.world.blocks, text.callee.span),), width)

    def head(self, head: syntax.Head) -> syntax.Head:
        made = self.substitution("head", self.member.layers.get("head") or {})
        return replace(head, steps=self.lines.head(head, made))
