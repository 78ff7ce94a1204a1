"""What a report's page is made of: headed sections, tables and pictures, every word from a file escaped.

Pictures are images inside the page, so that nothing a file says can become a part of it, and it needs no network.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nasc.dsl.diagnostics import NascError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_JSON = 4 << 20
_LARGEST = 1e300
_LAST_GLYPH = 0x52F
"""Up to here, Latin, Greek and Cyrillic, matplotlib's own font has the letters."""
_STYLE = (
    "body{font:15px system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .9em .25em 0;text-align:left;"
    "border-bottom:1px solid #ddd}figure{margin:1em 0}img{max-width:100%}figcaption{color:#777}"
    "pre{background:#f6f6f6;padding:1em;overflow:auto}"
)


@dataclass(frozen=True)
class Link:
    """A table's cell that leads to another page, `target` relative to this one."""

    text: str
    target: str


def page(title: str, sections: Sequence[str]) -> bytes:
    """The whole page."""
    name = escape(title)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style>'
    # JSON can hold halves of surrogate pairs, which no encoding has.
    return "\n".join([head, f"<h1>{name}</h1>", *sections, "</html>", ""]).encode("utf-8", "replace")


def picture(svg: str, caption: str) -> str:
    """A picture with its caption, which is also what is read out instead of it."""
    data = base64.b64encode(svg.encode("utf-8", "replace")).decode()
    text = escape(caption, quote=True)
    return f'<figure><img alt="{text}" src="data:image/svg+xml;base64,{data}"><figcaption>{text}</figcaption></figure>'


def table(head: Sequence[str], rows: Sequence[Sequence[str | Link]]) -> str:
    """A table; a head of empty words is left out."""

    def line(cells: Sequence[str | Link], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in cells) + "</tr>"

    top = [line(head, "th")] if any(head) else []
    return "\n".join(["<table>", *top, *(line(row, "td") for row in rows), "</table>"])


def _cell(cell: str | Link) -> str:
    if isinstance(cell, str):
        return escape(cell)
    # `./` keeps a name such as `javascript:…` a path.
    return f'<a href="./{escape(quote(cell.target, errors="replace"), quote=True)}">{escape(cell.text)}</a>'


def said(value: Any) -> str:
    """A value of a JSON file as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, dict) and set(value) == {"min", "max"}:
        return f"{said(value['min'])} .. {said(value['max'])}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"[:200]
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:200]


def svg_of(figure: Figure) -> str:
    """The figure as SVG, the same bytes for the same figure."""
    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "nasc", "svg.fonttype": "path"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def plain(name: object) -> str:
    """A name as a picture shows it: matplotlib would read dollars as mathematics, and SVG has no control characters."""
    text = str(name)[:60].replace("$", "")
    return "".join(letter if ord(letter) <= _LAST_GLYPH else "?" for letter in text if letter.isprintable())


def is_number(value: object) -> bool:
    """Is it a finite number that a picture can show?"""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def read_json(path: Path) -> Any:
    """A small JSON file. Raises `NascError` where it cannot be read."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise NascError(f"{path} is larger than {MAX_JSON >> 20} MiB")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NascError(f"{path} cannot be read: {error}") from None
