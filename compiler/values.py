"""What an expression of the language can stand for while a layer is elaborated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nasc.compiler.expr import Size
from nasc.compiler.ir import Tensor
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostic, Label, Span


class Mistake(Exception):
    """A user's mistake found while elaborating; the layer is given up and the diagnostic reported."""

    def __init__(
        self,
        code: str,
        message: str,
        span: Span | None,
        help: str | None = None,
        note: str = "",
        labels: tuple[Label, ...] = (),
    ) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(code, message, span, note, labels, help)


@dataclass(frozen=True)
class TensorRef:
    """A tensor by the name of what makes it. `name` is None for an absent tensor, whose sizes are still known.

    `uncertain` says that its channels may come out as 0 (a slice): nothing but a concat can use it undecided.
    """

    name: str | None
    shape: Tensor
    uncertain: bool = False

    @property
    def absent(self) -> bool:
        return self.name is None


@dataclass(frozen=True)
class Word:
    """A bare name that is not a parameter, a local value or a `let`: `relu`, `same`, `nothing`, `inf`."""

    name: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Bound:
    """A value written somewhere, with the scope it is read in and the address of the decisions in it."""

    value: syntax.Value
    scope: Scope
    address: str
    site: syntax.Property | None = None
    of_stage: bool = False
    """Given by a stage or a `default`: a `first` parameter takes it in the stage's first layer only."""


@dataclass(frozen=True, eq=False)
class Ready:
    """A value that is known already (an argument passed on)."""

    value: Value


Given = Mapping[str, Bound | Ready]


@dataclass(frozen=True, eq=False)
class Operator:
    """An operator as a value: a block or primitive, with parameters already given (`bn { eps 1e-3 }`)."""

    name: str
    given: Given
    address: str
    span: Span = field(repr=False)

    def same_as(self, other: Operator | Word) -> bool:
        return isinstance(other, Word) and self.name == other.name and not self.given


@dataclass(frozen=True, eq=False)
class ChoiceOperator:
    """`one of { … }`, `any of { … } by add` or `all of { … } by concat` as an operator."""

    choice: syntax.Choice
    scope: Scope
    address: str


@dataclass(eq=False)
class SpaceScope:
    """What the space level sees: its `let`s and the stages that came before."""

    lets: Mapping[str, syntax.Let]
    stages: Mapping[str, TensorRef]


@dataclass(eq=False)
class Instance:
    """One instance of a block: its parameters, its local values, its input."""

    block: syntax.Block
    given: Given
    address: str
    input: TensorRef
    locals: Mapping[str, syntax.Assignment]
    kinds: Mapping[str, syntax.Parameter]
    labels: Mapping[int, str]
    span: Span = field(repr=False)


Scope = SpaceScope | Instance
Value = Size | float | bool | Word | Operator | ChoiceOperator | TensorRef | tuple[Size, ...]
