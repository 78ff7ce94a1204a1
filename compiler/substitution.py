"""Substituting decisions in syntax: every set, range, interval and choice replaced by what was decided.

A decision may also be narrowed, to a `Domain`: it is written as the space has it where nothing of it is gone, else as
what is left. What nothing is known of was not taken (a width of an operator that is not built), and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from nasc.compiler.decided_values import as_domain, narrowed_value, plain_number, ratio_value
from nasc.compiler.domain import Domain
from nasc.compiler.expr import Rational
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.world import dotted, source_text
from nasc.dsl import syntax
from nasc.dsl.walk import mentions

Decided = Mapping[str, "Rational | str"]
Narrowed = Mapping[str, "Rational | str | Domain"]
Whole = Callable[[syntax.Value, bool], Domain | None]
"""The values that a range or an interval (True: of a ratio) has in the space; None where they cannot be told."""
Blocks = Mapping[str, syntax.Block]
Lets = Mapping[str, syntax.Let]


def is_open(value: syntax.Value, blocks: Blocks, lets: Lets, depth: int = 0) -> bool:
    """Does a value hold a decision, in itself, in a `let` it names, or in the defaults of a block it calls?"""
    if depth > 32:
        return False
    match value:
        case syntax.ValueSet():
            return len(value.members) > 1 or is_open(value.members[0], blocks, lets, depth + 1)
        case syntax.Range() | syntax.Interval():
            return True
        case syntax.Choice():
            return value.quantifier != "all" or any(
                _step_is_open(s, blocks, lets, depth + 1) for c in value.candidates for s in c.steps
            )
        case syntax.Reference():
            name = value.parts[0]
            if name in lets:
                return is_open(lets[name].value, blocks, lets, depth + 1)
            return len(value.parts) == 1 and _block_is_open(name, frozenset(), blocks, lets, depth + 1)
        case syntax.Call():
            given = frozenset(p.name for p in value.properties)
            values = [*(a.value for a in value.arguments), *(p.value for p in value.properties)]
            return any(is_open(v, blocks, lets, depth + 1) for v in values) or (
                _block_is_open(value.name, given, blocks, lets, depth + 1)
            )
        case syntax.Operation():
            return any(is_open(s, blocks, lets, depth + 1) for s in (value.left, value.right) if s is not None)
    return False


def _step_is_open(step: syntax.Step, blocks: Blocks, lets: Lets, depth: int) -> bool:
    if step.width is not None and is_open(step.width, blocks, lets, depth):
        return True
    return not isinstance(step.operator, syntax.Group) and is_open(step.operator, blocks, lets, depth)


def _block_is_open(name: str, given: frozenset[str], blocks: Blocks, lets: Lets, depth: int) -> bool:
    block = blocks.get(name)
    return block is not None and any(
        p.default is not None and p.name not in given and is_open(p.default, blocks, {}, depth)
        for p in block.parameters
    )


@dataclass(frozen=True)
class Substitution:
    """Replaces decisions by their values. `names` are a block's parameters where its defaults are written out.

    `lets` are written out; those in `tied` stay where they are, with the decisions they share between layers.
    `channels` are those of the layer's input, where all members agree.
    """

    blocks: Blocks
    lets: Lets
    decided: Narrowed
    shared: Narrowed
    tied: Lets = field(default_factory=dict)
    whole: Whole = lambda value, is_ratio: None
    channels: Rational | None = None
    names: Mapping[str, syntax.Value] = field(default_factory=dict)

    def found(self, address: str) -> Rational | str | Domain | None:
        return self.shared.get(address) if address.startswith("@") else self.decided.get(address)

    def _reaches(self, address: str) -> bool:
        """Is anything known of an address, or of one below it?"""
        known = self.shared if address.startswith("@") else self.decided
        return address in known or any(key.startswith(f"{address}.") for key in known)

    def value(self, value: syntax.Value, address: str) -> syntax.Value:
        """A value with its decisions made."""
        match value:
            case syntax.ValueSet():
                return self._member(value, address)
            case syntax.Range() | syntax.Interval():
                return self._number(value, address)
            case syntax.Choice():
                return self.choice(value, address)
            case syntax.Reference():
                return self._reference(value, address)
            case syntax.Call():
                return self.call(value, address)
        return value

    def _number(self, value: syntax.Value, address: str) -> syntax.Value:
        found = self.found(address)
        if found is None or (isinstance(found, Domain) and self.whole(value, False) == found):
            return value
        return narrowed_value(as_domain(found), value.span)

    def _member(self, value: syntax.ValueSet, address: str) -> syntax.Value:
        found = self.found(address)
        if isinstance(found, Domain):
            numbers: list[Rational] = [m.value for m in value.members if isinstance(m, syntax.Number)]
            if len(numbers) == len(value.members) and Domain.of(numbers) == found:
                return value
            return narrowed_value(found, value.span, ordered=False)
        if isinstance(found, int | Fraction):
            return plain_number(found, value.span)
        members = list({source_text(m): m for m in value.members}.values())
        if len(members) == 1:
            return self.value(members[0], address)
        for index, member in enumerate(members):
            if source_text(member) == found:
                return self.value(member, f"{address}.{index + 1}")
        return plain_number(Fraction(found), value.span) if found is not None else value

    def _reference(self, value: syntax.Reference, address: str) -> syntax.Value:
        name = value.parts[0]
        if len(value.parts) == 1 and name in self.names:
            return self.names[name]
        if name in self.lets:
            return self.value(self.lets[name].value, f"@{name}")
        if len(value.parts) == 1 and name in self.blocks and is_open(value, self.blocks, self.lets):
            call = syntax.Call(name=name, span=value.span, name_span=value.span)
            return self.call(call, address)
        return value

    # --------------------------------------------------------------------------------------------- operators

    def block_name(self, name: str) -> str:
        """The block or primitive that an operator's name stands for at space level."""
        for _ in range(32):
            let = self.lets.get(name) or self.tied.get(name)
            named = self.names.get(name)
            value = let.value if let is not None else named
            if isinstance(value, syntax.Call):
                name = value.name
            elif isinstance(value, syntax.Reference) and len(value.parts) == 1:
                name = value.parts[0]
            else:
                break
        return name

    def parameters(self, name: str) -> tuple[str, ...]:
        block = self.blocks.get(name)
        if block is not None:
            return tuple(p.name for p in block.parameters)
        return tuple(PRIMITIVES[name].parameters) if name in PRIMITIVES else ()

    def picked(self, choice: syntax.Choice) -> tuple[syntax.Candidate, str]:
        """The candidate taken of a stage's `one of`, as it is written, and the address its decisions are under."""
        if len(choice.candidates) == 1:
            return choice.candidates[0], ""
        texts = [source_text(c) for c in choice.candidates]
        index = texts.index(str(self.decided["of"]))
        return choice.candidates[index], str(index + 1)

    def opened(self, call: syntax.Call) -> syntax.Call:
        """A `let`'s configured block with its braces written out."""
        let = self.lets.get(call.name)
        if let is None or not isinstance(let.value, syntax.Call):
            return call
        inner = self.call(let.value, f"@{call.name}")
        if not isinstance(inner, syntax.Call):
            return call
        own = {p.name for p in call.properties}
        return replace(call, properties=(*[p for p in inner.properties if p.name not in own], *call.properties))

    def call(self, call: syntax.Call, address: str) -> syntax.Value:
        """An operator as a value, its parameters decided and open defaults written out."""
        name = call.name if call.name in self.tied else self.block_name(call.name)
        properties: dict[str, syntax.Value] = {}
        block = self.block_name(name)
        given = self.given(call, block)
        if given is None:
            return call
        for key, value in given.items():
            self.property(block, key, value, dotted(address, key), properties)
        if name not in self.tied:
            self.defaults(block, properties, address, given)
        made = tuple(
            syntax.Property(span=call.span, name=k, value=v, name_span=call.span) for k, v in properties.items()
        )
        if not made:
            return syntax.Reference(parts=(name,), span=call.span)
        return syntax.Call(name=name, properties=made, braced=True, span=call.span, name_span=call.name_span)

    def given(self, call: syntax.Call, block: str) -> dict[str, syntax.Value] | None:
        """What a call is given by parameter; None where its arguments have no names."""
        names = self.parameters(block)
        if any(a.name is None for a in call.arguments[len(names) :]):
            return None
        given = {a.name or names[i]: a.value for i, a in enumerate(call.arguments)}
        return given | {p.name: p.value for p in call.properties}

    def property(self, block: str, key: str, value: syntax.Value, address: str, into: dict[str, syntax.Value]) -> None:
        """Write a decided parameter; a ratio is written as the width it gives, or exactly (`160/24`)."""
        declared = (
            next((p for p in self.blocks[block].parameters if p.name == key), None) if block in self.blocks else None
        )
        found = self.found(address)
        is_ratio = declared is not None and declared.kind == "ratio" and isinstance(value, syntax.Interval)
        if is_ratio and found is not None and not (isinstance(found, Domain) and self.whole(value, True) == found):
            width = self._width_parameter(self.blocks[block], key)
            if width is not None:
                into[width] = narrowed_value(as_domain(found), value.span)
            elif self.channels:
                into[key] = ratio_value(as_domain(found), self.channels, value.span)
            return
        decided = value if is_ratio else self.value(value, address)
        if found is not None or not isinstance(decided, syntax.ValueSet | syntax.Range | syntax.Interval):
            into[key] = decided

    def _width_parameter(self, block: syntax.Block, ratio: str) -> str | None:
        """The parameter whose default is worked out from a ratio (`hidden` from `expand`)."""
        for parameter in block.parameters:
            if parameter.default is not None and parameter.name != ratio and ratio in mentions(parameter.default):
                return parameter.name
        return None

    def defaults(
        self, name: str, properties: dict[str, syntax.Value], address: str, given: Mapping[str, syntax.Value]
    ) -> None:
        """Write out the defaults of a block that hold decisions."""
        block = self.blocks.get(name)
        if block is None:
            return
        known = dict(properties)
        for parameter in block.parameters:
            if parameter.default is None:
                continue
            if parameter.name not in given and parameter.name not in properties:
                inner = replace(self, names={**known}, lets={})
                home = dotted(address, parameter.name)
                is_decided = is_open(parameter.default, self.blocks, {}) or self._names_open(parameter.default, known)
                if is_decided and self._reaches(home):
                    inner.property(name, parameter.name, parameter.default, home, properties)
                known.setdefault(parameter.name, parameter.default)
            known.update(properties)

    def _names_open(self, value: syntax.Value, names: Mapping[str, syntax.Value]) -> bool:
        """Does a default call an operator that a parameter holds, and that has open defaults?"""
        if not isinstance(value, syntax.Call) or value.name not in names:
            return False
        return is_open(replace(value, name=replace(self, names=names).block_name(value.name)), self.blocks, {})

    # --------------------------------------------------------------------------------------------- choices

    def choice(self, choice: syntax.Choice, address: str) -> syntax.Value:
        """`one of` becomes its candidate, `any of` the `all of` of its survivors (or `nothing`)."""
        nothing = syntax.Reference(parts=("nothing",), span=choice.span)
        alone = len(choice.candidates) == 1
        homes = [address if alone else dotted(address, str(i + 1)) for i in range(len(choice.candidates))]
        if choice.quantifier == "any":
            some = self.found(dotted(address, "some")) == "some"
            if some and not any(self._reaches(dotted(address, f"{i + 1}?")) for i in range(len(homes))):
                return choice  # nothing is known but that it is there
            kept = [
                self._candidate(c, h)
                for i, (c, h) in enumerate(zip(choice.candidates, homes, strict=True))
                if self.found(dotted(address, f"{i + 1}?")) == 1
            ]
            if not kept:
                return nothing
            return replace(choice, quantifier="all", candidates=tuple(kept))
        if choice.quantifier == "all":
            made = [self._candidate(c, h) for c, h in zip(choice.candidates, homes, strict=True)]
            return replace(choice, candidates=tuple(made))
        text = self.found(address) or self.found(dotted(address, "of"))
        for candidate, home in zip(choice.candidates, homes, strict=True):
            if alone or source_text(candidate) == text:
                taken = self._candidate(candidate, home)
                step = taken.steps[0]
                if len(candidate.steps) == 1 and step.width is None and isinstance(step.operator, syntax.Call):
                    call = step.operator
                    if call.braced:
                        return call
                    return syntax.Reference(parts=(call.name,), span=call.span)
                return replace(choice, candidates=(taken,))
        return choice

    def _candidate(self, candidate: syntax.Candidate, home: str) -> syntax.Candidate:
        steps = candidate.steps
        single = len(steps) == 1
        made = tuple(self.step(s, home if single else dotted(home, str(i + 1))) for i, s in enumerate(steps))
        return replace(candidate, steps=made)

    def step(self, step: syntax.Step, home: str) -> syntax.Step:
        """One operator of a chain with its decisions made."""
        operator = step.operator
        width = None if step.width is None else self.value(step.width, dotted(home, "width"))
        if isinstance(operator, syntax.Choice):
            made = self.choice(operator, home)
            operator = made if isinstance(made, syntax.Choice | syntax.Call) else operator
        elif isinstance(operator, syntax.Call) and is_open(operator, self.blocks, self.lets):
            value = self.call(operator, home)
            operator = value if isinstance(value, syntax.Call) else operator
        return replace(step, operator=operator, width=width)
