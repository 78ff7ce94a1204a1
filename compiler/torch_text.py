"""Python text laid out as a formatter leaves it: one line where it fits, else one argument a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nasc.compiler.primitives.forms import Call

WIDTH = 100
"""Lines are kept this short, so that a formatter set to any greater length leaves them alone."""


@dataclass(frozen=True)
class Construction:
    """A module's construction: `function(arguments…)`."""

    function: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.function}({', '.join(self.arguments)})"


def construct(call: Call) -> Construction:
    """A call with all its arguments written out, defaults left out."""
    return Construction(
        call.function, tuple(keyword(a.keyword, repr(a.value)) for a in call.arguments if a.value != a.default)
    )


def keyword(name: str, text: str) -> str:
    return f"{name}={text}" if name else text


def call_lines(indent: int, opening: str, arguments: Sequence[str], closing: str = "", comment: str = "") -> list[str]:
    """`opening(arguments)closing`, with a comment behind it."""
    space, behind = " " * indent, f"  # {comment}" if comment else ""
    line = f"{space}{opening}({', '.join(arguments)}){closing}"
    if len(line + behind) <= WIDTH or not arguments:
        return [line + behind]
    return [f"{space}{opening}(", *(f"{space}    {a}," for a in arguments), f"{space}){closing}{behind}"]


def sequential_lines(attribute: str, made: Sequence[tuple[Construction, str]]) -> list[str]:
    """`self.attribute = nn.Sequential(…)`, one module a line, each with its comment."""
    lines = [f"        self.{attribute} = nn.Sequential("]
    for construction, comment in made:
        lines += call_lines(12, construction.function, construction.arguments, ",", comment)
    return [*lines, "        )"]
