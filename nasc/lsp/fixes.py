"""Quick fixes: the mends that a diagnostic names, as edits of the text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from lark import Token
from lsprotocol.types import CodeAction, CodeActionKind, Diagnostic, TextEdit, WorkspaceEdit

from nasc.dsl import syntax
from nasc.dsl.walk import walk
from nasc.lsp.document import Document, Version

_MEANT = re.compile(r"did you mean `([^`]+)`\?")
_QUOTED = re.compile(r"`([^`]+)`")
Edit = tuple[int, int, str]


def fixes(document: Document, found: list[Diagnostic]) -> list[CodeAction]:
    """The quick fixes of diagnostics that were published before, for the text as it is now."""
    version = document.version
    actions: list[CodeAction] = []
    for diagnostic in found:
        if diagnostic.source == "nasc" and isinstance(diagnostic.data, dict):
            for title, edit in _fixes(version, diagnostic, diagnostic.data):
                actions.append(_action(document, version, diagnostic, title, edit))
    return actions


def _action(document: Document, version: Version, diagnostic: Diagnostic, title: str, edit: Edit) -> CodeAction:
    start, end, text = edit
    changes = {document.uri: [TextEdit(version.lines.range(start, end), text)]}
    return CodeAction(
        title,
        kind=CodeActionKind.QuickFix,
        diagnostics=[diagnostic],
        is_preferred=True,
        edit=WorkspaceEdit(changes=changes),
    )


def _fixes(version: Version, diagnostic: Diagnostic, data: dict[str, object]) -> Iterator[tuple[str, Edit]]:
    help, text = str(data.get("help") or ""), str(data.get("text") or "")
    start, end = (version.lines.offset(p) for p in (diagnostic.range.start, diagnostic.range.end))
    meant = _MEANT.search(help)
    if meant is not None:
        word = _wrong_word(version, start, end, meant.group(1), text)
        if word is not None:
            place = (word.start_pos or 0, word.end_pos or 0)
            yield f"Change `{word}` to `{meant.group(1)}`", (*place, meant.group(1))
    if help.startswith("remove") or diagnostic.code == "E0316":
        removed = _removed(version, start, end)
        if removed is not None:
            yield f"Remove `{_shown(version.text[start:end])}`", (*removed, "")
    if diagnostic.code == "E0346":
        for join in ("add", "concat"):
            yield f"Join by `{join}`", _joined(version, start, end, join)
    if diagnostic.code == "E0370" and version.module.space is not None:
        word = version.names.words.first(version.module.space.span, "NETWORK")
        if word is not None:
            yield "Write `space` for `network`", (word.start_pos or 0, word.end_pos or 0, "space")
    if diagnostic.code == "E0103" or (diagnostic.code == "E0102" and " is missing before " in text):
        sign = _QUOTED.match(text)
        if sign is not None and text.startswith(f"`{sign.group(1)}` is missing"):
            yield f"Insert `{sign.group(1)}`", (start, start, f"{sign.group(1)} ")


def _shown(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 40 else f"{words[:39]}…"


def _wrong_word(version: Version, start: int, end: int, meant: str, message: str) -> Token | None:
    """The word that was meant to be another one: that the message quotes and that is nearest to it."""
    quoted = set(_QUOTED.findall(message))
    found = [t for t in version.names.words.all if start <= (t.start_pos or 0) and (t.end_pos or 0) <= end]
    near = [t for t in found if t != meant and (t in quoted or any(str(t) in q.split(".") for q in quoted))]
    near = near or [t for t in found if t != meant]
    return max(near, key=lambda t: difflib.SequenceMatcher(None, str(t), meant).ratio(), default=None)


def _joined(version: Version, start: int, end: int, join: str) -> Edit:
    found = version.text[start:end]
    return (start, end, f"{found[: found.rindex('}') + 1]} by {join}") if "}" in found else (end, end, f" by {join}")


def _removed(version: Version, start: int, end: int) -> tuple[int, int] | None:
    """What goes with the phrase at a place: its line where it stands alone, else a comma or blank beside it."""
    text = version.text
    for node in walk(version.module.file):
        named = isinstance(node, syntax.Property | syntax.Block) and node.name_span.start == start
        if named and node.span.end != end:
            start, end = node.span.start, node.span.end
    before = text.rfind("\n", 0, start) + 1
    after = text.find("\n", end)
    after = len(text) if after < 0 else after
    if not text[before:start].strip() and not text[end:after].strip():
        return before, min(after + 1, len(text))
    comma = re.compile(r"\s*,\s*")
    ahead = comma.match(text, end)
    if ahead is not None:
        return start, ahead.end()
    behind = re.search(r"\s*,\s*\Z", text[before:start])
    if behind is not None:
        return before + behind.start(), end
    blanks = len(text[end:after]) - len(text[end:after].lstrip(" "))
    return start, end + blanks
