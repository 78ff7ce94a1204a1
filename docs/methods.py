"""Writes the tables of docs/methods.md: each method's options, as their models have them.

A table stands between `<!-- options of NAME -->` and `<!-- end -->`; all else of the page is written by hand. Run by
`make status`; a test fails while a table is older than the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nasc.compiler.methods.plugins import OWN
from nasc.compiler.methods.values import Optimizer, Options, Schedule

PAGE = Path(__file__).resolve().parent / "methods.md"
_TABLE = re.compile(r"(<!-- options of (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with every table written anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{options_table(OWN[found[2]].options)}", text)


def options_table(model: type[Options]) -> str:
    """The options of a section: each with its default as a file would state it, its meaning, and its source."""
    lines = ["| option | default | meaning | source |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in _rows(model)]
    return "\n".join([*lines, ""])


def _rows(model: type[Options]) -> Iterator[tuple[str, ...]]:
    defaults = model()
    for name, field in model.model_fields.items():
        meaning, _, source = (field.description or "").rpartition("; ")
        yield f"`{field.alias or name}`", f"`{written(getattr(defaults, name))}`", meaning, source


def written(value: Any) -> str:
    """A value as a `search` section states it."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case tuple():
            return written(value[0]) if len(value) == 1 else f"{{{', '.join(map(written, value))}}}"
        case Schedule():
            return f"{written(value.first)} .. {written(value.last)}"
        case Optimizer():
            parts = value.model_dump(exclude={"kind"}, exclude_none=True)
            return f"{value.kind} {{ {'  '.join(f'{name} {written(part)}' for name, part in parts.items())} }}"
    return str(value)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
