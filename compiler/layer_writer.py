"""A layer's text with its decisions made: the block it comes out as, and every parameter that was decided."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Expr, Rational
from nasc.compiler.layer_lines import Alternative, first_only, property_of, refuses_width
from nasc.compiler.layers import LayerText
from nasc.compiler.substitution import Lets, Opened, Substitution, is_open, sole_call
from nasc.compiler.trellis import State
from nasc.compiler.values import Bound, SpaceScope
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
        return self._operator(text.given, text.callee, "", made)

    def _operator(
        self, given: Given, operator: syntax.Call | syntax.Choice, home: str, made: Substitution
    ) -> Alternative:
        if isinstance(operator, syntax.Choice):
            return self._choice(given, operator, home, made)
        opened = made.opened(operator, home)
        if isinstance(opened.operator, syntax.Call):
            return self._block(given, opened.operator, opened, made)
        scope = SpaceScope(self.space.header.lets, {})
        own = {key: Bound(value, scope, address) for key, (value, address) in (opened.given or {}).items()}
        return self._choice({**given, **own}, opened.operator, opened.home, made)

    def _choice(self, given: Given, choice: syntax.Choice, home: str, made: Substitution) -> Alternative:
        """A choice decided; what it is given goes into the braces of each operator that takes it."""
        kept = made.kept(choice, home)
        if kept is None:
            loose = {k: b.value for k, b in given.items() if not self._stays(given, k, b.value)}
            return Alternative(choice, loose, None)
        if not kept:
            return Alternative(syntax.Call(name="nothing", span=choice.span, name_span=choice.span), {}, frozenset())
        if choice.quantifier == "one":
            candidate, place = kept[0]
            operator = self._alone(candidate, made)
            if operator is not None:
                return self._operator(_handed(given, place), operator, place, made)
        chains = tuple(self._chain(given, candidate, place, made) for candidate, place in kept)
        quantifier = "one" if choice.quantifier == "one" else "all"
        return Alternative(replace(choice, quantifier=quantifier, candidates=chains), {}, None)

    def _alone(self, candidate: syntax.Candidate, made: Substitution) -> syntax.Call | None:
        """The operator of a candidate that can be a stage's own."""
        call = sole_call(candidate)
        return call if call is not None and made.opened(call, "").given is not None else None

    def head(self, head: syntax.Head, made: Substitution) -> tuple[syntax.Step, ...]:
        """The head's steps with the decisions of a substitution made."""
        return tuple(self._step({}, step, str(i + 1), made) for i, step in enumerate(head.steps))

    def _chain(self, given: Given, candidate: syntax.Candidate, home: str, made: Substitution) -> syntax.Candidate:
        """A candidate of several steps; what the layer is given goes into the braces of each that takes it."""
        alone = len(candidate.steps) == 1
        homes = [home if alone else dotted(home, str(i + 1)) for i in range(len(candidate.steps))]
        steps = (self._step(_handed(given, h), s, h, made) for s, h in zip(candidate.steps, homes, strict=True))
        return replace(candidate, steps=tuple(steps))

    def _step(self, given: Given, step: syntax.Step, home: str, made: Substitution) -> syntax.Step:
        written = made.step(step, home)
        if isinstance(step.operator, syntax.Group):
            return written
        found = self._operator(given, step.operator, home, made)
        if isinstance(found.callee, syntax.Choice):
            return replace(written, operator=found.callee)
        if isinstance(step.operator, syntax.Call):
            own = made.opened(step.operator, home).given
            if own is None or (found.callee.name == step.operator.name and not found.properties.keys() - own.keys()):
                return written
        if refuses_width(found.callee, self.space.world.blocks):  # it was a choice
            written = replace(written, width=None)
        properties = tuple(property_of(k, v, step.span) for k, v in found.properties.items())
        return replace(written, operator=replace(found.callee, properties=properties, braced=bool(properties)))

    def _block(self, given: Given, call: syntax.Call, opened: Opened, made: Substitution) -> Alternative:
        """A block and its decided parameters: nearest given first, then open defaults of the block."""
        name = made.block_name(call.name)
        takes = frozenset(made.parameters(name))
        own = opened.given or {}
        defaults = {key: (value, key) for key, value in self._defaults(name).items()}
        inherited = {**defaults, **{key: (bound.value, bound.address) for key, bound in given.items()}}
        properties: dict[str, syntax.Value] = {}
        for key, (value, address) in {**inherited, **own}.items():
            if key in takes and (key in own or not self._stays(given, key, value)):
                made.property(name, key, value, address, properties)
        if call.name not in made.tied:
            made.defaults(name, properties, opened.home, {**inherited, **own})
        printed = syntax.Call(name=call.name if call.name in made.tied else name, span=call.span, name_span=call.span)
        return Alternative(printed, properties, takes)

    def _stays(self, given: Given, key: str, value: syntax.Value) -> bool:
        """Is a value written for the whole stage (or in a `default`) and not open? Then it stays there."""
        of_stage = key not in given or given[key].of_stage
        return of_stage and not self.is_open(value)

    def _defaults(self, name: str) -> Mapping[str, syntax.Value]:
        defaults = self.space.header.defaults
        found = {**defaults.get(None, {}), **defaults.get(name, {})}
        return {key: bound.value for key, bound in found.items() if self.is_open(bound.value)}


def _handed(given: Given, home: str) -> Given:
    """What a layer is given, as the operators of one candidate get it: each decides for itself."""
    return {
        key: bound
        if bound.address.startswith("@")
        else replace(bound, address=dotted(home, bound.address.rsplit(".", 1)[-1]))
        for key, bound in given.items()
    }
