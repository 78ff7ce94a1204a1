"""Python text laid out as a formatter leaves it: one line where it fits, else one argument a line."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 88
"""Lines are kept this short, so that a formatter set to any greater length leaves them alone."""


def call_lines(indent: int, opening: str, arguments: Sequence[str], closing: str, comment: str = "") -> list[str]:
    """`opening(arguments)closing`, with a comment behind it."""
    space, behind = " " * indent, f"  # {comment}" if comment else ""
    line = f"{space}{opening}({', '.join(arguments)}){closing}"
    if len(line + behind) <= WIDTH or not arguments:
        return [line + behind]
    return [f"{space}{opening}(", *(f"{space}    {a}," for a in arguments), f"{space}){closing}{behind}"]


def literal(value: object) -> str:
    """A number, a truth value or a pair of them."""
    return repr(value)


def split_call(text: str) -> tuple[str, list[str]]:
    """`f(a, (1, 2))` as `f` and its arguments."""
    opening, _, rest = text.partition("(")
    arguments, depth, current = [], 0, ""
    for character in rest[:-1]:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            arguments.append(current.strip())
            current = ""
        else:
            current += character
    return opening, [*arguments, current.strip()] if current.strip() else arguments
