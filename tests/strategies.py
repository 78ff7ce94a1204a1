"""Hypothesis strategies for syntax trees: whatever the grammar can say, whether or not it means anything."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from nasc.dsl import syntax
from nasc.dsl.diagnostics import Source, Span

BUILT = Source("<built>", "")
NOWHERE = Span(BUILT, 0, 0)

Draw = Callable[[st.SearchStrategy[Any]], Any]

# Among them names that begin like reserved words, or are all of a number's exponent.
# fmt: off
NAMES = st.sampled_from(
    [
        "a", "kernel", "stride", "act", "swish", "expand", "se", "hidden", "conv", "irb", "fused_irb",
        "take", "w1", "same_shape", "identity", "inf", "a_rather_long_name_of_it", "xx", "x2", "X", "_",
        "e3", "inn", "nas_", "layers", "ofx",
    ]
)
# fmt: on
NUMBERS = st.sampled_from(["0", "1", "3", "24", "007", "1280", "0.5", "0.50", "1e-3", "5E+2", "1.25e-6", "400e6"])
STRINGS = st.text(st.characters(codec="utf-8", exclude_characters='"\\\n\r'), max_size=8)


def _node(kind: type[Any], /, **fields: Any) -> st.SearchStrategy[Any]:
    fixed = {key: value if isinstance(value, st.SearchStrategy) else st.just(value) for key, value in fields.items()}
    return st.builds(kind, span=st.just(NOWHERE), **fixed)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _tuples(strategy: st.SearchStrategy[Any], least: int = 0, most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


def _number(text: str) -> syntax.Number:
    return syntax.Number(span=NOWHERE, value=Fraction(text), text=text)


# ------------------------------------------------------------------------------------------------- expressions

numbers = NUMBERS.map(_number)
negatives = NUMBERS.map(lambda text: _number(f"-{text}"))
references = st.builds(
    lambda first, rest: syntax.Reference(span=NOWHERE, parts=(first, *rest)),
    NAMES | st.just("in"),
    _tuples(NAMES, 0, 2),
)
atoms = numbers | references | _node(syntax.String, value=STRINGS)


@st.composite
def calls(draw: Draw, called: bool | None = None, braced: bool | None = None) -> syntax.Call:
    is_called = draw(st.booleans()) if called is None else called
    is_braced = draw(st.booleans()) if braced is None else braced
    return syntax.Call(
        span=NOWHERE,
        name=draw(NAMES),
        arguments=draw(_tuples(_node(syntax.Argument, name=_maybe(NAMES), value=arguments))) if is_called else (),
        properties=draw(_tuples(properties)) if is_braced else (),
        called=is_called,
        braced=is_braced,
        name_span=NOWHERE,
    )


bare_names = calls(called=False, braced=False)
applied = st.deferred(lambda: calls(called=True, braced=False))
expressions = st.deferred(
    lambda: st.one_of(
        atoms,
        atoms,
        _node(syntax.Operation, operator=_operators, left=expressions, right=expressions),
        _node(syntax.Operation, operator="not", left=None, right=expressions),
        applied,
        pipelines,
    )
)
_operators = st.sampled_from(["+", "-", "*", "/", "==", "!=", "<", "<=", ">", ">=", "and", "or"])

# ------------------------------------------------------------------------------------------------- operators

steps = st.deferred(lambda: _steps(calls() | choices | groups))
openings = st.deferred(lambda: _steps(calls() | choices))
groups = st.deferred(lambda: _node(syntax.Group, steps=_tuples(steps, 2)))
pipelines = st.deferred(lambda: _node(syntax.Pipeline, source=expressions, steps=_tuples(steps, 1)))


def _steps(operators: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _node(syntax.Step, operator=operators, width=_maybe(widths), when=_maybe(expressions))


candidates = st.builds(
    lambda first, rest: syntax.Candidate(span=NOWHERE, steps=(first, *rest)), openings, _tuples(steps, 0, 2)
)
choices = st.deferred(
    lambda: _node(
        syntax.Choice,
        quantifier=st.sampled_from(["one", "any", "all"]),
        candidates=_tuples(candidates, 1),
        join=_maybe(NAMES),
    )
)

# ------------------------------------------------------------------------------------------------- values

_sets = st.deferred(lambda: _node(syntax.ValueSet, members=_tuples(values, 1, 5)))
_ranges = _node(syntax.Range, first=expressions, last=expressions, step=_maybe(expressions))
_intervals = _node(syntax.Interval, low=expressions, high=expressions, open_low=st.booleans(), open_high=st.booleans())
widths = st.one_of(atoms, expressions, _ranges, _sets, _intervals)
values = widths | _node(syntax.Shape, sizes=_tuples(expressions, 2))
arguments = st.one_of(values, pipelines, choices)
settings = st.one_of(values, negatives, choices, st.deferred(lambda: calls(called=False, braced=True)))
_plain = atoms | _node(syntax.Range, first=numbers, last=numbers, step=_maybe(numbers))
_plain_properties = _node(syntax.Property, name=NAMES, value=_plain, name_span=NOWHERE)
_any_properties = _node(syntax.Property, name=NAMES, value=settings, name_span=NOWHERE)
properties = st.one_of(_plain_properties, _plain_properties, _any_properties)

# ------------------------------------------------------------------------------------------------- items

_rows = st.builds(
    lambda first, more, **fields: syntax.Row(span=NOWHERE, first=first, last=first + more, **fields),
    st.integers(0, 12),
    st.integers(0, 2),
    callee=_maybe(bare_names | choices),
    properties=_tuples(properties, 0, 6),
    width=_maybe(widths),
)
stages = _node(
    syntax.Stage,
    name=NAMES,
    callee=st.one_of(bare_names, bare_names, choices),
    count=_maybe(widths),
    source=_maybe(NAMES),
    properties=_tuples(properties, 0, 6),
    width=_maybe(widths),
    rows=_tuples(_rows),
    name_span=NOWHERE,
)
space_items = st.one_of(
    _node(syntax.Input, kind=NAMES, value=values),
    _node(syntax.Output, kind=NAMES, values=_tuples(values, 1)),
    _node(syntax.Let, name=NAMES, value=settings),
    _node(syntax.Default, block=_maybe(NAMES), properties=_tuples(properties)),
    _node(syntax.Attribute, name=NAMES, value=values),
    stages,
    stages,
    _node(syntax.Head, steps=_tuples(steps, 1)),
)
spaces = _node(
    syntax.Space,
    name=NAMES,
    network=st.booleans(),
    items=_tuples(space_items, 0, 2) | _tuples(space_items, 2, 8),
    name_span=NOWHERE,
)
_flows = st.one_of(references, applied, _node(syntax.Pipeline, source=references | applied, steps=_tuples(steps, 1)))
_kinds = st.sampled_from(["first", "ratio", "tensor"])
blocks = _node(
    syntax.Block,
    name=NAMES,
    parameters=_tuples(_node(syntax.Parameter, name=NAMES, kind=_maybe(_kinds), default=_maybe(settings)), 0, 6),
    width=_maybe(NAMES),
    statements=_tuples(_node(syntax.Assignment, name=NAMES, value=expressions | pipelines) | _flows, 0, 5),
    name_span=NOWHERE,
)
sections = _node(
    syntax.Section,
    kind=st.sampled_from(["search", "target"]),
    name=NAMES,
    properties=_tuples(properties, 0, 12),
    name_span=NOWHERE,
)
imports = _node(syntax.Import, path=STRINGS)
_items = st.one_of(imports, blocks, blocks, spaces, spaces, sections)
files = _node(syntax.File, source=BUILT, version=1, items=_tuples(_items, 1, 4), comments=())
"""Any file, as nasc would build it: version 1, no comments, spans that point nowhere."""
