"""What is checked on a text's tokens, before the parser sees them: brackets, sizes of numbers; and its comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from nasc.dsl.diagnostics import Diagnostics, Source, Span
from nasc.dsl.syntax import Comment

if TYPE_CHECKING:
    from lark import Token

MAXIMUM_BRACKETS = 64
MAXIMUM_DIGITS = 100
MAXIMUM_TOKENS = 15_000
MAXIMUM_LONG_NUMBERS = 5  # that are worth an error each

NUMBERS = frozenset({"INT", "DECIMAL"})
OPENING = frozenset("{([")
CLOSING = frozenset("})]")

_COMMENT = re.compile(r"//[^\n]*")


def is_sound(tokens: Sequence[Token], source: Source, diagnostics: Diagnostics) -> bool:
    """Record brackets too deep, numbers too long and too many tokens; say whether the parser may go on."""
    if not (_check_depth(tokens, source, diagnostics) and _check_numbers(tokens, source, diagnostics)):
        return False
    if len(tokens) > MAXIMUM_TOKENS:
        diagnostics.add(
            "E0204", f"the text has more than {MAXIMUM_TOKENS} words and signs", span_of(tokens[-1], source)
        )
        return False
    return True


def _check_depth(tokens: Sequence[Token], source: Source, diagnostics: Diagnostics) -> bool:
    depth = 0
    for token in tokens:
        if token in OPENING:
            depth += 1
        elif token in CLOSING:
            depth = max(0, depth - 1)
        if depth > MAXIMUM_BRACKETS:
            message = f"brackets are nested more than {MAXIMUM_BRACKETS} deep"
            diagnostics.add("E0105", message, span_of(token, source))
            return False
    return True


def _check_numbers(tokens: Sequence[Token], source: Source, diagnostics: Diagnostics) -> bool:
    long = [token for token in tokens if token.type in NUMBERS and not _is_small(token)]
    for token in long[:MAXIMUM_LONG_NUMBERS]:
        diagnostics.add("E0106", f"this number has more than {MAXIMUM_DIGITS} digits", span_of(token, source))
    return not long


def _is_small(number: str) -> bool:
    mantissa, _, exponent = number.lower().partition("e")
    return len(mantissa) <= MAXIMUM_DIGITS and len(exponent) < 6 and abs(int(exponent or 0)) <= MAXIMUM_DIGITS


def clip(text: str, length: int = 40) -> str:
    """Shorten a text that is too long for a message."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def span_of(token: Token, source: Source) -> Span:
    return Span(source, cast(int, token.start_pos), cast(int, token.end_pos))


def comments(tokens: Sequence[Token], source: Source) -> tuple[Comment, ...]:
    """The comments: they stand between the tokens, so that `//` within a text in quotes is none."""
    ends = [0, *(cast(int, token.end_pos) for token in tokens)]
    starts = [*(cast(int, token.start_pos) for token in tokens), len(source.text)]
    return tuple(
        Comment(span=Span(source, *match.span()), text=match.group()[2:].removeprefix(" ").rstrip())
        for end, start in zip(ends, starts, strict=True)
        for match in _COMMENT.finditer(source.text, end, start)
    )
