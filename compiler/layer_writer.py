"""A layer's text with its decisions made: the block it comes out as, and every parameter that was decided."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Expr, Rational
from nasc.compiler.layer_lines import Alternative, first_only, property_of
from nasc.compiler.layers import LayerText
from nasc.compiler.substitution import Lets, Substitution, is_open
from nasc.compiler.trellis import State
from nasc.compiler.values import Bound
from nasc.compiler.world import dotted
from nasc.dsl import syntax

Given = Mapping[str, Bound]


@dataclass(frozen=True)
class LayerWriter:
    """Writes layers of a space. Decisions in `lets` are written out where they are used."""

    space: Space
    lets: Lets

    def is_open(self, value: syntax.Value) -> bool:
        """Does a value hold a decision that is written out?"""
        return is_open(value, self.space.world.blocks, self.lets)

    def constant(self, stage: syntax.Stage) -> dict[str, syntax.Value]:
        """What a stage says for all of its layers whatever is decided."""
        return {p.name: p.value for p in stage.properties if p.name != "skip" and not self.is_open(p.value)}

    def channels(self, address: str) -> Rational | None:
        """The channels that a layer takes in, where they are the same in all members."""
        widths = {state.current.channels for state in self._states[address] if not state.done}
        width = next(iter(widths))
        return None if len(widths) > 1 or isinstance(width, Expr) else width

    @cached_property
    def _states(self) -> dict[str, Collection[State]]:
        return {slot.address: slot.edges for slot in self.space.trellis.slots}

    def untouched(self, text: LayerText) -> Alternative:
        """A layer as the space has it, with what its stage leaves open and its row gives."""
        blocks, callee = self.space.world.blocks, text.callee
        takes = None
        if isinstance(callee, syntax.Call):
            names = Substitution(blocks, self.space.header.lets, {}, {})
            takes = frozenset(names.parameters(names.block_name(callee.name)))
        late = first_only(callee, blocks) if text.index > 1 else frozenset()
        given = {
            key: bound.value
            for key, bound in text.given.items()
            if not (self._stays(text.given, key, bound.value) or (bound.of_stage and key in late))
            and (takes is None or key in takes)
        }
        return Alternative(callee, given, takes)

    def alternative(self, text: LayerText, made: Substitution) -> Alternative:
        """A layer with the decisions of a substitution made."""
        callee = text.callee
        if isinstance(callee, syntax.Call):
            return self._block(text.given, callee, "", made)
        if callee.quantifier == "one":
            candidate, home = made.picked(callee)
            operator = candidate.steps[0].operator
            if len(candidate.steps) == 1 and candidate.steps[0].width is None and isinstance(operator, syntax.Call):
                return self._block(text.given, operator, home, made)
            return Alternative(replace(callee, candidates=(self._chain(text.given, candidate, home, made),)), {}, None)
        if callee.quantifier == "all":
            count = len(callee.candidates)
            homes = [str(i + 1) for i in range(count)] if count > 1 else [""]
            chains = [self._chain(text.given, c, h, made) for c, h in zip(callee.candidates, homes, strict=True)]
            return Alternative(replace(callee, candidates=tuple(chains)), {}, None)
        choice = made.choice(callee, "")
        if isinstance(choice, syntax.Reference):
            choice = syntax.Call(name=choice.parts[0], span=callee.span, name_span=callee.span)
        return Alternative(choice if isinstance(choice, syntax.Call | syntax.Choice) else callee, {}, None)

    def head(self, head: syntax.Head, made: Substitution) -> tuple[syntax.Step, ...]:
        """The head's steps with the decisions of a substitution made."""
        return tuple(self._step({}, step, str(i + 1), made) for i, step in enumerate(head.steps))

    def _chain(self, given: Given, candidate: syntax.Candidate, home: str, made: Substitution) -> syntax.Candidate:
        """A candidate of several steps; what the layer is given goes into the braces of each that takes it."""
        alone = len(candidate.steps) == 1
        homes = [home if alone else dotted(home, str(i + 1)) for i in range(len(candidate.steps))]
        steps = (self._step(given, s, h, made) for s, h in zip(candidate.steps, homes, strict=True))
        return replace(candidate, steps=tuple(steps))

    def _step(self, given: Given, step: syntax.Step, home: str, made: Substitution) -> syntax.Step:
        written = made.step(step, home)
        if not isinstance(step.operator, syntax.Call):
            return written
        block = self._block(given, step.operator, home, made)
        own = made.given(step.operator, made.block_name(step.operator.name)) or {}
        if not block.properties.keys() - own.keys() or not isinstance(block.callee, syntax.Call):
            return written
        properties = tuple(property_of(k, v, step.span) for k, v in block.properties.items())
        return replace(written, operator=replace(block.callee, properties=properties, braced=True))

    def _block(self, given: Given, call: syntax.Call, home: str, made: Substitution) -> Alternative:
        """A block and its decided parameters: nearest given first, then open defaults of the block."""
        tied = call.name in made.tied
        opened = call if tied else made.opened(call)
        name = made.block_name(opened.name)
        takes = frozenset(made.parameters(name))
        defaults = self._defaults(name)
        own = made.given(opened, name) or {}
        inherited = {**defaults, **{key: bound.value for key, bound in given.items()}}
        properties: dict[str, syntax.Value] = {}
        for key, value in {**inherited, **own}.items():
            if key in takes and (key in own or not self._stays(given, key, value)):
                address = dotted(home, key) if key in own or key in given else key  # a `default` has no other
                made.property(name, key, value, address, properties)
        if not tied:
            instance = opened.name if opened.name in made.lets else ""
            made.defaults(name, properties, f"@{instance}" if instance else home, {**inherited, **own})
        printed = syntax.Call(name=opened.name if tied else name, span=call.span, name_span=call.span)
        return Alternative(printed, properties, takes)

    def _stays(self, given: Given, key: str, value: syntax.Value) -> bool:
        """Is a value written for the whole stage (or in a `default`) and not open? Then it stays there."""
        of_stage = key not in given or given[key].of_stage
        return of_stage and not self.is_open(value)

    def _defaults(self, name: str) -> Mapping[str, syntax.Value]:
        defaults = self.space.header.defaults
        found = {**defaults.get(None, {}), **defaults.get(name, {})}
        return {key: bound.value for key, bound in found.items() if self.is_open(bound.value)}
