"""A file's shape: its symbols, what can be folded, the colours of its names, and its canonical layout."""

from __future__ import annotations

from collections.abc import Iterator

from lsprotocol.types import (
    DocumentSymbol,
    FoldingRange,
    FoldingRangeKind,
    Position,
    Range,
    SemanticTokensLegend,
    SemanticTokenTypes,
    SymbolKind,
    TextEdit,
)

from nasc.dsl import syntax
from nasc.dsl.diagnostics import DiagnosticError, Span
from nasc.dsl.format import format_text
from nasc.lsp.document import Document, Version

TYPES = {
    "block": SemanticTokenTypes.Class,
    "primitive": SemanticTokenTypes.Function,
    "parameter": SemanticTokenTypes.Parameter,
    "local": SemanticTokenTypes.Variable,
    "let": SemanticTokenTypes.Variable,
    "stage": SemanticTokenTypes.Namespace,
    "space": SemanticTokenTypes.Type,
    "attribute": SemanticTokenTypes.Keyword,
    "method": SemanticTokenTypes.Type,
    "target": SemanticTokenTypes.Type,
    "option": SemanticTokenTypes.Property,
}
_ORDER = list(dict.fromkeys(TYPES.values()))
LEGEND = SemanticTokensLegend([kind.value for kind in _ORDER], ["definition"])


def document_symbols(version: Version) -> list[DocumentSymbol]:
    """Blocks, the space with its `let`s and stages, and the sections."""
    return [symbol for item in version.asked.file.items for symbol in _symbols(version, item)]


def _symbols(version: Version, item: syntax.Node) -> Iterator[DocumentSymbol]:
    match item:
        case syntax.Block():
            yield _symbol(version, item.name, SymbolKind.Class, item.span, item.name_span)
        case syntax.Section():
            yield _symbol(version, f"{item.kind} {item.name}", SymbolKind.Object, item.span, item.name_span)
        case syntax.Stage():
            yield _symbol(version, item.name, SymbolKind.Field, item.span, item.name_span)
        case syntax.Let():
            yield _symbol(version, item.name, SymbolKind.Variable, item.span, item.span)
        case syntax.Head():
            yield _symbol(version, "head", SymbolKind.Field, item.span, item.span)
        case syntax.Space():
            space = _symbol(version, item.name, SymbolKind.Namespace, item.span, item.name_span)
            space.children = [symbol for child in item.items for symbol in _symbols(version, child)]
            yield space


def _symbol(version: Version, name: str, kind: SymbolKind, span: Span, place: Span) -> DocumentSymbol:
    lines = version.lines
    return DocumentSymbol(name=name or "?", kind=kind, range=lines.of(span), selection_range=lines.of(place))


def folds(version: Version) -> list[FoldingRange]:
    """Phrases of several lines, and comments of several lines."""
    found = [_fold(version, span) for span in _phrases(version.asked.file)]
    run: list[int] = []
    for comment in version.asked.file.comments:
        line = version.lines.position(comment.span.start).line
        if not version.lines.line(line).lstrip().startswith("//"):
            continue
        if run and line != run[-1] + 1:
            found.append(FoldingRange(run[0], run[-1], kind=FoldingRangeKind.Comment))
            run = []
        run.append(line)
    if run:
        found.append(FoldingRange(run[0], run[-1], kind=FoldingRangeKind.Comment))
    return [fold for fold in found if fold.end_line > fold.start_line]


def _phrases(file: syntax.File) -> Iterator[Span]:
    for item in file.items:
        yield item.span
        for child in item.items if isinstance(item, syntax.Space) else ():
            yield child.span


def _fold(version: Version, span: Span) -> FoldingRange:
    """The last line, with the closing brace, stays to be seen."""
    place = version.lines.of(span)
    closes = version.lines.line(place.end.line).lstrip().startswith("}")
    return FoldingRange(place.start.line, place.end.line - closes, kind=FoldingRangeKind.Region)


def semantic_tokens(version: Version) -> list[int]:
    """Five numbers for each name: lines and columns from the one before, its length, type, and whether it defines."""
    data: list[int] = []
    line = column = 0
    for place in version.names.found:
        kind = TYPES.get(place.symbol.kind)
        if kind is None:
            continue
        at = version.lines.position(place.start)
        length = version.lines.units(version.text[place.start : place.end])
        data += [at.line - line, at.character - (column if at.line == line else 0), length]
        data += [_ORDER.index(kind), int(place.defines)]
        line, column = at.line, at.character
    return data


def format_document(document: Document) -> list[TextEdit]:
    """The edit that brings the text into the canonical layout; none for a text with syntax errors."""
    version = document.version
    try:
        new = format_text(version.text, str(document.path))
    except DiagnosticError:
        return []
    old = version.text
    if new == old:
        return []
    before, after = old.split("\n"), new.split("\n")
    most = min(len(before), len(after))
    same = next((i for i in range(most) if before[i] != after[i]), most)
    tail = next((i for i in range(most - same) if before[-1 - i] != after[-1 - i]), most - same)
    if tail == 0 or same == most:  # the last line changes too, or lines only come or go at the end
        return [TextEdit(version.lines.range(0, len(old)), new)]
    place = Range(Position(same, 0), Position(len(before) - tail, 0))
    return [TextEdit(place, "".join(f"{line}\n" for line in after[same : len(after) - tail]))]
