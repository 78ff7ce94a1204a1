"""The formatter: one layout for every `.nas` text.

It prints the syntax tree and puts the comments back (`nasc.dsl.comments`). A person decides about comments, blank
lines between items and, as in most formatters, a few line breaks: braces that open with a line break stay open, and
the lines of a pipeline, of a parameter list and of open braces stay apart. All else follows from the tree.

Every result is checked before anyone sees it: it parses to the same tree, it has the same comments in the same order,
and formatting it once more changes nothing. (The idea of these checks is gdtoolkit's.)
"""

from __future__ import annotations

from dataclasses import replace

from nasc.dsl import syntax
from nasc.dsl.comments import join, weave
from nasc.dsl.diagnostics import NascError
from nasc.dsl.edition import EDITION
from nasc.dsl.format_items import file_lines
from nasc.dsl.format_values import print_value
from nasc.dsl.parser import parse

__all__ = ["FormatError", "format_text", "print_file", "print_value"]


LIMITS = frozenset({"E0105", "E0106", "E0204"})
"""Codes of texts that are right but more than nasc reads: a network of a space that was just within may be."""


class FormatError(Exception):
    """A mistake of the formatter: its result would not have meant the same as the source."""


def format_text(text: str, name: str = "<text>") -> str:
    """Return the text in the canonical layout.

    Raises `DiagnosticError` for a text with syntax errors, `FormatError` where the result fails a check, `NascError`
    where it is more than nasc reads.
    """
    file, diagnostics = parse(text, name)
    diagnostics.raise_errors()
    return _checked(file, _print_written(file))


def print_file(file: syntax.File, note: str = "") -> str:
    """Return a tree as text in the canonical layout, with `note` as a comment below the header.

    The comments of a file that was parsed are printed, too. In a tree that nasc built, only the tree counts, and the
    documentation and line breaks of blocks copied from other files. Raises `FormatError` where a check fails,
    `NascError` where the text is more than nasc reads.
    """
    if _is_written(file):
        text = _print_written(file)
    else:
        file = replace(file, comments=())
        text = _text(join(file_lines(file, written=False)))
    text = _checked(file, text)
    return format_text(noted(file, text, note)) if note else text


def _is_written(file: syntax.File) -> bool:
    """Whether the tree is what its source says."""
    if not file.source.text:
        return False
    parsed, diagnostics = parse(file.source.text)
    return not diagnostics.errors and parsed == file


def _print_written(file: syntax.File) -> str:
    return _text(weave(file_lines(file, written=True), file.source, has_header=file.version is not None))


def _text(lines: list[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in lines)


def noted(file: syntax.File, text: str, note: str) -> str:
    """Put a comment above the first item: directly above a space, apart from a block, whose documentation it is not."""
    header, rest = text.split("\n", 1)
    comment = "".join(f"// {line}".rstrip() + "\n" for line in note.split("\n"))
    is_space = file.items and isinstance(file.items[0], syntax.Space)
    return f"{header}\n\n{comment}{rest.lstrip() if is_space else rest}"


def _checked(file: syntax.File, text: str) -> str:
    """Return `text` if it is a faithful, stable print of `file`."""
    printed = _parsed(text)
    if printed != replace(file, version=EDITION):
        raise FormatError("formatting would change what the file means")
    if file.comments and [c.text for c in printed.comments] != [c.text for c in file.comments]:
        raise FormatError("formatting would lose or move a comment")
    if _print_written(printed) != text:
        raise FormatError("formatting twice would not give the same text as formatting once")
    return text


def _parsed(text: str) -> syntax.File:
    file, diagnostics = parse(text)
    if diagnostics.errors:
        first = diagnostics.errors[0]
        if first.code in LIMITS:
            raise NascError(f"what would be written is more than nasc reads: {first.message}")
        raise FormatError(f"formatting would break the file: {first.message}")
    return file
