"""What is told about a diagnostic's code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CodeInfo:
    """A code's catalogue entry: `example` is a small `.nas` text that gives the code, where one text can."""

    title: str
    explanation: str
    mend: str
    example: str | None = None
