"""The block strings of a file or of arguments, with their places: timm's lists of lists, or one stage a line.

The notation is that of timm's `efficientnet.py` and `mobilenetv3.py`, where an architecture is a list of stages and a
stage a list of strings. Lists are read by a scanner of brackets and quoted strings: nothing of a file is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from nasc.dsl.diagnostics import Diagnostic, DiagnosticError, Source, Span

CODE = "E0220"
_LIST = re.compile(r"""(?P<blank>\s+|\#[^\n]*) | (?P<text>'[^'\n\\]*'|"[^"\n\\]*") | (?P<sign>[\[\](),])""", re.VERBOSE)
_WORD = re.compile(r"[^\s,]+")


@dataclass(frozen=True)
class Written:
    """A block string and where it stands."""

    text: str
    span: Span

    def part(self, start: int, end: int) -> Span:
        """The place of some of its characters."""
        return Span(self.span.source, self.span.start + start, self.span.start + end)


Stages = tuple[tuple[Written, ...], ...]


def refuse(message: str, span: Span, help: str) -> NoReturn:
    """Raise the mistake at its place."""
    raise DiagnosticError([Diagnostic(CODE, message, span, help=help)])


def read_stages(name: str, text: str) -> Stages:
    """The block strings of each stage. Raises `DiagnosticError` for what is neither a list of them nor lines."""
    source = Source(name, text)
    first = re.search(r"^\s*(?:#[^\n]*\n\s*)*", text)
    assert first is not None
    stages = _listed(source) if text[first.end() : first.end() + 1] in ("[", "(") else tuple(_lines(source))
    if not any(stages):
        refuse("no block strings", Span(source, 0, len(text)), "for example `ir_r2_k3_s2_e6_c24`, one stage a line")
    return stages


def _lines(source: Source) -> Iterator[tuple[Written, ...]]:
    start = 0
    for line in source.text.split("\n"):
        code = line.split("#", 1)[0]
        found = [
            Written(word[0], Span(source, start + word.start(), start + word.end())) for word in _WORD.finditer(code)
        ]
        if found:
            yield tuple(found)
        start += len(line) + 1


def _listed(source: Source) -> Stages:
    """A list of lists of strings, or of strings that are a stage each."""
    stages: list[list[Written]] = []
    depth = place = 0
    closed = False
    while place < len(source.text):
        match = _LIST.match(source.text, place)
        if closed and (match is None or match["text"] or (match["sign"] or ",") != ","):
            rest = Span(source, place, len(source.text))
            refuse("more follows the list", rest, "leave all but the list of stages out")
        if match is None:
            here = Span(source, place, place + 1)
            refuse("this is no list of block strings", here, "a list holds quoted block strings, or lists of them")
        span = Span(source, match.start(), match.end())
        place = match.end()
        if match["text"]:
            if depth == 1:
                stages.append([])
            stages[-1].append(Written(match["text"][1:-1], Span(source, span.start + 1, span.end - 1)))
        elif match["sign"] in ("[", "("):
            depth += 1
            if depth > 2:
                refuse("lists within lists within lists", span, "a list of stages holds lists of block strings")
            if depth == 2:
                stages.append([])
        elif match["sign"] in ("]", ")"):
            depth -= 1
            closed = depth == 0
    if depth:
        refuse("a list is not closed", Span(source, len(source.text), len(source.text)), "close it with `]`")
    return tuple(tuple(stage) for stage in stages if stage)
