"""The syntax tree of a `.nas` file: frozen nodes, one class per kind of phrase, each with its span.

Nothing is resolved here: a name is a name. `nasc.dsl.parser` builds the tree, `nasc.dsl.format` lays it out, and
`nasc.compiler.elaborate` gives it meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from nasc.dsl.diagnostics import Source, Span


@dataclass(frozen=True, kw_only=True)
class Node:
    """Anything with a place in a text. Equality ignores the place."""

    span: Span = field(compare=False, repr=False)


# ------------------------------------------------------------------------------------------------- expressions


@dataclass(frozen=True, kw_only=True)
class Number(Node):
    """An exact rational, with the spelling it was written in (`1e-3`)."""

    value: Fraction
    text: str = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class String(Node):
    value: str


@dataclass(frozen=True, kw_only=True)
class Reference(Node):
    """`in`, `kernel`, `in.channels`."""

    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Operation(Node):
    """`left OP right` with OP one of + - * / == != < <= > >= and or; `not` has only a right side."""

    operator: str
    left: Expression | None
    right: Expression


@dataclass(frozen=True, kw_only=True)
class Pipeline(Node):
    """`source | step | step`. The source is an expression, or a `Call` in a candidate and at a head."""

    source: Expression | Step
    steps: tuple[Step, ...]


# ------------------------------------------------------------------------------------------------- values


@dataclass(frozen=True, kw_only=True)
class Range(Node):
    """`first .. last [step s]`, both ends included."""

    first: Expression
    last: Expression
    step: Expression | None


@dataclass(frozen=True, kw_only=True)
class ValueSet(Node):
    """`{a, b}`: unordered alternatives."""

    members: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Interval(Node):
    """`(low, high]`, `[low, high]`, `(low, high)` or `[low, high)`: all multiples of the granularity inside."""

    low: Expression
    high: Expression
    open_low: bool
    open_high: bool


@dataclass(frozen=True, kw_only=True)
class Shape(Node):
    """`3 x 224 x 224`."""

    sizes: tuple[Expression, ...]


@dataclass(frozen=True, kw_only=True)
class Argument(Node):
    """`stride = 2` or `2` in a call."""

    name: str | None
    value: Value


@dataclass(frozen=True, kw_only=True)
class Property(Node):
    """`stride 2` inside braces."""

    name: str
    value: Value
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Call(Node):
    """`conv2d(1, bias = yes)`, `fused_irb { kernel 3 }`, or a bare name as an operator.

    `called` tells `f()` from `f`; as a value (`norm bn { eps 1e-3 }`) only `properties` are there.
    """

    name: str
    arguments: tuple[Argument, ...] = ()
    properties: tuple[Property, ...] = ()
    called: bool = False
    braced: bool = False
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Group(Node):
    """`( a | b )` as one step."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Choice(Node):
    """`one of { … }`, `any of { … } by concat`, `all of { … } by add`; each candidate is a chain of steps."""

    quantifier: str
    candidates: tuple[Candidate, ...]
    join: str | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate(Node):
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Step(Node):
    """`operator [-> width] [when condition]`."""

    operator: Call | Choice | Group
    width: Value | None = None
    when: Expression | None = None


Expression = Number | String | Reference | Operation | Call | Pipeline
Value = Number | String | Reference | Operation | Call | Pipeline | Range | ValueSet | Interval | Shape | Choice

# ------------------------------------------------------------------------------------------------- items


@dataclass(frozen=True, kw_only=True)
class Import(Node):
    path: str


@dataclass(frozen=True, kw_only=True)
class Parameter(Node):
    """A block's parameter; `kind` is `first`, `ratio`, `tensor` or None."""

    name: str
    kind: str | None
    default: Value | None


@dataclass(frozen=True, kw_only=True)
class Assignment(Node):
    """`name = pipeline` inside a block."""

    name: str
    value: Expression


@dataclass(frozen=True, kw_only=True)
class Block(Node):
    """`block NAME(params) [-> width] { assignments  result }`; `doc` is the comment directly above it."""

    name: str
    parameters: tuple[Parameter, ...]
    width: str | None
    statements: tuple[Assignment | Expression, ...]
    name_span: Span = field(compare=False, repr=False)
    doc: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Input(Node):
    """`input image 3 x 224 x 224` or `input tokens 256`."""

    kind: str
    value: Value


@dataclass(frozen=True, kw_only=True)
class Output(Node):
    """`output classes 1000`, `output tokens 50257`, `output depth 1 x H x W`, `output features s1, s2`."""

    kind: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Let(Node):
    name: str
    value: Value


@dataclass(frozen=True, kw_only=True)
class Default(Node):
    """`default [BLOCK] { params }`."""

    block: str | None
    properties: tuple[Property, ...]


@dataclass(frozen=True, kw_only=True)
class Attribute(Node):
    """`granularity 32`, `skip same_shape`."""

    name: str
    value: Value


@dataclass(frozen=True, kw_only=True)
class Row(Node):
    """`layer 2 .. 4 [BLOCK] [{ params }] [-> WIDTH]`."""

    first: int
    last: int
    callee: Call | Choice | None
    properties: tuple[Property, ...]
    width: Value | None


@dataclass(frozen=True, kw_only=True)
class Stage(Node):
    """`stage NAME BLOCK [x COUNT] [from STAGE] [{ params }] [-> WIDTH] [{ rows }]`; BLOCK is a name or a choice."""

    name: str
    callee: Call | Choice
    count: Value | None
    source: str | None
    properties: tuple[Property, ...]
    width: Value | None
    rows: tuple[Row, ...]
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Head(Node):
    steps: tuple[Step, ...]


SpaceItem = Input | Output | Let | Default | Attribute | Stage | Head


@dataclass(frozen=True, kw_only=True)
class Space(Node):
    """`space NAME { … }`, or `network NAME { … }`, which says that there is exactly one member."""

    name: str
    network: bool
    items: tuple[SpaceItem, ...]
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Section(Node):
    """`search METHOD { … }` (kind "search") or `target NAME { … }` (kind "target")."""

    kind: str
    name: str
    properties: tuple[Property, ...]
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A `//` comment, text without the slashes' leading blank trimmed away; kept beside the tree for the formatter."""

    span: Span = field(compare=False, repr=False)
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class File(Node):
    """A parsed text."""

    source: Source = field(compare=False, repr=False)
    version: int | None
    items: tuple[Import | Block | Space | Section, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False, repr=False)
