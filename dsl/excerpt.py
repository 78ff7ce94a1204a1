"""A line of source text made fit to show, and the rows of marks beneath it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAXIMUM_WIDTH = 140  # cells of a line that is shown whole
MARGIN = 40  # cells shown on both sides of what is marked in a longer line
TAB = "    "
CUT = "..."
# Surrogates, controls, and format characters, which could turn the rest of a line around (U+202E).
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def escape(text: str) -> str:
    """Write what a terminal might obey as `\\x1b`; tabs become blanks."""
    return text if text.isascii() and text.isprintable() else "".join(map(_safe, text))


def _safe(character: str) -> str:
    if character == "\t":
        return TAB
    if unicodedata.category(character) not in UNSAFE:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cells(text: str) -> int:
    """How many cells of a terminal an escaped text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    combining = sum(unicodedata.category(character) in ("Mn", "Me") for character in text)
    return len(text) + wide - combining


@dataclass(frozen=True)
class Mark:
    """What is underlined, columns `start` up to, not including, `end`, and what is said about it."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Excerpt:
    """A line as shown, and its marks in cells of it."""

    text: str
    marks: tuple[Mark, ...]

    @staticmethod
    def cut(line: str, marks: Sequence[Mark]) -> list[Excerpt]:
        """Return the line as shown: whole; or what is around the marks; or where these are far apart, each alone."""
        if len(line) <= MAXIMUM_WIDTH:
            return [_window(line, marks, 0, len(line))]
        start = max(0, min(mark.start for mark in marks) - MARGIN)
        end = max(mark.end for mark in marks) + MARGIN
        if end - start > MAXIMUM_WIDTH:
            if len(marks) > 1:
                return [
                    excerpt
                    for mark in sorted(marks, key=lambda mark: mark.start)
                    for excerpt in Excerpt.cut(line, [mark])
                ]
            end = start + MAXIMUM_WIDTH
        return [_window(line, marks, start, min(end, len(line)))]

    def rows(self) -> list[str]:
        """The rows beneath: all underlines with the last one's text, and the other texts hanging below their marks."""
        underline = [" "] * max(mark.end for mark in self.marks)
        for mark in self.marks:
            underline[mark.start : mark.end] = "^" * (mark.end - mark.start)
        said = sorted((mark for mark in self.marks if mark.text), key=lambda mark: (mark.start, mark.end))
        first = "".join(underline)
        if said and said[-1].end == len(first):
            first = f"{first} {said.pop().text}"
        return [first, *_hanging(said)]


def _hanging(said: list[Mark]) -> list[str]:
    rows = [_bars(said)] if said else []
    while said:
        mark = said.pop()
        rows.append(_bars([other for other in said if other.start < mark.start]).ljust(mark.start) + mark.text)
    return rows


def _bars(marks: Sequence[Mark]) -> str:
    row = [" "] * max((mark.start + 1 for mark in marks), default=0)
    for mark in marks:
        row[mark.start] = "|"
    return "".join(row)


def _window(line: str, marks: Sequence[Mark], start: int, end: int) -> Excerpt:
    """Show the columns from `start` up to `end`."""
    head, tail = CUT if start > 0 else "", CUT if end < len(line) else ""

    def cell(column: int) -> int:
        return len(head) + _cells(escape(line[start:column])) + max(0, column - max(start, len(line)))

    placed = [(cell(mark.start), cell(min(mark.end, max(end, mark.start + 1))), mark.text) for mark in marks]
    shown = tuple(Mark(first, max(last, first + 1), text) for first, last, text in placed)
    return Excerpt(f"{head}{escape(line[start:end])}{tail}", shown)
