"""A space as an SVG picture for a paper: stages from top to bottom, shapes on the edges, text as text.

It needs no colour to be read: optional layers are dashed and passed by a dashed line, blocks are named in their boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from nasc.compiler.elaborate import Space
from nasc.compiler.picture import Box, Group, Picture, picture

PALETTE = ("#4878a8", "#e0903c", "#5f9e52", "#c2554f", "#8b6bb0", "#8a6a4f", "#c77ab0", "#7a7a7a", "#a8a13a", "#3fa0ac")
"""Colours for blocks, in the order in which they come."""
FONT = "Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif"
SIZE, LINE = 11, 15
"""Of text, and from line to line, in pixels."""
MARGIN, PAD = 12, 12
ARC = 13
"""From a box to the line that passes it."""
LANE = 11
"""Between lines to later stages."""
NARROWEST, WIDEST = 230, 440
GAP, LABELLED = 20, 26
"""Between boxes; with a shape in between."""
WIDTHS = (
    (0.28, "ijl"),
    (0.34, " .,:;|/'"),
    (0.42, "frt()[]-I"),
    (0.6, "_acesvxyzk–"),
    (0.98, "mMwW@→×=+<>…"),
    (0.78, "ABCDEFGHKLNOPQRSTUVXYZ"),
)


def draw(space: Space) -> str:
    """The picture as SVG text."""
    return _Drawing(picture(space)).text()


def length(text: str, bold: bool = False) -> float:
    """Pixels that a text takes at most, whichever of the fonts is there: DejaVu Sans, the widest, decides."""
    total = sum(_em(character) for character in text) * SIZE
    return total * 1.12 if bold else total


def _em(character: str) -> float:
    """A character's width in units of the font's size."""
    return next((width for width, members in WIDTHS if character in members), 0.65)


@dataclass
class _Placed:
    """A box with its place: top, height, and its lines of text."""

    box: Box
    lines: list[str]
    top: float = 0.0
    height: float = 0.0

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


@dataclass
class _Drawing:
    """Places everything from top to bottom, then writes it."""

    picture: Picture
    under: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    placed: dict[str, list[_Placed]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        groups = self.picture.groups
        names = [length(g.name, bold=True) for g in groups] + [length(_beneath(g)) for g in groups]
        self.left = 2 * MARGIN + max(names) + ARC + 8
        self.width = min(max([NARROWEST, *(_wanted(box) for g in groups for box in g.boxes)]), WIDEST)
        self.right = self.left + self.width + MARGIN
        self.center = self.left + self.width / 2
        blocks = dict.fromkeys(box.block for group in groups for box in group.boxes if box.block)
        self.colors = {block: PALETTE[i % len(PALETTE)] for i, block in enumerate(blocks)}
        self.lanes = _lanes(groups)

    def text(self) -> str:
        """The whole picture."""
        y = self._pill(self._heading(MARGIN + 16.0), self.picture.input)
        tail, shape, before = y, "", ""
        for group in self.picture.groups:
            follows = group.source == before
            y = self._group(group, y, shape, tail if follows else None)
            tail, shape, before = self.placed[group.name][-1].bottom, group.boxes[-1].output, group.name
        if self.picture.output:
            self._arrow(tail, y + GAP, "")
            y = self._pill(y + GAP, f"output {self.picture.output}")
        y += 6 if self.picture.results else 0
        for line in self.picture.results:
            y += LINE
            self._say(MARGIN, y, line, "note")
        for before, group in zip(["", *self.placed], self.picture.groups, strict=False):
            self._side_edges(group, before)
        page = self.right + MARGIN + LANE * (max((lane for lane, _ in self.lanes.values()), default=-1) + 1)
        return _page(page, y + MARGIN, self.picture.title, [*self.under, *self.over])

    def _heading(self, y: float) -> float:
        self._say(MARGIN, y, self.picture.title, "title")
        notes = list(self.picture.notes)
        boxes = [box for group in self.picture.groups for box in group.boxes]
        if any(box.optional for box in boxes):
            notes.append("dashed: may be dropped")
        for line in _wrapped(notes, self.right - MARGIN, "  ·  "):
            y += LINE
            self._say(MARGIN, y, line, "note")
        return y + 12

    def _pill(self, y: float, text: str) -> float:
        wide = length(text) + 24
        self.over.append(_rect(self.center - wide / 2, y, wide, 20, "pill", 10))
        self._say(self.center, y + 14, text, "middle")
        return y + 20

    # --------------------------------------------------------------------------------------------- one stage

    def _group(self, group: Group, y: float, shape: str, tail: float | None) -> float:
        """Draw a stage below y; the line into it starts at `tail`, if what stands above it leads there."""
        top = y + (LABELLED if shape or tail is None else GAP)
        boxes: list[_Placed] = []
        at = top + PAD
        for box in group.boxes:
            label = box.input if boxes and box.input != group.boxes[-1].output else ""
            if boxes:
                at = boxes[-1].bottom + (LABELLED if label else GAP)
                self._arrow(boxes[-1].bottom, at, label)
            lines = _lines(box, self.width)
            boxes.append(_Placed(box, lines, at, LINE * len(lines) + 9))
            at = boxes[-1].bottom
        self.placed[group.name] = boxes
        beneath = _beneath(group)
        bottom = max(at + PAD, top + PAD + 36 if beneath else 0)
        self.under.append(_rect(MARGIN, top, self.right - MARGIN, bottom - top, "stage", 6))
        self._say(2 * MARGIN - 2, top + PAD + 16, group.name, "name")
        self._say(2 * MARGIN - 2, top + PAD + 30, beneath, "note")
        if tail is not None:
            self._arrow(tail, top + PAD, shape, top - 9)
        for placed in boxes:
            self._box(placed)
        return bottom

    def _box(self, placed: _Placed) -> None:
        box = placed.box
        kind = "box dash" if box.optional else "box"
        fill = f' style="fill:{_tint(self.colors[box.block])}"' if box.block else ""
        self.over.append(f"<g><title>{escape(_title(box))}</title>")
        if len(box.layers) > 1:
            self.over.append(_rect(self.left + 3, placed.top + 3, self.width, placed.height, "box", 4))
        self.over.append(_rect(self.left, placed.top, self.width, placed.height, kind, 4, fill))
        for number, line in enumerate(placed.lines):
            name = f'<tspan class="name">{escape(box.block)}</tspan>  ' if box.block and not number else ""
            self.over.append(_markup(self.left + 8, placed.top + 16 + LINE * number, name + escape(line)))
        self._say(self.left + self.width - 8, placed.top + 16, _corner(box), "end")
        self.over.append("</g>")
        if box.optional:
            self._bypass(placed)

    def _bypass(self, placed: _Placed) -> None:
        top, bottom, x = placed.top - 10, placed.bottom + 8, self.left - ARC
        self.over.append(
            f'<path d="M{self.center:g} {top:g}H{x + 5:g}Q{x:g} {top:g} {x:g} {top + 5:g}V{bottom - 5:g}'
            f'Q{x:g} {bottom:g} {x + 5:g} {bottom:g}H{self.center:g}" class="line dash"/>'
        )

    # --------------------------------------------------------------------------------------------- edges

    def _arrow(self, top: float, bottom: float, label: str, at: float | None = None) -> None:
        """A line down to a box, with a shape beside it whose foot is at `at`, by default in the middle."""
        self._line(f"M{self.center:g} {top:g}V{bottom:g}")
        self._say(self.center + 6, (top + bottom) / 2 + 3 if at is None else at, label, "shape")

    def _side_edges(self, group: Group, before: str) -> None:
        """The lines that come to a stage from others than the one before it."""
        boxes = self.placed[group.name]
        if group.source not in ("", before):
            y = boxes[0].top - PAD - 9
            self._line(f"{self._lane(group.source)}V{y:g}H{self.center:g}V{boxes[0].top:g}")
            self._say(self.center + 6, y - 4, boxes[0].box.input, "shape")
        for name in group.uses:
            for placed in boxes:
                self._line(f"{self._lane(name)}V{placed.middle - 4:g}H{self.left + self.width:g}")

    def _lane(self, source: str) -> str:
        """The line from a stage to where it turns down."""
        start = self.placed[source][-1].middle + 4
        return f"M{self.left + self.width:g} {start:g}H{self.right + LANE * (self.lanes[source][0] + 1):g}"

    def _line(self, path: str) -> None:
        self.over.append(f'<path d="{path}" class="line" marker-end="url(#tip)"/>')

    def _say(self, x: float, y: float, text: str, kind: str) -> None:
        if text:
            self.over.append(_markup(x, y, escape(text), kind))


def _lanes(groups: Sequence[Group]) -> dict[str, tuple[int, int]]:
    """For each stage that leads to others than the next: its lane, and the place of the last stage it leads to."""
    position = {group.name: at for at, group in enumerate(groups)}
    last: dict[str, int] = {}
    for before, (at, group) in zip(["", *position], enumerate(groups), strict=False):
        for name in {*group.uses, group.source} & position.keys() - ({before} - set(group.uses)):
            last[name] = at
    lanes: dict[str, tuple[int, int]] = {}
    for name in sorted(last, key=lambda name: position[name]):
        taken = {lane for lane, end in lanes.values() if end >= position[name]}
        lanes[name] = next(number for number in range(len(groups) + 1) if number not in taken), last[name]
    return lanes


# ------------------------------------------------------------------------------------------------- text


def _wanted(box: Box) -> float:
    """Pixels of a box whose text is on one line, its alternatives on one each."""
    first = length(box.block, bold=True) + length("  ".join(("", *box.phrases))) + length(_corner(box)) + 40
    return max(first, *(length(row) + 40 for row in box.rows)) if box.rows else first


def _lines(box: Box, width: float) -> list[str]:
    """The lines of a box, the first of them beside the block's name."""
    taken = length(box.block, bold=True) + (length(_corner(box)) + 14 if _corner(box) else 0)
    first, *others = list(_wrapped(box.phrases, width - 22, "  " if box.block else " ", taken)) or [""]
    return [first, *others, *(line for row in box.rows for line in _wrapped(row.split("  "), width - 36, "  "))]


def _wrapped(phrases: Sequence[str], width: float, between: str, taken: float = 0.0) -> Iterator[str]:
    """Phrases in lines; of the first line `taken` pixels are not free."""
    line = ""
    free = width - taken
    for phrase in phrases:
        longer = f"{line}{between}{phrase}" if line else phrase
        if length(longer) > free and (line or free < width):
            yield line
            line, free = phrase, width
        else:
            line = longer
    yield line


def _corner(box: Box) -> str:
    """What stands at a box's right: how many layers it is, and in how many ways each can be built."""
    count = f"× {len(box.layers)}" if len(box.layers) > 1 else ""
    return ", ".join(filter(None, (count, box.ways)))


def _beneath(group: Group) -> str:
    """What stands under a stage's name."""
    return ", ".join(filter(None, (f"× {group.depth}" if group.depth else "", "output" if group.output else "")))


def _title(box: Box) -> str:
    return f"{', '.join(box.layers)}: {box.block} {'  '.join(box.phrases)}, {box.input} to {box.output}"


def _tint(color: str) -> str:
    """A colour so light that black text on it is read in print."""
    parts = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * 0.28):02x}" for part in parts)


def _markup(x: float, y: float, inside: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{name} xml:space="preserve">{inside}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str, radius: int, more: str = "") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" class="{kind}"{more}/>'


def _page(width: float, height: float, title: str, lines: Sequence[str]) -> str:
    style = (
        f"text{{font:{SIZE}px {FONT};fill:#111}}.title{{font-size:15px;font-weight:bold}}.name{{font-weight:bold}}"
        ".note,.shape,.end{fill:#444}.shape{font-size:10px}.end{text-anchor:end}.middle{text-anchor:middle}"
        ".stage{fill:#f3f3f3;stroke:#bbb;stroke-width:.8}.box{fill:#fff;stroke:#222}.pill{fill:#fff;stroke:#222}"
        ".line{fill:none;stroke:#222}.dash{stroke-dasharray:4 3}"
    )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 1L8 4L0 7z" fill="#222"/></marker></defs>'
    )
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    sheet = f'<title>{escape(title)}</title><style>{style}</style>{tip}<rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join([head, sheet, *lines, "</svg>", ""])
