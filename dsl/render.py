"""Diagnostics as text with the place underlined, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from nasc.dsl.diagnostics import Diagnostic, Source, Span
from nasc.dsl.excerpt import Excerpt, Mark, escape

Paint = Callable[[str, str], str]

MOST = 100  # diagnostics that anyone reads
COLORS = {"error": "1;31", "warning": "1;33", "frame": "1;34", "bold": "1"}


@dataclass(frozen=True)
class _Place:
    """A mark's place: the part of a span in its first line."""

    source: Source
    line: int
    start: int  # columns from 0
    end: int
    text: str


def render(diagnostics: Iterable[Diagnostic], color: bool = False) -> str:
    """Return the diagnostics as text, one block each, a blank line between; "" for none. Only the first are shown."""
    paint = _colored if color else _plain
    found = list(diagnostics)
    blocks = [_block(diagnostic, paint) for diagnostic in found[:MOST]]
    left = len(found) - MOST
    return "\n".join([*blocks, f"... and {left:,} more\n"] if left > 0 else blocks)


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """Return the diagnostics as JSON objects; lines and columns count from 1, an end is the place behind it."""
    return [
        {
            "code": diagnostic.code,
            "severity": diagnostic.severity,
            "message": diagnostic.message,
            "note": diagnostic.note,
            "help": diagnostic.help,
            **_range(diagnostic.span),
            "labels": [{"text": label.text, **_range(label.span)} for label in diagnostic.labels],
        }
        for diagnostic in diagnostics
    ]


def _range(span: Span | None) -> dict[str, Any]:
    if span is None:
        return dict.fromkeys(("file", "line", "column", "end_line", "end_column"))
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {"file": span.source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column}


def _block(diagnostic: Diagnostic, paint: Paint) -> str:
    title = paint(f"{diagnostic.severity}[{diagnostic.code}]", diagnostic.severity)
    lines = [f"{title}: {paint(escape(diagnostic.message), 'bold')}"]
    places = _places(diagnostic)
    width = max((len(str(place.line)) for place in places), default=0)
    frame = " " * (width + 2)
    for index, (name, group) in enumerate(groupby(places, key=lambda place: place.source.name)):
        first = places[0] if index == 0 else None
        lines += _source(list(group), first, name, width, diagnostic.severity, paint)
    if diagnostic.help:
        more = f"\n{frame}        ".join(escape(line) for line in diagnostic.help.splitlines())
        lines.append(f"{frame}{paint('=', 'frame')} help: {more}")
    return "\n".join(lines) + "\n"


def _places(diagnostic: Diagnostic) -> list[_Place]:
    """The primary place first, then the labels'; a source's places together."""
    if diagnostic.span is None:
        return []
    found = [_place(diagnostic.span, diagnostic.note)]
    found += [_place(label.span, label.text) for label in diagnostic.labels]
    order = {name: at for at, name in reversed(list(enumerate(place.source.name for place in found)))}
    return sorted(found, key=lambda place: order[place.source.name])


def _place(span: Span, text: str) -> _Place:
    line, column = span.source.position(span.start)
    in_line = max(len(span.source.line(line)) - (column - 1), 1)
    length = min(max(span.end - span.start, 1), in_line)
    return _Place(span.source, line, column - 1, column - 1 + length, text)


def _source(
    places: Sequence[_Place], primary: _Place | None, name: str, width: int, severity: str, paint: Paint
) -> list[str]:
    """One source's lines; the first line names the primary place, or the first in a further source."""
    shown = primary or places[0]
    arrow = paint("-->" if primary else ":::", "frame")
    bar = f"{' ' * (width + 2)}{paint('|', 'frame')}"
    lines = [f"{' ' * (width + 1)}{arrow} {escape(name)}:{shown.line}:{shown.start + 1}", bar]
    before = None
    for number, group in groupby(sorted(places, key=lambda place: place.line), key=lambda place: place.line):
        if before is not None and number > before + 1:
            lines.append(paint(f"{' ' * (width + 1)}...", "frame"))
        before = number
        marks = [Mark(place.start, place.end, escape(place.text)) for place in group]
        for excerpt in Excerpt.cut(shown.source.line(number), marks):
            lines.append(f"{paint(f' {number:>{width}} |', 'frame')} {excerpt.text}".rstrip())
            lines += [f"{bar} {paint(row, severity)}" for row in excerpt.rows()]
    return lines


def _plain(text: str, _kind: str) -> str:
    return text


def _colored(text: str, kind: str) -> str:
    return f"\x1b[{COLORS[kind]}m{text}\x1b[0m"
