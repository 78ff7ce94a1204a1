"""Diagnostics: where something in a `.nas` file is wrong, what is wrong, and the mend.

A user's mistake is a value (`Diagnostic`), collected in a `Diagnostics` list; an exception that is not a `NascError`
is a bug of nasc. Rendering to text and to JSON lives in `nasc.dsl.render`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

LONGEST_MESSAGE = 400
LONGEST_MEANT = 60  # characters of a name that is compared with others, which takes their number squared


class NascError(Exception):
    """A mistake a person can mend; the command line prints it without a traceback."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


@dataclass(frozen=True, eq=False)
class Source:
    """A text and the name it is shown under."""

    name: str
    text: str = field(repr=False)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of a character offset."""
        offset = min(offset, len(self.text))
        line = self.text.count("\n", 0, offset)
        return line + 1, offset - (self.text.rfind("\n", 0, offset) + 1) + 1

    def line(self, number: int) -> str:
        """The text of a line (from 1), without its newline."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if number <= len(lines) else ""


@dataclass(frozen=True)
class Span:
    """Characters `start` up to, not including, `end` of a source."""

    source: Source
    start: int
    end: int

    def to(self, other: Span) -> Span:
        return Span(self.source, self.start, other.end)


@dataclass(frozen=True)
class Label:
    """A further place that a diagnostic points at, with a few words."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning: a stable code, a place, what is wrong, and where one is likely, the mend."""

    code: str
    message: str
    span: Span | None
    note: str = ""
    labels: tuple[Label, ...] = ()
    help: str | None = None

    def __post_init__(self) -> None:
        """A message that repeats an endless name is cut, to stay readable."""
        if len(self.message) > LONGEST_MESSAGE:
            object.__setattr__(self, "message", f"{self.message[: LONGEST_MESSAGE - 3]}...")

    @property
    def severity(self) -> str:
        return "warning" if self.code.startswith("W") else "error"


class DiagnosticError(NascError):
    """Diagnostics raised to the caller: nothing usable came out."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in self.diagnostics))


@dataclass
class Diagnostics:
    """The diagnostics of one run, each once."""

    found: list[Diagnostic] = field(default_factory=list)
    _places: set[tuple[str, Span | None]] = field(default_factory=set, init=False, repr=False, compare=False)
    _counted: int = field(default=0, init=False, repr=False, compare=False)  # of `found`, in `_places`

    def add(
        self,
        code: str,
        message: str,
        span: Span | None,
        note: str = "",
        labels: Iterable[Label] = (),
        help: str | None = None,
    ) -> None:
        """Record a diagnostic unless the same code already stands at the same place."""
        if self._counted != len(self.found):
            self._places = {(d.code, d.span) for d in self.found}
        if (code, span) not in self._places:
            self.found.append(Diagnostic(code, message, span, note, tuple(labels), help))
            self._places.add((code, span))
        self._counted = len(self.found)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.found if d.severity == "error")

    def raise_errors(self) -> None:
        """Raise `DiagnosticError` where there is any error."""
        if self.errors:
            raise DiagnosticError(self.found)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return "did you mean `x`?" for the nearest known name, or None where none is near, or the name is a long one."""
    if len(name) > LONGEST_MEANT:
        return None
    near = difflib.get_close_matches(name, [k for k in known if len(k) <= LONGEST_MEANT], n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else None
