"""The layers of a stage as they are printed: what each is given, what they share, and which rows are left.

A parameter with one value in all layers goes to the stage, any other into every row that has it; equal neighbouring
rows merge (language.md, Printing).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.substitution import Blocks
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span
from nasc.dsl.walk import mentions

Callee = syntax.Call | syntax.Choice


@dataclass(frozen=True)
class Alternative:
    """One way to build a layer: its block, and what that is given.

    `takes` are the parameters that the block has. It is None for a choice that is printed as it stands: what is given
    stands beside it, and anything may be taken inside.
    """

    callee: Callee
    properties: Mapping[str, syntax.Value]
    takes: frozenset[str] | None


@dataclass(frozen=True)
class Line:
    """One layer: its alternatives (none: the layer is dropped), its own arrow, and its own `skip`."""

    alternatives: tuple[Alternative, ...]
    width: syntax.Value | None = None
    skip: str = ""


def gathered(
    stage: syntax.Stage, lines: Sequence[Line], constant: Mapping[str, syntax.Value], blocks: Blocks
) -> syntax.Stage:
    """The stage with these layers. `constant` are the values that it has for all of them whatever is decided."""
    if not any(line.alternatives for line in lines):
        return replace(stage, callee=identity(stage.span), properties=(), width=None, rows=())
    callees = [stage.callee, *(row.callee for row in stage.rows)]
    callees += [a.callee for line in lines for a in line.alternatives]  # a `let` may have stood for them
    return _Gathering(stage, lines, constant, first_only(callees, blocks)).stage()


def identity(span: Span) -> syntax.Call:
    """What stands for a dropped layer."""
    return syntax.Call(name="identity", span=span, name_span=span)


def property_of(name: str, value: syntax.Value, span: Span) -> syntax.Property:
    return syntax.Property(span=span, name=name, value=value, name_span=span)


def word(text: str, span: Span) -> syntax.Reference:
    return syntax.Reference(parts=(text,), span=span)


def first_only(callees: object, blocks: Blocks) -> frozenset[str]:
    """The parameters of these operators that take a stage's value in its first layer only."""
    names = mentions(callees)
    parameters = [p for name, block in blocks.items() if name in names for p in block.parameters]
    return frozenset(p.name for p in parameters if p.kind == "first") | {"stride"}


def refuses_width(callee: Callee, blocks: Blocks) -> bool:
    """Is an arrow after this operator an error? (In a choice the operators that take none leave it to the others.)"""
    if isinstance(callee, syntax.Choice):
        return False
    block, primitive = blocks.get(callee.name), PRIMITIVES.get(callee.name)
    if primitive is not None:
        return not primitive.arrow and not primitive.variadic
    return block is not None and block.width is None


@dataclass(frozen=True)
class _Gathering:
    """Sorts what the lines of a stage are given into what is common and what is not."""

    original: syntax.Stage
    lines: Sequence[Line]
    constant: Mapping[str, syntax.Value]
    first_only: frozenset[str]

    def stage(self) -> syntax.Stage:
        common = self._common()
        rows = [self._row(i, line, common) for i, line in enumerate(self.lines, start=1)]
        callees = [row.callee for row, line in zip(rows, self.lines, strict=True) if line.alternatives]
        callee = self.original.callee if self.original.callee in callees else callees[0]
        assert callee is not None
        together = {**self.constant, **common}
        order = [p.name for p in self.original.properties]
        names = sorted(together, key=lambda n: order.index(n) if n in order else len(order))
        return replace(
            self.original,
            callee=callee,
            properties=tuple(property_of(n, together[n], self.original.span) for n in names),
            rows=_merged_rows(replace(row, callee=None) if row.callee == callee else row for row in rows),
        )

    def _common(self) -> dict[str, syntax.Value]:
        """What every layer that takes a parameter is given alike."""
        every = [(i, a) for i, line in enumerate(self.lines, start=1) for a in line.alternatives]
        found: dict[str, syntax.Value] = {}
        for key in dict.fromkeys(key for _, a in every for key in a.properties):
            takers = [a for i, a in every if self._inherits(i, key) and (a.takes is None or key in a.takes)]
            values = [a.properties.get(key) for a in takers]
            if values and values[0] is not None and all(v == values[0] for v in values):
                found[key] = values[0]
        return found

    def _inherits(self, index: int, key: str) -> bool:
        return index == 1 or key not in self.first_only

    def _row(self, index: int, line: Line, common: Mapping[str, syntax.Value]) -> syntax.Row:
        span = self.original.span

        def own(alternative: Alternative) -> tuple[syntax.Property, ...]:
            kept = (k for k in alternative.properties if k not in common or not self._inherits(index, k))
            return tuple(property_of(k, alternative.properties[k], span) for k in kept)

        callee: Callee = identity(span)
        properties: tuple[syntax.Property, ...] = ()
        if len(line.alternatives) == 1:
            callee, properties = line.alternatives[0].callee, own(line.alternatives[0])
        elif line.alternatives:
            callee = _one_of([(a.callee, own(a)) for a in line.alternatives], span)
        if line.skip:
            properties = (*properties, property_of("skip", word(line.skip, span), span))
        return syntax.Row(span=span, first=index, last=index, callee=callee, properties=properties, width=line.width)


def _one_of(alternatives: Iterable[tuple[Callee, tuple[syntax.Property, ...]]], span: Span) -> syntax.Choice:
    candidates = tuple(c for callee, properties in alternatives for c in _as_candidates(callee, properties, span))
    return syntax.Choice(span=span, quantifier="one", candidates=candidates)


def side_by_side(alternatives: Sequence[Alternative], residual: bool, blocks: Blocks, span: Span) -> Alternative:
    """Alternatives of a layer at once, added. With `residual`, those behind the first do not add the layer's input."""
    candidates: list[syntax.Candidate] = []
    for number, each in enumerate(alternatives):
        own = _without_shortcut(each, blocks, span) if residual and number else each.properties
        properties = tuple(property_of(name, value, span) for name, value in own.items())
        candidates += _as_candidates(each.callee, properties, span)
    return Alternative(syntax.Choice(span=span, quantifier="all", candidates=tuple(candidates), join="add"), {}, None)


def _without_shortcut(alternative: Alternative, blocks: Blocks, span: Span) -> Mapping[str, syntax.Value]:
    """What a block is given so that it adds no input. Where it has no `shortcut`, an operator that it is given has."""
    own = alternative.properties
    if alternative.takes is not None and "shortcut" in alternative.takes:
        return {**own, "shortcut": word("identity", span)}
    return {name: _operator_without_shortcut(value, blocks, span) for name, value in own.items()}


def _operator_without_shortcut(value: syntax.Value, blocks: Blocks, span: Span) -> syntax.Value:
    match value:
        case syntax.Reference(parts=(name,)):
            call = syntax.Call(name=name, span=value.span, name_span=value.span)
        case syntax.Call():
            call = value
        case _:
            return value
    block = blocks.get(call.name)
    if block is None or all(p.name != "shortcut" for p in block.parameters):
        return value
    kept = tuple(p for p in call.properties if p.name != "shortcut")
    properties = (*kept, property_of("shortcut", word("identity", span), span))
    return replace(call, properties=properties, braced=True)


def _as_candidates(callee: Callee, properties: tuple[syntax.Property, ...], span: Span) -> tuple[syntax.Candidate, ...]:
    """A layer's operator among others: the candidates of a `one of`, and any other as a candidate."""
    if isinstance(callee, syntax.Choice) and callee.quantifier == "one":
        return callee.candidates
    if isinstance(callee, syntax.Call) and properties:
        callee = replace(callee, properties=properties, braced=True)
    return (syntax.Candidate(span=span, steps=(syntax.Step(span=span, operator=callee),)),)


def _merged_rows(rows: Iterable[syntax.Row]) -> tuple[syntax.Row, ...]:
    """Equal neighbours as one row, without the rows that say nothing."""
    merged: list[syntax.Row] = []
    for row in rows:
        if merged and replace(row, first=merged[-1].first, last=merged[-1].last) == merged[-1]:
            merged[-1] = replace(merged[-1], last=row.last)
        else:
            merged.append(row)
    return tuple(row for row in merged if row.callee is not None or row.properties or row.width is not None)


# ------------------------------------------------------------------------------------------------- merging


def merged_alternatives(alternatives: Iterable[Alternative]) -> tuple[Alternative, ...]:
    """Alternatives that differ in one value only as one alternative with a set of values, as long as there are any."""
    left = list(alternatives)
    while (found := _mergeable(left, False) or _mergeable(left, True)) is not None:
        first, second, together = found
        left[first] = together
        del left[second]
    return tuple(left)


def _mergeable(alternatives: Sequence[Alternative], choose: bool) -> tuple[int, int, Alternative] | None:
    for (i, a), (j, b) in combinations(enumerate(alternatives), 2):
        if a.callee == b.callee and a.takes is not None:
            properties = _merged_values(a.properties, b.properties, choose)
            if properties is not None:
                return i, j, replace(a, properties=properties)
    return None


def _merged_values(
    a: Mapping[str, syntax.Value], b: Mapping[str, syntax.Value], choose: bool
) -> dict[str, syntax.Value] | None:
    """Values that differ under one name, with both there; None where they differ in more, or cannot be together."""
    different = [key for key in a if key not in b or a[key] != b[key]]
    if set(a) != set(b) or len(different) != 1:
        return None
    value = _merged_value(a[different[0]], b[different[0]], choose)
    return None if value is None else {**a, different[0]: value}


def _merged_value(a: syntax.Value, b: syntax.Value, choose: bool) -> syntax.Value | None:
    """One value for either of two: inside calls of one operator, as a set, or if we may `choose`, as a `one of`."""
    if isinstance(a, syntax.Call) and isinstance(b, syntax.Call) and (a.name, a.arguments) == (b.name, b.arguments):
        one, two = ({p.name: p.value for p in call.properties} for call in (a, b))
        values = _merged_values(one, two, choose)
        if values is not None:
            return replace(a, properties=tuple(property_of(k, v, a.span) for k, v in values.items()))
    members = (*_members(a), *_members(b))
    if all(isinstance(m, syntax.Number | syntax.Reference) for m in members):
        return syntax.ValueSet(span=a.span, members=members)
    some, others = _candidates(a), _candidates(b)
    if not choose or some is None or others is None:
        return None
    return syntax.Choice(span=a.span, quantifier="one", candidates=(*some, *others))


def _members(value: syntax.Value) -> tuple[syntax.Value, ...]:
    return value.members if isinstance(value, syntax.ValueSet) else (value,)


def _candidates(value: syntax.Value) -> tuple[syntax.Candidate, ...] | None:
    """A value as candidates of a `one of`; None where it is not made of operators."""
    if isinstance(value, syntax.Choice):
        return value.candidates if value.quantifier == "one" else None
    calls = [
        syntax.Call(name=m.parts[0], span=m.span, name_span=m.span) if isinstance(m, syntax.Reference) else m
        for m in _members(value)
    ]
    steps = tuple(syntax.Step(span=c.span, operator=c) for c in calls if isinstance(c, syntax.Call))
    return tuple(syntax.Candidate(span=s.span, steps=(s,)) for s in steps) if len(steps) == len(calls) else None


def merged_steps(chains: Sequence[tuple[syntax.Step, ...]], span: Span) -> tuple[syntax.Step, ...]:
    """Chains of the same operators as one chain; as a `one of` where they differ in more than one value."""
    left = list(chains)
    while (found := _mergeable_chains(left)) is not None:
        first, second, together = found
        left[first] = together
        del left[second]
    if len(left) == 1:
        return left[0]
    candidates = tuple(syntax.Candidate(span=span, steps=steps) for steps in left)
    return (syntax.Step(span=span, operator=syntax.Choice(span=span, quantifier="one", candidates=candidates)),)


def _mergeable_chains(
    chains: Sequence[tuple[syntax.Step, ...]],
) -> tuple[int, int, tuple[syntax.Step, ...]] | None:
    for (i, a), (j, b) in combinations(enumerate(chains), 2):
        places = [k for k, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        if len(places) != 1:
            continue
        step, other = a[places[0]], b[places[0]]
        if isinstance(step.operator, syntax.Call) and isinstance(other.operator, syntax.Call):
            value = _merged_value(step.operator, other.operator, False)
            if isinstance(value, syntax.Call) and replace(step, operator=value) == replace(other, operator=value):
                return i, j, (*a[: places[0]], replace(step, operator=value), *a[places[0] + 1 :])
    return None
