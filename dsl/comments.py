"""What a text holds besides its tokens: comments, line breaks, blank lines. Comments are put back into a new layout.

The formatter prints a tree without looking at comments. Here each comment finds its place again: the printed text is
a subsequence of the source's visible characters (`,` and `;` may have gone), so a place between two characters of the
source is a place between two characters of the print. Comments cannot get lost or change their order.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from nasc.dsl.diagnostics import Source

_LEXEME = re.compile(r'(?P<comment>//[^\n]*)|"[^"\\\n]*"|[^ \t\r\n]')
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_BLANKS = " \t\r\n"
_SEPARATORS = ",;|"
GAP = "  "  # before a trailing comment


@dataclass(frozen=True)
class Line:
    """A printed line. `gap` says whether a blank line may stand above it: "never", "keep" (as written) or "always"."""

    text: str
    gap: str = "never"

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip(" "))


class Trivia:
    """Answers what stands between the tokens of a source."""

    def __init__(self, source: Source) -> None:
        self.text = source.text
        self.ink: list[int] = []  # offsets of the visible characters that are no comment's
        self.comments: list[tuple[int, int]] = []
        for match in _LEXEME.finditer(source.text):
            if match.lastgroup == "comment":
                self.comments.append(match.span())
            else:
                self.ink.extend(i for i in range(*match.span()) if self.text[i] not in _BLANKS)

    def _ink_before(self, offset: int, skip: str = "") -> int:
        """The end of the last visible character before `offset` that is not among `skip`; 0 where there is none."""
        index = bisect_left(self.ink, offset) - 1
        while index >= 0 and self.text[self.ink[index]] in skip:
            index -= 1
        return self.ink[index] + 1 if index >= 0 else 0

    def starts_line(self, offset: int) -> bool:
        """Whether a line ends between what stands at `offset` and what stands before it."""
        return "\n" in self.text[self._ink_before(offset, _SEPARATORS) : offset]

    def is_apart(self, offset: int) -> bool:
        """Whether a blank line, perhaps with comments around it, stands before `offset`."""
        return bool(_BLANK_LINE.search(self.text[self._ink_before(offset, ",;") : offset]))

    def has_comment(self, start: int, end: int) -> bool:
        """Whether a comment stands behind `start` and before the first visible character, but `,`, from `end` on."""
        index = bisect_left(self.ink, end)
        while index < len(self.ink) and self.text[self.ink[index]] in _SEPARATORS:
            index += 1
        end = self.ink[index] if index < len(self.ink) else len(self.text)
        return bisect_left(self.comments, (start, 0)) < bisect_left(self.comments, (end, 0))

    def has_lone_comment(self, end: int) -> bool:
        """Whether there is a comment, and nothing else, before the closing brace that ends at `end`."""
        closing = self._ink_before(end, ",;") - 1
        return self.has_comment(self._ink_before(closing), closing)

    def follows_blank(self, offset: int) -> bool:
        """Whether a blank line stands directly above a comment, or a token, that starts its line."""
        before = self._ink_before(offset, ",;")
        index = bisect_left(self.comments, (offset, 0)) - 1
        if index >= 0:
            before = max(before, self.comments[index][1])
        return bool(_BLANK_LINE.search(self.text[before:offset]))

    def trails(self, offset: int) -> bool:
        """Whether the comment at `offset` stands behind a token of its line."""
        return "\n" not in self.text[self._ink_before(offset) : offset] and self._ink_before(offset) > 0

    def column(self, offset: int, code: str) -> int:
        """The column of a comment behind code of its own line; 0 where another code stood there."""
        start = self.text.rfind("\n", 0, offset) + 1
        return offset - start if self.text[start:offset].split() == code.split() else 0


@dataclass
class _Woven:
    """A printed line with the comments that go above it and behind it."""

    line: Line
    above: list[tuple[str, bool]] = field(default_factory=list)  # text, after a blank line
    within: list[str] = field(default_factory=list)  # comments that stood between the line's own tokens
    behind: tuple[str, int] | None = None  # text, column in the source
    apart: bool = False


def weave(lines: Sequence[Line], source: Source, has_header: bool) -> list[str]:
    """Put a source's comments and blank lines into its printed lines. `has_header`: `nas 1` was written there."""
    trivia = Trivia(source)
    ink = [(number, char) for number, line in enumerate(lines) for char in line.text if char not in _BLANKS]
    fixed = 0 if has_header else sum(char not in _BLANKS for char in lines[0].text)
    places = [trivia.ink[i] for i in _matches(trivia, [char for _, char in ink[fixed:]])]
    owners = [number for number, _ in ink]
    woven = [_Woven(line) for line in lines]
    for place, number in reversed(list(zip(places, owners[fixed:], strict=True))):
        woven[number].apart = trivia.follows_blank(place)
    rest = _place(trivia, woven, places, owners, fixed)
    return _join(woven, rest)


def _matches(trivia: Trivia, printed: Sequence[str]) -> list[int]:
    """For each printed character, the source's one that it is; both in order."""
    rest = iter(range(len(trivia.ink)))
    found = [next((i for i in rest if trivia.text[trivia.ink[i]] == char), None) for char in printed]
    if None in found:
        raise ValueError("a print has characters that its source has not")
    return [index for index in found if index is not None]


def _place(
    trivia: Trivia, woven: Sequence[_Woven], places: Sequence[int], owners: Sequence[int], fixed: int
) -> list[tuple[str, bool]]:
    """Give each comment to a line; return those behind the last line."""
    rest: list[tuple[str, bool]] = []
    for start, end in trivia.comments:
        text = trivia.text[start:end].rstrip()
        apart = trivia.follows_blank(start)
        index = bisect_left(places, start) + fixed
        last = owners[index - 1] if index else -1
        following = owners[index] if index < len(owners) else len(woven)
        trailing = trivia.trails(start) and last >= 0
        if last == following:
            woven[last].within.append(text)
        elif trailing and woven[last].behind is None and not _has_above(woven, following, rest):
            woven[last].behind = (text, trivia.column(start, woven[last].line.text))
        elif following == len(woven):
            rest.append((text, apart))
        else:
            woven[following].above.append((text, apart))
    return rest


def _has_above(woven: Sequence[_Woven], following: int, rest: Sequence[tuple[str, bool]]) -> bool:
    return bool(woven[following].above if following < len(woven) else rest)


@dataclass(frozen=True)
class _Printed:
    """A finished line but for the comment behind it."""

    text: str
    comment: tuple[str, int] | None = None
    is_code: bool = False


def join(lines: Sequence[Line]) -> list[str]:
    """The texts of lines that no source stands behind."""
    return _join([_Woven(line) for line in lines], [])


def _join(woven: Sequence[_Woven], rest: Sequence[tuple[str, bool]]) -> list[str]:
    printed: list[_Printed] = []

    def add(line: _Printed, blank: bool) -> None:
        if blank and printed and not (printed[-1].is_code and printed[-1].text.endswith("{")):
            printed.append(_Printed(""))
        printed.append(line)

    for item in woven:
        closes = item.line.text.lstrip().startswith("}")
        margin = " " * (item.line.indent + 2 * closes)
        may = item.line.gap != "never"
        must = item.line.gap == "always"
        apart = item.apart and may
        for text, blank in item.above:
            add(_Printed(margin + text), must or (blank and (may or closes)))
            must = False
        for text in item.within:
            add(_Printed(margin + text), must or apart)
            must = apart = False
        add(_Printed(item.line.text, item.behind, is_code=True), must or apart)
    for text, blank in rest:
        add(_Printed(text), blank)
    return _align(printed)


def _place_of_comment(line: _Printed) -> tuple[int, bool] | None:
    """What neighbours must have in common to share a column: indentation, and whether they close a phrase."""
    return (Line(line.text).indent, line.text.lstrip().startswith("}")) if line.comment else None


def _align(printed: Sequence[_Printed]) -> list[str]:
    """Append trailing comments: those of adjacent lines of one indentation share a column.

    It is the column they share in the source where the code leaves room for it, else the first one that is free.
    """
    aligned: list[str] = []
    for place, group in groupby(printed, key=_place_of_comment):
        run = list(group)
        if place is None:
            aligned += [line.text for line in run]
            continue
        free = max(len(line.text) for line in run) + len(GAP)
        written = {line.comment[1] for line in run if line.comment}
        column = max(written) if len(written) == 1 and max(written) >= free else free
        aligned += [line.text.ljust(column) + line.comment[0] for line in run if line.comment]
    return aligned
