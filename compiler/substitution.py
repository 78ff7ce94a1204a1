"""Substituting decisions in syntax: every set, range, interval and choice replaced by what was decided.

A decision may also be narrowed, to a `Domain`: it is written as the space has it where nothing of it is gone, else as
what is left. What nothing is known of was not taken (a width of an operator that is not built), and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeVar

from nasc.compiler.computed import computed
from nasc.compiler.decided_values import as_domain, narrowed_value, plain_number, ratio_value
from nasc.compiler.domain import Domain
from nasc.compiler.expr import FUNCTION_NAMES, Rational
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.world import dotted, source_text
from nasc.dsl import syntax
from nasc.dsl.walk import mentions

Decided = Mapping[str, "Rational | str"]
Narrowed = Mapping[str, "Rational | str | Domain"]
Whole = Callable[[syntax.Value, bool], Domain | None]
"""The values that a range or an interval (True: of a ratio) has in the space; None where they cannot be told."""
T = TypeVar("T", bound=syntax.Node)
_SETS = syntax.ValueSet | syntax.Range | syntax.Interval | syntax.Choice | syntax.Shape
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
            if value.name in lets:
                values.append(lets[value.name].value)
            return any(is_open(v, blocks, lets, depth + 1) for v in values) or (
                _block_is_open(value.name, given, blocks, lets, depth + 1)
            )
        case syntax.Shape():
            return any(is_open(size, blocks, lets, depth + 1) for size in value.sizes)
        case syntax.Operation():
            return any(is_open(s, blocks, lets, depth + 1) for s in (value.left, value.right) if s is not None)
    return False


def _step_is_open(step: syntax.Step, blocks: Blocks, lets: Lets, depth: int) -> bool:
    if any(is_open(part, blocks, lets, depth) for part in (step.width, step.when) if part is not None):
        return True
    if isinstance(step.operator, syntax.Group):
        return any(_step_is_open(inner, blocks, lets, depth) for inner in step.operator.steps)
    return is_open(step.operator, blocks, lets, depth)


def _block_is_open(name: str, given: frozenset[str], blocks: Blocks, lets: Lets, depth: int) -> bool:
    block = blocks.get(name)
    return block is not None and any(
        p.default is not None and p.name not in given and is_open(p.default, blocks, {}, depth)
        for p in block.parameters
    )


@dataclass(frozen=True)
class Opened:
    """What an operator stands for where `let`s are written out: a choice, or a call of which only the name counts.

    `given` has each value with the address of its decisions, None where an argument has no name; `home` is the address
    of those in its defaults, or of the choice.
    """

    operator: syntax.Call | syntax.Choice
    given: Mapping[str, tuple[syntax.Value, str]] | None
    home: str


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
    granularity: Rational | None = None
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
            case syntax.Operation():
                return self._computed(value)
            case syntax.Shape():
                return replace(value, sizes=tuple(self._side(size) for size in value.sizes))
        return value

    def _computed(self, value: syntax.Operation | syntax.Call) -> syntax.Value:
        """A sum or a function of decided numbers as the number it is."""
        if not is_open(value, {}, self.lets):
            return value
        if isinstance(value, syntax.Operation):
            left = None if value.left is None else self._side(value.left)
            return computed(replace(value, left=left, right=self._side(value.right)), self.lets, self.granularity)
        arguments = tuple(
            a if isinstance(a.value, _SETS) else replace(a, value=self._side(a.value)) for a in value.arguments
        )
        return computed(replace(value, arguments=arguments), self.lets, self.granularity)

    def _side(self, size: T) -> T:
        """Part of a sum or a shape; itself where it is not decided (`w` in `max(w, 64)`, where `w` is never more)."""
        made = self.value(size, "")  # type: ignore[arg-type]  # an expression
        return size if isinstance(made, _SETS) else made  # type: ignore[return-value]  # what is left is a number

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
        if len(value.parts) > 1:
            return value
        if name in self.names:
            return self.names[name]
        call = syntax.Call(name=name, span=value.span, name_span=value.span)
        if name in self.lets:
            end = self.opened(call, address).operator
            if isinstance(end, syntax.Call) and end.name in self.lets:  # it stands for a number
                return self.value(self.lets[end.name].value, f"@{end.name}")
            return self.call(call, address)
        if name in self.blocks and is_open(value, self.blocks, self.lets):
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

    def opened(self, call: syntax.Call, home: str, is_value: bool = False) -> Opened:
        """An operator with the `let`s that it names written out; `home` is the address of its own decisions.

        Where it is applied, and no value, what it is given is decided where the `let`'s braces are.
        """
        calls = [(call, home)]
        name = call.name
        for _ in range(32):
            if name not in self.lets:
                break
            value, address = self._taken(self.lets[name].value, f"@{name}")
            if isinstance(value, syntax.Choice):
                return Opened(value, self._given_by(calls, None), address)
            if isinstance(value, syntax.Call):
                calls.append((value, address))
                name, home = value.name, address
            elif isinstance(value, syntax.Reference) and len(value.parts) == 1:
                name = value.parts[0]
            else:
                break
        if not is_value:
            calls[0] = (call, home)
        named = syntax.Call(name=name, span=call.span, name_span=call.span)
        return Opened(named, self._given_by(calls, self.block_name(name)), home)

    def _taken(self, value: syntax.Value, address: str) -> tuple[syntax.Value, str]:
        """The member of a set of operators that is decided on, with the address of the decisions in it."""
        if not isinstance(value, syntax.ValueSet):
            return value, address
        members = list({source_text(m): m for m in value.members}.values())
        if len(members) == 1:
            return members[0], address
        found = self.found(address)
        taken = ((m, f"{address}.{i + 1}") for i, m in enumerate(members) if source_text(m) == found)
        return next(taken, (value, address))

    def _given_by(
        self, calls: Sequence[tuple[syntax.Call, str]], block: str | None
    ) -> dict[str, tuple[syntax.Value, str]] | None:
        """What calls around one operator give it, the outermost first; a choice (None) is given properties alone."""
        found: dict[str, tuple[syntax.Value, str]] = {}
        for call, home in reversed(calls):
            given = {p.name: p.value for p in call.properties} if block is None else self.given(call, block)
            if given is None:
                return None
            found |= {key: (value, dotted(home, key)) for key, value in given.items()}
        return found

    def call(self, call: syntax.Call, address: str, is_value: bool = True) -> syntax.Value:
        """An operator as a value, its parameters decided and open defaults written out."""
        if call.called and call.name in FUNCTION_NAMES:
            return self._computed(call)
        opened = self.opened(call, address, is_value)
        if isinstance(opened.operator, syntax.Choice):
            return self.choice(opened.operator, opened.home)
        if opened.given is None:
            return call
        name = opened.operator.name
        block = self.block_name(name)
        properties: dict[str, syntax.Value] = {}
        for key, (value, place) in opened.given.items():
            self.property(block, key, value, place, properties)
        if name not in self.tied:
            name = block
            self.defaults(block, properties, opened.home, opened.given)
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

    def defaults(self, name: str, properties: dict[str, syntax.Value], address: str, given: Container[str]) -> None:
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

    def kept(self, choice: syntax.Choice, address: str) -> list[tuple[syntax.Candidate, str]] | None:
        """The candidates that a choice comes out as, each with the address of its decisions; None: it is not known."""
        alone = len(choice.candidates) == 1
        homes = [address if alone else dotted(address, str(i + 1)) for i in range(len(choice.candidates))]
        every = list(zip(choice.candidates, homes, strict=True))
        if choice.quantifier == "all" or (choice.quantifier == "one" and alone):
            return every
        if choice.quantifier == "any":
            places = [dotted(address, f"{i + 1}?") for i in range(len(every))]
            if self.found(dotted(address, "some")) == "some" and not any(map(self._reaches, places)):
                return None  # nothing is known but that it is there
            return [one for one, place in zip(every, places, strict=True) if self.found(place) == 1]
        text = self.found(address) or self.found(dotted(address, "of"))
        return [one for one in every if source_text(one[0]) == text][:1] or None

    def choice(self, choice: syntax.Choice, address: str) -> syntax.Value:
        """`one of` becomes its candidate, `any of` the `all of` of its survivors (or `nothing`)."""
        kept = self.kept(choice, address)
        if kept is None:
            return choice
        if not kept:
            return syntax.Reference(parts=("nothing",), span=choice.span)
        made = tuple(self._candidate(candidate, home) for candidate, home in kept)
        if choice.quantifier != "one":
            return replace(choice, quantifier="all", candidates=made)
        call = sole_call(made[0])
        if call is None:
            return replace(choice, candidates=made)
        return call if call.braced or call.arguments else syntax.Reference(parts=(call.name,), span=call.span)

    def _candidate(self, candidate: syntax.Candidate, home: str) -> syntax.Candidate:
        steps = candidate.steps
        single = len(steps) == 1
        made = tuple(self.step(s, home if single else dotted(home, str(i + 1))) for i, s in enumerate(steps))
        return replace(candidate, steps=made)

    def step(self, step: syntax.Step, home: str) -> syntax.Step:
        """One operator of a chain with its decisions made."""
        width = None if step.width is None else self.value(step.width, dotted(home, "width"))
        when = None if step.when is None else self._side(step.when)
        if when != step.when and isinstance(when, syntax.Reference) and when.parts == ("yes",):
            when = None
        return replace(step, operator=self._operator(step.operator, home), width=width, when=when)

    def _operator(
        self, operator: syntax.Call | syntax.Choice | syntax.Group, home: str
    ) -> syntax.Call | syntax.Choice | syntax.Group:
        if isinstance(operator, syntax.Group):
            return replace(operator, steps=tuple(self.step(inner, home) for inner in operator.steps))
        if not is_open(operator, self.blocks, self.lets):
            return operator
        if isinstance(operator, syntax.Choice):
            made = self.choice(operator, home)
        else:
            made = self.call(operator, home, is_value=False)
        if isinstance(made, syntax.Reference):
            return syntax.Call(name=made.parts[0], span=operator.span, name_span=operator.span)
        return made if isinstance(made, syntax.Choice | syntax.Call) else operator


def sole_call(candidate: syntax.Candidate) -> syntax.Call | None:
    """The operator of a candidate that is nothing but one operator."""
    step = candidate.steps[0]
    if len(candidate.steps) > 1 or step.width is not None or step.when is not None:
        return None
    return step.operator if isinstance(step.operator, syntax.Call) else None
