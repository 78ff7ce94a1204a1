"""From text to syntax tree. Every syntax error of a text is found in one run, and none raises an exception."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Source, Span
from nasc.dsl.edition import is_known
from nasc.dsl.read import MAXIMUM_BYTES, read_text

if TYPE_CHECKING:
    from lark import Token, Tree

MAXIMUM_DEPTH = 200  # levels of the tree: far above any use, and far below Python's own limit on recursion


def parse(text: str, name: str = "<text>") -> tuple[syntax.File, Diagnostics]:
    """Parse a file's text. `name` is what diagnostics call it.

    With errors the tree holds what could be understood: enough to check further, not to compile. A text of an edition
    that is not known is not looked at, and gives an empty tree.
    """
    diagnostics = Diagnostics()
    source = Source(name, _normalised(text))
    node = _node(source, "start", diagnostics) if is_known(source, diagnostics) else None
    file = node if isinstance(node, syntax.File) else _empty(source)
    return file, diagnostics


def parse_file(path: Path | str) -> tuple[syntax.File, Diagnostics]:
    """Parse a file. One that cannot be read gives an empty tree and the reason."""
    diagnostics = Diagnostics()
    text = read_text(Path(path), diagnostics)
    return (_empty(Source(str(path), "")), diagnostics) if text is None else parse(text, str(path))


def parse_setting(text: str, name: str = "<setting>") -> syntax.Value:
    """Parse a single value, as `--set kernel={3,5}` has it. Raises `DiagnosticError`."""
    diagnostics = Diagnostics()
    node = _node(Source(name, _normalised(text)), "setting", diagnostics)
    diagnostics.raise_errors()
    return cast(syntax.Value, node)


def _normalised(text: str) -> str:
    """Drop a byte order mark, end every line with a line feed alone."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _empty(source: Source) -> syntax.File:
    return syntax.File(span=Span(source, 0, len(source.text)), source=source, version=None, items=())


def _node(source: Source, start: str, diagnostics: Diagnostics) -> Any:
    """Parse, and build the syntax tree; None where nothing was understood."""
    if len(source.text) > MAXIMUM_BYTES:
        diagnostics.add("E0204", f"the text is longer than {MAXIMUM_BYTES} characters", None)
        return None
    from nasc.dsl.build_tree import build
    from nasc.dsl.check_tokens import comments, is_sound
    from nasc.dsl.recovery import Recovery
    from nasc.dsl.tokens import tokens

    found = tokens(source, start, diagnostics)
    if not is_sound(found, source, diagnostics):
        return None
    tree = Recovery(source, start, diagnostics, found).parse()
    flat = tree is not None and _is_flat_enough(tree, source, diagnostics)
    node = build(tree, source, diagnostics, comments(found, source)) if tree is not None and flat else None
    diagnostics.found.sort(key=lambda diagnostic: diagnostic.span.start if diagnostic.span else len(source.text))
    return node


def _is_flat_enough(tree: Tree[Token], source: Source, diagnostics: Diagnostics) -> bool:
    """Refuse a tree that recursive passes could not walk; a long chain of operators is as deep as it is long."""
    level = [tree]
    for _ in range(MAXIMUM_DEPTH):
        below = [child for node in level for child in node.children if hasattr(child, "children")]
        if not below:
            return True
        level = cast("list[Tree[Token]]", below)
    meta = level[0].meta
    span = Span(source, 0, 0) if meta.empty else Span(source, meta.start_pos, meta.end_pos)
    diagnostics.add("E0105", "this expression is nested too deeply", span, help="give parts of it names of their own")
    return False
