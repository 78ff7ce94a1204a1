"""A choice that a search method cannot relax, as an error at its place in the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nasc.compiler.elaborate import Space
from nasc.compiler.values import Mistake
from nasc.dsl import syntax
from nasc.dsl.diagnostics import DiagnosticError, NascError, Span

CODE = "E0380"

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class Refused(NascError):
    """A method has no relaxation for what is at `place`: a layer's address (`irb2.4`), a stage or a `let`."""

    def __init__(self, place: str, why: str, help: str) -> None:
        super().__init__(f"`{place}` cannot be made a part of a SuperNet: {why}", help=help)
        self.place = place


def relaxed(relax: Callable[[_Given], _Made], given: _Given, space: Space) -> _Made:
    """What `relax` makes of a space, or of its network. Raises `DiagnosticError` (E0380) for what it refuses."""
    try:
        return relax(given)
    except Refused as refused:
        mistake = Mistake(CODE, refused.message, place_of(refused.place, space), refused.help)
        raise DiagnosticError([mistake.diagnostic]) from None


def place_of(address: str, space: Space) -> Span:
    """Where the text says what is at an address: a layer's row or its stage, a `let`, the head, the output."""
    name, _, rest = address.partition(".")
    for item in space.syntax.items:
        match item:
            case syntax.Stage() if item.name == name:
                number = rest.partition("/")[0]
                rows = (row for row in item.rows if number.isdecimal() and row.first <= int(number) <= row.last)
                return next((row.span for row in rows), item.name_span)
            case syntax.Let() if item.name == name:
                return item.span
            case syntax.Output() if name == "output":
                return item.span
            case syntax.Head() if name == "head":
                return item.span
    return space.syntax.name_span
