"""The layers of a network written with ranges in the place of their inner widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from nasc.compiler.elaborate import Space
from nasc.compiler.layer_lines import Alternative, Line, gathered, property_of
from nasc.compiler.layer_writer import LayerWriter
from nasc.compiler.layers import LayerText, layer_texts
from nasc.compiler.open_widths import Opening, Reach, Wanted, inner_widths, range_of, width_parameters
from nasc.compiler.substitution import Substitution
from nasc.compiler.values import SpaceScope
from nasc.dsl import syntax
from nasc.dsl.walk import rewritten

T = TypeVar("T")
Plan = Mapping[str, Reach]
"""What is opened: widths of layers (`irb2.3.hidden`), and what is written inside a stage's operators (`cell1.*`)."""


@dataclass(frozen=True)
class LayerOpener:
    """Writes the stages of a network with the widths opened that are wanted."""

    space: Space
    opening: Opening
    wanted: Wanted

    def parts(self) -> list[dict[str, tuple[int, ...]]]:
        """What can be opened, by address, with its widths; what is of one parameter in one stage goes together."""
        found: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
        for stage in self.space.header.stages:
            for text in self._texts[stage.name]:
                for name, width in self._widths[text.address].items():
                    found.setdefault((stage.name, name), {})[f"{text.address}.{name}"] = (width,)
            self._add_written(stage.name, self._stage_parts(stage), found)
        if self.space.header.head is not None:
            self._add_written("head", self.space.header.head.steps, found)
        return list(found.values())

    def stage(self, stage: syntax.Stage, plan: Plan) -> syntax.Stage:
        """A stage with what the plan opens of it."""
        if not any(address.startswith(f"{stage.name}.") for address in plan):
            return stage
        constant = self._lines.constant(stage)
        if reach := plan.get(f"{stage.name}.*"):
            constant = self._opened_values(constant, reach)
        lines = [self._line(text, plan) for text in self._texts[stage.name]]
        return gathered(stage, lines, constant, self.space.world.blocks)

    def head(self, head: syntax.Head, plan: Plan) -> syntax.Head:
        """The head with what the plan opens of it."""
        reach = plan.get("head.*")
        return head if reach is None else replace(head, steps=self._opened(head.steps, reach, []))

    # --------------------------------------------------------------------------------------------- layers

    @cached_property
    def _lines(self) -> LayerWriter:
        return LayerWriter(self.space, self.space.header.lets)

    @cached_property
    def _texts(self) -> dict[str, list[LayerText]]:
        header, depths = self.space.header, self.space.trellis.depths
        scope = SpaceScope(header.lets, {})
        return {s.name: layer_texts(s, header, int(depths[s.name].last), scope) for s in header.stages}

    @cached_property
    def _widths(self) -> dict[str, dict[str, int]]:
        """The inner widths of each layer, where there is more to choose from than the width itself."""
        states = {slot.address: next(iter(slot.edges)) for slot in self.space.trellis.slots}
        texts = [text for texts in self._texts.values() for text in texts]
        return {
            text.address: {
                name: width
                for name, width in inner_widths(self.space, text, states[text.address]).items()
                if self.wanted.parameter(name) and self.opening.has_choice(width)
            }
            if self.wanted.place(text.address)
            else {}
            for text in texts
        }

    def _line(self, text: LayerText, plan: Plan) -> Line:
        header = self.space.header
        found = self._alternative(text)
        if reach := plan.get(f"{text.stage}.*"):
            found = self._opened_alternative(text, found, reach)
        opened = {
            name: range_of(self.opening.around(width, plan[f"{text.address}.{name}"]), text.span)
            for name, width in self._widths[text.address].items()
            if f"{text.address}.{name}" in plan
        }
        own = text.width is not None and text.width.address != f"@{text.stage}.width"
        return Line(
            (replace(found, properties={**found.properties, **opened}),),
            width=text.width.value if text.width is not None and own else None,
            skip=text.skip if text.skip != header.skip else "",
        )

    def _alternative(self, text: LayerText) -> Alternative:
        lets = self.space.header.lets
        made = Substitution(self.space.world.blocks, lets, {}, {}, channels=self._lines.channels(text.address))
        return self._lines.alternative(text, made)

    # --------------------------------------------------------------------------------------------- written numbers

    def _add_written(self, name: str, parts: object, found: dict[tuple[str, str], dict[str, tuple[int, ...]]]) -> None:
        """Note the widths that stand in nested operators and in the candidates of choices."""
        widths: list[int] = []
        if self.wanted.place(name):
            self._opened(parts, Reach(), widths)
        if widths:
            found[name, "*"] = {f"{name}.*": tuple(widths)}

    def _stage_parts(self, stage: syntax.Stage) -> object:
        """All that is rewritten of a stage where its written numbers are opened."""
        texts = [(text, self._alternative(text)) for text in self._texts[stage.name]]
        layers = [
            _as_call(a) if isinstance(t.callee, syntax.Choice) else tuple(a.properties.values()) for t, a in texts
        ]
        return (*layers, *self._lines.constant(stage).values())

    def _opened_alternative(self, text: LayerText, found: Alternative, reach: Reach) -> Alternative:
        if isinstance(text.callee, syntax.Choice):
            whole = self._opened(_as_call(found), reach, [])
            if isinstance(whole, syntax.Choice):
                return replace(found, callee=whole)
            return replace(found, properties={p.name: p.value for p in whole.properties})
        return replace(found, properties=self._opened_values(found.properties, reach))

    def _opened_values(self, values: Mapping[str, syntax.Value], reach: Reach) -> dict[str, syntax.Value]:
        return {name: self._opened(value, reach, []) for name, value in values.items()}

    def _opened(self, part: T, reach: Reach, widths: list[int]) -> T:
        """A piece of syntax with the widths in the braces of its operators opened; they are added to `widths`."""
        blocks = self.space.world.blocks

        def change(node: syntax.Node) -> syntax.Node:
            if not isinstance(node, syntax.Call) or node.name not in blocks:
                return node
            inner = set(filter(self.wanted.parameter, width_parameters(blocks[node.name], blocks)))
            return replace(node, properties=tuple(opened(p) if p.name in inner else p for p in node.properties))

        def opened(given: syntax.Property) -> syntax.Property:
            if not isinstance(given.value, syntax.Number) or given.value.value.denominator != 1:
                return given
            width = int(given.value.value)
            if width < 1 or not self.opening.has_choice(width):
                return given
            widths.append(width)
            return replace(given, value=range_of(self.opening.around(width, reach), given.value.span))

        return rewritten(part, change)


def _as_call(found: Alternative) -> syntax.Call | syntax.Choice:
    """A layer's operator with what it is given in its braces."""
    if isinstance(found.callee, syntax.Choice):
        return found.callee
    made = tuple(property_of(name, value, found.callee.span) for name, value in found.properties.items())
    return replace(found.callee, properties=made)
