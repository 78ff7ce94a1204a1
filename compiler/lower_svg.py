"""A network's outline as an SVG picture: one bar per layer, as wide as its channels, as tall as its share of a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from nasc.compiler.outline import Row

PALETTE = ("#4878a8", "#e0903c", "#5f9e52", "#c2554f", "#8b6bb0", "#8a6a4f", "#c77ab0", "#7a7a7a", "#a8a13a", "#3fa0ac")
"""Fills for blocks, in the order in which they come."""
ROW, BAR, LEFT, TOP = 26, 18, 150, 64
WIDEST = 320
"""Pixels of the widest bar."""


def draw(title: str, rows: Sequence[Row]) -> str:
    """The picture as SVG text. Bars are as long as the layer's output has channels (a range: dark up to its least)."""
    widths = [channels(row.output) for row in rows]
    scale = WIDEST / max((high for _, high in widths), default=1)
    colors = {block: PALETTE[i % len(PALETTE)] for i, block in enumerate(dict.fromkeys(row.block for row in rows))}
    lines = [_text(12, 26, title, "title"), _text(12, 46, "bar: channels out of the layer", "note")]
    stage = ""
    for at, (row, (low, high)) in enumerate(zip(rows, widths, strict=True)):
        top = TOP + at * ROW
        name = row.layer.rsplit(".", 1)[0]
        if name != stage:
            stage = name
            lines.append(f'<line x1="12" y1="{top - 4}" x2="{_page(rows) - 12}" y2="{top - 4}" class="rule"/>')
            lines.append(_text(12, top + 13, name, "stage"))
        lines += _bar(row, top, low * scale, high * scale, colors[row.block])
    height = TOP + len(rows) * ROW + 12
    return _page_text(_page(rows), height, title, lines)


def channels(shape: str) -> tuple[int, int]:
    """Least and most channels in the text of a shape, `(32 .. 512 step 32) x 7 x 7`, `16 x 8 x 8` or `197 x 64`."""
    ranged = re.search(r"\((\d+)[^)]*?(\d+)(?: step \d+)?[)}]", shape)
    if ranged:
        return int(ranged[1]), int(ranged[2])
    sizes = [int(size) for size in re.findall(r"\d+", shape)]
    if not sizes:
        return 0, 0
    width = sizes[1] if len(sizes) == 2 else sizes[0]
    return width, width


def _bar(row: Row, top: float, low: float, high: float, color: str) -> list[str]:
    dash = ' stroke-dasharray="4 3"' if row.skippable else ""
    label = f"{row.block}  {row.output}" + (f"   {row.choices}" if row.choices else "")
    return [
        f"<g><title>{escape(f'{row.layer}: {row.block}, {row.input} to {row.output}. {row.choices}')}</title>",
        _text(LEFT - 12, top + 13, row.layer.rsplit(".", 1)[-1] if "." in row.layer else "", "index"),
        f'<rect x="{LEFT}" y="{top}" width="{max(high, 2):.1f}" height="{BAR}" rx="3" fill="{color}" '
        f'fill-opacity="0.3" stroke="{color}"{dash}/>',
        f'<rect x="{LEFT}" y="{top}" width="{max(low, 2):.1f}" height="{BAR}" rx="3" fill="{color}"/>',
        _text(LEFT + WIDEST + 14, top + 13, label, "label"),
        "</g>",
    ]


def _page(rows: Sequence[Row]) -> int:
    longest = max((len(f"{r.block}  {r.output}   {r.choices}") for r in rows), default=0)
    return int(LEFT + WIDEST + 14 + longest * 6.7 + 20)


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _page_text(width: int, height: int, title: str, lines: list[str]) -> str:
    style = (
        "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#222}"
        ".title{font-size:16px;font-weight:bold}.note,.index{fill:#777}.index{text-anchor:end}.stage{font-weight:bold}"
        ".rule{stroke:#ddd}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    sheet = f'<title>{escape(title)}</title><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join([head, sheet, *lines, "</svg>", ""])
