"""Cutting a text into tokens; what is none is reported and kept as a BAD token, so that the parser knows of it."""

from __future__ import annotations

from itertools import islice
from typing import Any

from lark import Token, UnexpectedCharacters

from nasc.dsl.check_tokens import MAXIMUM_TOKENS, NUMBERS
from nasc.dsl.diagnostics import Diagnostics, Source
from nasc.dsl.grammar_cache import parser
from nasc.dsl.syntax_errors import Reporter


def tokens(source: Source, start: str, diagnostics: Diagnostics) -> list[Token]:
    """Cut the text into tokens, hardly more than are allowed; report what is none and leave it as BAD tokens."""
    thread: Any = parser().parse_interactive(source.text, start=start).lexer_thread
    counter = thread.state.line_ctr
    report = Reporter(source, diagnostics)
    found: list[Token] = []
    while len(found) <= MAXIMUM_TOKENS:
        try:
            found.extend(islice(thread.lex(None), MAXIMUM_TOKENS + 1 - len(found)))
            break
        except UnexpectedCharacters:
            token = _bad_token(source.text, counter)
            if token.type == "STRING":
                report.unclosed_text(token)
            found.append(token)
    whole = _merged(found, source.text)
    return [_checked(token, before, report) for token, before in zip(whole, [None, *whole], strict=False)]


def _bad_token(text: str, counter: Any) -> Token:
    """Take a character that belongs to no token; or, from a quote on, the rest of its line."""
    start, line, column = counter.char_pos, counter.line, counter.column
    end = text.find("\n", start) if text[start] == '"' else start + 1
    taken = text[start:] if end < 0 else text[start:end]
    counter.feed(taken)
    kind = "STRING" if text[start] == '"' else "BAD"
    return Token(kind, taken, start, line, column, counter.line, counter.column, counter.char_pos)


def _merged(tokens: list[Token], text: str) -> list[Token]:
    """Make one token of bad characters that touch."""
    merged: list[Token] = []
    for token in tokens:
        before = merged[-1] if merged else None
        if before and token.type == before.type == "BAD" and token.start_pos == before.end_pos:
            before.end_pos, before.end_column = token.end_pos, token.end_column
        else:
            merged.append(token)
    return [
        retyped(token, "BAD", text[token.start_pos : token.end_pos]) if token.type == "BAD" else token
        for token in merged
    ]


def retyped(token: Token, terminal: str, text: str | None = None) -> Token:
    return Token.new_borrow_pos(terminal, str(token) if text is None else text, token)


def _checked(token: Token, before: Token | None, report: Reporter) -> Token:
    """Report a bad token, and a name glued to a number, as in `3x224`, which is never meant."""
    if token.type == "BAD":
        report.bad_characters(token)
    elif token.type == "NAME" and before and before.type in NUMBERS and before.end_pos == token.start_pos:
        report.glued(before, token)
        return retyped(token, "BAD")
    return token
