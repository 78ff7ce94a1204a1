"""Changed items of a space put into the text they were read from: comments, sections and all else stay as written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nasc.compiler.member import used_blocks
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span
from nasc.dsl.format import format_text, noted, print_file
from nasc.dsl.loader import Module
from nasc.dsl.parser import parse

Edit = tuple[int, int, str]


def spliced(module: Module, items: Sequence[syntax.SpaceItem], network: bool, note: str) -> str:
    """The text of a module's file with other items in its space, laid out anew.

    An item that is in the file already stays in its place; a new one goes before the item that it stands before, with
    the comments that were inside the one it replaces. What the file imports is copied in. `note` is a comment at the
    top.
    """
    file, space = module.file, module.space
    assert space is not None
    edits = [
        *_heads(space, network),
        *_imports(module, replace(space, items=tuple(items))),
        *_items(file, space, items),
    ]
    text = format_text(_applied(file.source.text, edits))
    return format_text(noted(parse(text)[0], text, note)) if note else text


def _applied(text: str, edits: Sequence[Edit]) -> str:
    for start, end, new in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _heads(space: syntax.Space, network: bool) -> list[Edit]:
    """The word in front of the space's name."""
    old, new = ("network" if n else "space" for n in (space.network, network))
    return [(space.span.start, space.span.start + len(old), new)]


def _imports(module: Module, space: syntax.Space) -> list[Edit]:
    """The blocks that are used, in the place of the first import."""
    imports = [item for item in module.file.items if isinstance(item, syntax.Import)]
    if not imports:
        return []
    own = {item.name for item in module.file.items if isinstance(item, syntax.Block)}
    blocks = tuple(block for block in used_blocks(space, module) if block.name not in own)
    text = print_file(replace(module.file, items=blocks)).partition("\n")[2] if blocks else ""
    places = [(item.span.start, item.span.end) for item in imports]
    return [(start, end, text if n == 0 else "") for n, (start, end) in enumerate(places)]


def _items(file: syntax.File, space: syntax.Space, items: Sequence[syntax.SpaceItem]) -> list[Edit]:
    """What changes between the items of the file and the new ones; an item that replaces another has its span."""
    edits: list[Edit] = []
    left = {item.span.start: item for item in items if not isinstance(item, syntax.Let)}
    lets = {item.name: item for item in items if isinstance(item, syntax.Let)}
    for item in space.items:
        made = lets.pop(item.name, None) if isinstance(item, syntax.Let) else left.get(item.span.start)
        if made is None:
            edits.append((item.span.start, item.span.end, ""))
        elif made != item:
            edits.append((item.span.start, item.span.end, f"{_comments(file, item.span)}{_printed(file, made)}"))
    for let in lets.values():
        edits.append((let.span.start, let.span.start, f"{_printed(file, let)}\n\n"))
    return edits


def _comments(file: syntax.File, span: Span) -> str:
    """The comments inside an item, to stand above what replaces it."""
    found = [c.span for c in file.comments if span.start < c.span.start < span.end]
    return "".join(f"{file.source.text[c.start : c.end].rstrip()}\n" for c in found)


def _printed(file: syntax.File, item: syntax.SpaceItem) -> str:
    """One item of a space as text."""
    space = syntax.Space(span=file.span, name="space_of_one", network=False, items=(item,), name_span=file.span)
    text = print_file(syntax.File(span=file.span, source=file.source, version=1, items=(space,)))
    return text.split("{\n", 1)[1].rsplit("\n}", 1)[0].strip()
