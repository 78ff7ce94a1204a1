"""A space's file as one text that needs no other: what it imports is copied in."""

from __future__ import annotations

from nasc.compiler.member import used_blocks
from nasc.compiler.opened import Checked, space_of
from nasc.dsl import syntax


def standalone_text(checked: Checked) -> str:
    """The file with its settings applied, its space first; `search` and `target` sections stay with the folder."""
    from nasc.dsl.format import print_file

    space = space_of(checked).syntax
    blocks = used_blocks(space, checked.module)
    return print_file(syntax.File(span=space.span, source=space.span.source, version=1, items=(*blocks, space)))
