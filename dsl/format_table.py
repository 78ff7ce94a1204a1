"""Lines that form a table: names, callees, counts, properties and arrows below one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

WIDTH = 120

Cells = tuple[tuple[str, str], ...]  # of each property: its name, its text

# How much of a table is aligned, from all of it to nothing but the first column.
ALIGNED, WITHOUT_PROPERTIES, WITHOUT_ARROWS, LOOSE = range(4)


@dataclass(frozen=True)
class Style:
    """Blanks behind the first column, before braces, before arrows; do closing braces stand below one another?"""

    first_gap: int
    brace_gap: int
    arrow_gap: int
    closed: bool


STAGES = Style(first_gap=2, brace_gap=2, arrow_gap=2, closed=False)
ROWS = Style(first_gap=1, brace_gap=1, arrow_gap=1, closed=True)
CANDIDATES = Style(first_gap=1, brace_gap=1, arrow_gap=2, closed=False)


@dataclass(frozen=True)
class Entry:
    """A line: leading columns, the properties in its braces (None: no braces), any text, an arrow, and what follows.

    Or, with `free`, the first column and a text outside of all others.
    """

    lead: tuple[str, ...]
    free: str = ""
    cells: Cells | None = None
    rest: str = ""
    arrow: str = ""
    suffix: str = ""


def tabulate(entries: Sequence[Entry], style: Style, indent: int) -> list[str]:
    """Return the entries' lines, aligned as far as the line width allows.

    Where they are too wide in one table, neighbours with the same callee make a table of their own.
    """
    lines = render(entries, style, indent, ALIGNED)
    if _fit(lines):
        return lines
    parts = [list(part) for _, part in groupby(entries, key=lambda entry: _cell(entry, 1))]
    if len(parts) > 1:
        return [line for part in parts for line in tabulate(part, style, indent)]
    for level in (WITHOUT_PROPERTIES, WITHOUT_ARROWS):
        lines = render(entries, style, indent, level)
        if _fit(lines):
            return lines
    return render(entries, style, indent, LOOSE)


def _fit(lines: Iterable[str]) -> bool:
    return all(len(line) <= WIDTH for line in lines)


def render(entries: Sequence[Entry], style: Style, indent: int, level: int) -> list[str]:
    """Return the entries' lines, aligned as `level` says."""
    leads = _leads(entries, style, level)
    braces = _all_braces(entries, style, level)
    bodies = [_body(entry, lead, brace, style) for entry, lead, brace in zip(entries, leads, braces, strict=True)]
    aligned = level < WITHOUT_ARROWS
    column = max((len(b) for e, b in zip(entries, bodies, strict=True) if e.arrow), default=0) if aligned else 0
    arrow = max((len(e.arrow) for e in entries), default=0) if aligned else 0
    column += style.arrow_gap
    return [" " * indent + _line(e, b, column, arrow, style) for e, b in zip(entries, bodies, strict=True)]


def _line(entry: Entry, body: str, column: int, arrow: int, style: Style) -> str:
    if entry.arrow:
        body = (body + " " * style.arrow_gap).ljust(column) + entry.arrow.ljust(arrow)
    return f"{body} {entry.suffix}".rstrip()


def _body(entry: Entry, lead: str, brace: str, style: Style) -> str:
    body = f"{lead}{' ' * style.brace_gap}{brace}" if brace else lead.rstrip()
    return f"{body} {entry.rest}" if entry.rest else body


def _leads(entries: Sequence[Entry], style: Style, level: int) -> list[str]:
    columns = max((len(entry.lead) for entry in entries), default=0)
    widths = [max(len(_cell(entry, i)) if level < LOOSE or not i else 0 for entry in entries) for i in range(columns)]
    return [_lead(entry, widths, style) for entry in entries]


def _cell(entry: Entry, index: int) -> str:
    return entry.lead[index] if index < len(entry.lead) else ""


def _lead(entry: Entry, widths: Sequence[int], style: Style) -> str:
    text = _cell(entry, 0).ljust(widths[0])
    gap = style.first_gap
    if entry.free:
        return text + " " * gap + entry.free
    for index, width in enumerate(widths[1:], 1):
        cell = _cell(entry, index).ljust(width)
        if cell:
            text += " " * gap + cell
            gap = 1
    return text


# ------------------------------------------------------------------------------------------------- properties


class _Columns:
    """The columns of properties that several braces share. Names of which no braces have both share a column."""

    def __init__(self, rows: Iterable[Cells]) -> None:
        order: list[str] = []
        longest_first = sorted(rows, key=len, reverse=True)
        self.rows = {cells for cells in longest_first if _merge(order, [name for name, _ in cells])}
        self.slots: dict[str, int] = {}
        self.widths: list[int] = []
        self._place(order)

    def _place(self, order: Iterable[str]) -> None:
        sets = {frozenset(name for name, _ in cells) for cells in self.rows}
        last: set[str] = set()  # the names in the last column
        for name in order:
            if not last or any(name in names and names & last for names in sets):
                self.widths.append(0)
                last = set()
            last.add(name)
            self.slots[name] = len(self.widths) - 1
        for name, text in (cell for cells in self.rows for cell in cells):
            slot = self.slots[name]
            self.widths[slot] = max(self.widths[slot], len(text))

    def inside(self, cells: Cells, closed: bool) -> str:
        """The text between braces; `closed`: as wide as all columns."""
        if cells not in self.rows:
            return "  ".join(text for _, text in cells)
        texts = {self.slots[name]: text for name, text in cells}
        used = len(self.widths) if closed else max(texts) + 1
        return "  ".join(texts.get(slot, "").ljust(self.widths[slot]) for slot in range(used))


def _merge(order: list[str], names: Sequence[str]) -> bool:
    """Put names into their order, new ones behind the last known one; False where the two orders contradict."""
    known = [order.index(name) for name in names if name in order]
    if known != sorted(known) or len(set(names)) < len(names):
        return False
    place = 0
    for name in names:
        if name not in order:
            order.insert(place, name)
        place = order.index(name) + 1
    return True


def _all_braces(entries: Sequence[Entry], style: Style, level: int) -> list[str]:
    """Return each entry's braces. Those that start with the same property share the columns of their properties."""
    rows: dict[str, list[Cells]] = {}
    for entry in entries:
        if entry.cells and level < WITHOUT_PROPERTIES:
            rows.setdefault(entry.cells[0][0], []).append(entry.cells)
    columns = {first: _Columns(same) for first, same in rows.items()}
    return [_braces(entry.cells, columns, style) for entry in entries]


def _braces(cells: Cells | None, columns: dict[str, _Columns], style: Style) -> str:
    if not cells:
        return "" if cells is None else "{}"
    shared = columns.get(cells[0][0]) or _Columns([])
    return f"{{ {shared.inside(cells, style.closed)} }}"
