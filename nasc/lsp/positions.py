"""Places: character offsets of a source, as nasc has them, and lines with columns, as editors have them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from lsprotocol.types import Position, PositionEncodingKind, Range
from pygls import uris

from nasc.dsl.diagnostics import Source, Span
from nasc.dsl.loader import LIBRARY

IN_LIBRARY = "<library>/"
UNITS: dict[str, Callable[[str], int]] = {
    PositionEncodingKind.Utf8.value: lambda text: len(text.encode("utf-8", "surrogatepass")),
    PositionEncodingKind.Utf16.value: lambda text: len(text.encode("utf-16-le", "surrogatepass")) // 2,
    PositionEncodingKind.Utf32.value: len,
}
"""How long a text is in the units that columns are counted in."""


class Lines:
    """The lines of a text whose lines end with a line feed; columns count in units of `encoding`."""

    def __init__(self, text: str, encoding: str = PositionEncodingKind.Utf16.value) -> None:
        self.text = text
        self.units = UNITS[encoding]
        self.starts = [0, *(i + 1 for i, character in enumerate(text) if character == "\n")]

    def line(self, number: int) -> str:
        """A line (from 0), without its end; "" behind the last."""
        if number >= len(self.starts):
            return ""
        end = self.starts[number + 1] - 1 if number + 1 < len(self.starts) else len(self.text)
        return self.text[self.starts[number] : end]

    def position(self, offset: int) -> Position:
        offset = max(0, min(offset, len(self.text)))
        number = bisect_right(self.starts, offset) - 1
        return Position(number, self.units(self.text[self.starts[number] : offset]))

    def offset(self, position: Position) -> int:
        """The offset of a place; of one behind its line or the text, their end."""
        if position.line >= len(self.starts):
            return len(self.text)
        line, left = self.line(position.line), position.character
        if line.isascii():
            return self.starts[position.line] + min(left, len(line))
        taken = 0
        while taken < len(line) and (left := left - self.units(line[taken])) >= 0:
            taken += 1
        return self.starts[position.line] + taken

    def range(self, start: int, end: int) -> Range:
        return Range(self.position(start), self.position(end))

    def of(self, span: Span) -> Range:
        return self.range(span.start, span.end)


def path_of(uri: str) -> Path | None:
    """The file that a URI names; None for a text that is in no file yet."""
    path = uris.to_fs_path(uri) if uri.startswith("file:") else None
    return Path(path) if path else None


def uri_of(source: Source) -> str | None:
    """The URI of the file that a source was read from; those of the library lie beside the code."""
    name = source.name
    path = LIBRARY.resolve() / name.removeprefix(IN_LIBRARY) if name.startswith(IN_LIBRARY) else Path(name)
    return uris.from_fs_path(str(path.absolute())) if path.suffix == ".nas" else None
