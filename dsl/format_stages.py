"""The stages of a space and the rows of a stage: lines of tables, but for those that need several lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nasc.dsl import syntax
from nasc.dsl.format_layout import Layout, Lines, cells
from nasc.dsl.format_table import ALIGNED, LOOSE, ROWS, STAGES, WIDTH, Entry, Style, render, tabulate
from nasc.dsl.format_values import print_callee, print_operator, print_step, print_steps, print_value


@dataclass
class _Phrase:
    """A stage, a row, or a head (which alone has `steps`), and what of it is spread over several lines."""

    node: syntax.Stage | syntax.Row | syntax.Head
    title: str
    callee: syntax.Call | syntax.Choice | None = None
    more: tuple[str, ...] = ()  # `x 2`, `from c4`
    properties: tuple[syntax.Property, ...] = ()
    arrow: str = ""
    rows: tuple[syntax.Row, ...] = ()
    steps: tuple[syntax.Step, ...] = ()
    open_callee: bool = False
    open_braces: bool = False
    open_rows: bool = False
    open_steps: bool = False
    flat_rows: str = field(default="", init=False)

    @property
    def is_line(self) -> bool:
        """Whether all before the rows is on one line."""
        return not (self.open_callee or self.open_braces or self.open_steps)

    @property
    def suffix(self) -> str:
        return "" if not self.rows else "{" if self.open_rows else self.flat_rows

    def widen(self) -> bool:
        """Spread one part more over several lines; False where none is left."""
        if self.rows and not self.open_rows:
            self.open_rows = True
        elif isinstance(self.callee, syntax.Choice) and not self.open_callee:
            self.open_callee = True
        elif self.properties and not self.open_braces:
            self.open_braces = True
        elif self.steps and not self.open_steps:
            self.open_steps = True
        else:
            return False
        return True


class Stages:
    """Lays out stages and rows with the help of a layout of values."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def lines(self, items: Sequence[syntax.Stage | syntax.Head]) -> list[Lines]:
        """Adjacent stages, and a head, as one table; each item's lines."""
        phrases = [self._stage(item) if isinstance(item, syntax.Stage) else self._head(item) for item in items]
        return self._table(phrases, STAGES, 2)

    def _stage(self, stage: syntax.Stage) -> _Phrase:
        count = "" if stage.count is None else f"x {print_value(stage.count)}"
        phrase = _Phrase(
            stage,
            f"stage {stage.name}",
            stage.callee,
            (count, "" if stage.source is None else f"from {stage.source}"),
            stage.properties,
            "" if stage.width is None else f"-> {print_value(stage.width)}",
            stage.rows,
        )
        self._open(phrase)
        rows = [self._row(row) for row in stage.rows]
        phrase.open_rows = len(rows) > 1 or self.layout.hints.opens(stage.rows) or not all(r.is_line for r in rows)
        phrase.flat_rows = "" if phrase.open_rows or not rows else f"{{ {self._loose(rows[0], ROWS, 0)} }}"
        return phrase

    def _row(self, row: syntax.Row) -> _Phrase:
        title = f"layer {row.first}" if row.first == row.last else f"layer {row.first} .. {row.last}"
        arrow = "" if row.width is None else f"-> {print_value(row.width)}"
        phrase = _Phrase(row, title, row.callee, (), row.properties, arrow)
        self._open(phrase)
        return phrase

    def _open(self, phrase: _Phrase) -> None:
        phrase.open_callee = self.layout.is_open(phrase.callee)
        phrase.open_braces = self.layout.opens(phrase.properties)

    def _head(self, head: syntax.Head) -> _Phrase:
        phrase = _Phrase(head, "head", steps=head.steps)
        phrase.open_steps = any(map(self.layout.hints.starts_line, head.steps[1:])) or any(
            self.layout.is_open(step.operator) for step in head.steps
        )
        return phrase

    # --------------------------------------------------------------------------------------------- tables

    def _table(self, phrases: Sequence[_Phrase], style: Style, indent: int) -> list[Lines]:
        width = max((len(phrase.title) for phrase in phrases), default=0)
        for phrase in phrases:
            phrase.title = phrase.title.ljust(width)
            while phrase.is_line and len(self._loose(phrase, style, indent)) > WIDTH and phrase.widen():
                pass
        if style is ROWS:
            _shorten(phrases)
        kinds: dict[object, list[_Phrase]] = {}
        for phrase in phrases:
            kinds.setdefault(_kind(phrase) if phrase.is_line else None, []).append(phrase)
        lines = {id(phrase): self._spread(phrase, style, indent) for phrase in kinds.pop(None, [])}
        for same in kinds.values():
            table = _aligned(same, style, indent)
            lines |= {id(phrase): self._with_rows(phrase, [line]) for phrase, line in zip(same, table, strict=True)}
        return [lines[id(phrase)] for phrase in phrases]

    def _loose(self, phrase: _Phrase, style: Style, indent: int) -> str:
        return render([_entry(phrase)], style, indent, LOOSE)[0]

    def _with_rows(self, phrase: _Phrase, lines: Lines) -> Lines:
        """Append the rows of a stage whose last line ends with the brace that opens them."""
        if not (phrase.rows and phrase.open_rows):
            return lines
        rows = self._table([self._row(row) for row in phrase.rows], ROWS, 4)
        return [*lines, *(line for row in rows for line in row), "  }"]

    # --------------------------------------------------------------------------------------------- several lines

    def _spread(self, phrase: _Phrase, style: Style, indent: int) -> Lines:
        """A phrase of which more than the rows takes several lines."""
        lines = [" " * indent + phrase.title + " " * style.first_gap]
        if phrase.steps:
            first, *others = phrase.steps
            column = len(lines[0])
            _extend(lines, self.layout.step(first, column, column))
            return self.layout.chain(lines, others, column - 2)
        if phrase.callee:
            _extend(lines, self.layout.value(phrase.callee, indent, len(lines[-1]), force=phrase.open_callee))
        lines[-1] = " ".join([lines[-1].rstrip() if phrase.callee else lines[-1], *filter(None, phrase.more)])
        end = " ".join(filter(None, (phrase.arrow, phrase.suffix)))
        if phrase.properties:
            lines[-1] = lines[-1].rstrip() + " " if phrase.callee else lines[-1]
            column = len(lines[-1])
            _extend(
                lines,
                self.layout.braces(phrase.properties, indent, column, len(end) + 1, force=phrase.open_braces),
            )
        lines[-1] = f"{lines[-1]} {end}".rstrip()
        return self._with_rows(phrase, lines)


def _shorten(rows: Sequence[_Phrase]) -> None:
    """Align the titles only of those rows that are one line."""
    width = max((len(row.title.rstrip()) for row in rows if row.is_line), default=0)
    for row in rows:
        row.title = row.title.rstrip().ljust(width if row.is_line else 0)


def _extend(lines: Lines, more: Lines) -> None:
    """Append lines, the first of them to the last line."""
    lines[-1] += more[0]
    lines += more[1:]


def _kind(phrase: _Phrase) -> object:
    """Lines of one kind share their columns."""
    return type(phrase.callee or syntax.Call) if not phrase.steps else syntax.Call


def _entry(phrase: _Phrase) -> Entry:
    if phrase.steps:
        return _head_entry(phrase.title, phrase.steps)
    callee = () if phrase.callee is None else (print_operator(phrase.callee),)
    inside = cells(phrase.properties) if phrase.properties else None
    return Entry((phrase.title, *callee, *phrase.more), "", inside, "", phrase.arrow, phrase.suffix)


def _head_entry(title: str, steps: Sequence[syntax.Step]) -> Entry:
    """A head whose first step has braces stands in the stages' columns, any other one in a line of its own."""
    first = steps[0].operator
    if isinstance(first, syntax.Call) and first.properties:
        rest = print_step(steps[0]).removeprefix(print_operator(first)) + "".join(
            f" | {print_step(step)}" for step in steps[1:]
        )
        return Entry((title, print_callee(first)), cells=cells(first.properties), rest=rest.strip())
    return Entry((title,), free=print_steps(steps))


def _aligned(phrases: Sequence[_Phrase], style: Style, indent: int) -> Lines:
    """One line of a table for each phrase. A row that stands behind its stage moves below it where the line is full."""
    while True:
        lines = render([_entry(phrase) for phrase in phrases], style, indent, ALIGNED)
        full = [p for p, line in zip(phrases, lines, strict=True) if len(line) > WIDTH and p.rows and not p.open_rows]
        if not full:
            return tabulate([_entry(phrase) for phrase in phrases], style, indent)
        for phrase in full:
            phrase.open_rows = True
