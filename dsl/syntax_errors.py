"""Syntax errors in the user's words."""

from __future__ import annotations

import unicodedata

from lark import Token

from nasc.dsl.check_tokens import clip, span_of
from nasc.dsl.diagnostics import Diagnostics, Label, Source, Span, did_you_mean

MAXIMUM_ERRORS = 50
MAXIMUM_EXPECTED = 6

VALUE = frozenset({"INT", "DECIMAL", "NAME", "LPAR"})
QUANTIFIERS = frozenset({"ONE", "ANY", "ALL"})
OPERATORS = frozenset({"PLUS", "MINUS", "STAR", "SLASH", "COMPARE", "AND", "OR"})
# In the order in which they are worth telling: terminals that come together, what goes without saying beside them, and
# the words for them all.
GROUPS: tuple[tuple[frozenset[str], frozenset[str], tuple[str, ...]], ...] = (
    (
        frozenset({"BLOCK", "SPACE", "NETWORK", "SEARCH", "TARGET", "IMPORT"}),
        frozenset({"NAS"}),
        ("`import`", "`block`", "`space`", "`network`", "`search`", "`target`"),
    ),
    (
        frozenset({"INPUT", "OUTPUT", "LET", "DEFAULT", "STAGE", "HEAD"}),
        frozenset({"NAME"}),
        ("a line such as `stage`",),
    ),
    (VALUE, QUANTIFIERS | {"IN", "STRING", "LSQB", "LBRACE", "NOT", "MINUS"}, ("a value",)),
    (QUANTIFIERS | {"NAME"}, frozenset(), ("a block's name", "`one of {`")),
    (frozenset({"PLUS", "STAR"}), OPERATORS, ("an operator",)),
)
SIGNS = {
    "NAME": "a name", "INT": "a whole number", "DECIMAL": "a number", "STRING": "a text in quotes",
    "RBRACE": "`}`", "LBRACE": "`{`", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "CLOSE": "`]`",
    "ARROW": "`->`", "DOTS": "`..`", "VBAR": "`|`", "EQUAL": "`=`", "DOT": "`.`", "COMMA": "`,`",
}  # fmt: skip
UNSAID = frozenset({"SEMICOLON", "$END"})

MENDS = {
    "→": "an arrow is written `->`", "×": "sizes are written `3 x 224 x 224`", "−": "a minus is written `-`",
    "–": "a minus is written `-`", "…": "a range is written `1 .. 8`", "#": "a comment begins with `//`",
    "“": 'a text stands in straight quotes: `"`', "”": 'a text stands in straight quotes: `"`',
    "'": 'a text stands in double quotes: `"`', ":": "a value follows its name directly: `kernel 3`",
    "≤": "it is written `<=`", "≥": "it is written `>=`", "≠": "it is written `!=`",
}  # fmt: skip


class Reporter:
    """Puts the syntax errors of one text among the diagnostics."""

    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        self.source = source
        self.diagnostics = diagnostics

    @property
    def is_full(self) -> bool:
        """Say, and record, that there are more errors than anyone reads."""
        full = len(self.diagnostics.found) >= MAXIMUM_ERRORS
        if full:
            self.diagnostics.add("E0109", f"more than {MAXIMUM_ERRORS} errors; the rest is not shown", None)
        return full

    def bad_characters(self, token: Token) -> None:
        if not self.is_full:
            message = f"{_character(token[0])} has no meaning here"
            self.diagnostics.add("E0101", message, span_of(token, self.source), help=MENDS.get(token[0]))

    def unclosed_text(self, token: Token) -> None:
        if not self.is_full:
            self.diagnostics.add(
                "E0101",
                "this text in quotes is not closed",
                span_of(token, self.source),
                help='close it with `"` in the same line; a `\\` cannot stand in it',
            )

    def glued(self, number: Token, name: Token) -> None:
        if not self.is_full:
            self.diagnostics.add(
                "E0102",
                f"a blank is missing between `{clip(number)}` and `{clip(name)}`",
                span_of(number, self.source).to(span_of(name, self.source)),
                help="sizes are written `3 x 224 x 224`" if name.startswith("x") else None,
            )

    def reserved(self, token: Token) -> None:
        self.diagnostics.add(
            "E0104",
            f"`{token}` is a word of the language and cannot be a name",
            span_of(token, self.source),
            help=f"choose another name, such as `{token}_`",
        )

    def missing(self, sign: str, token: Token, bracket: Span | None) -> None:
        """Report that a sign is missing before the token."""
        closes = sign in ("}", ")", "]")
        labels = [Label(bracket, "still open")] if closes and bracket else []
        self.diagnostics.add(
            "E0103" if closes else "E0102",
            f"`{sign}` is missing before `{clip(token)}`",
            span_of(token, self.source),
            f"expected `{sign}`",
            labels,
        )

    def unexpected(self, token: Token, expected: set[str], bracket: Span | None) -> None:
        """Report that the token cannot stand where it does."""
        note = _expectation(expected)
        if token.type == "$END":
            end = len(self.source.text.rstrip())
            labels = [Label(bracket, "still open")] if bracket else []
            code = "E0103" if bracket else "E0102"
            self.diagnostics.add(code, "the text ends too early", Span(self.source, end, end), note, labels)
            return
        self.diagnostics.add(
            "E0102",
            f"`{clip(token)}` cannot stand here",
            span_of(token, self.source),
            note,
            help=_mend(token, expected),
        )


def _character(character: str) -> str:
    if character.isprintable() and not character.isspace():
        return f"`{character}`"
    name = unicodedata.name(character, "a control character").lower()
    return f"the character U+{ord(character):04X} ({name})"


def _expectation(expected: set[str]) -> str:
    """Name what may stand at a place, the most telling first, at most six things."""
    left = expected - UNSAID
    words: list[str] = []
    for group, unsaid, texts in GROUPS:
        if group <= left:
            words.extend(texts)
            left -= group | unsaid
    words.extend(text for name, text in SIGNS.items() if name in left)
    words.extend(f"`{name.lower()}`" for name in sorted(left - SIGNS.keys()))
    del words[MAXIMUM_EXPECTED:]
    if not words:
        return "expected nothing more"
    return "expected " + (words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}")


def _mend(token: Token, expected: set[str]) -> str | None:
    """Return the mend of a few frequent mistakes."""
    if token == "=" and "INT" in expected:
        return "inside braces a value follows its name directly: `kernel 3`"
    if token == "-" and "INT" in expected:
        return "an expression has no sign in front: write `0 - x`"
    if token == "," and "CLOSE" in expected:
        return "`[a, b]` is an interval; a set of values is written `{a, b, c}`"
    if token.type == "NAME":
        return did_you_mean(str(token), (name.lower() for name in expected if name.isidentifier()))
    return None
