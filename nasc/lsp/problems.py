"""Errors and warnings as editors show them."""

from __future__ import annotations

from pathlib import Path

from lsprotocol.types import (
    Diagnostic,
    DiagnosticRelatedInformation,
    DiagnosticSeverity,
    DiagnosticTag,
    Location,
    Position,
)
from lsprotocol.types import Range as Place

from nasc.compiler.check import Checked
from nasc.dsl import diagnostics, syntax
from nasc.dsl.codes import CODES
from nasc.dsl.diagnostics import Span
from nasc.lsp.document import Document, Version
from nasc.lsp.positions import Lines, uri_of

UNUSED = frozenset({"W0402", "W0401", "E0311"})


def problems(document: Document, version: Version, checked: Checked) -> list[Diagnostic]:
    """All errors and warnings of a text; those of imported files stand at the import."""
    return [_problem(document, version, found) for found in checked.diagnostics.found]


def bug(error: Exception) -> Diagnostic:
    """What is shown where checking itself failed."""
    start = Position(0, 0)
    message = f"this is a bug in nasc: {type(error).__name__}: {error}"
    return Diagnostic(Place(start, start), message, severity=DiagnosticSeverity.Error, source="nasc")


def _problem(document: Document, version: Version, found: diagnostics.Diagnostic) -> Diagnostic:
    info = CODES.get(found.code)
    about = {"title": info.title, "explanation": info.explanation, "mend": info.mend} if info else {}
    related = [_related(document, version, label.span, label.text) for label in found.labels]
    if found.span is not None and found.span.source is not version.module.file.source:
        related.insert(0, _related(document, version, found.span, found.note or "it is here"))
    severity = DiagnosticSeverity.Warning if found.severity == "warning" else DiagnosticSeverity.Error
    return Diagnostic(
        range=_place(document, version, found.span),
        message=_message(found),
        severity=severity,
        code=found.code,
        source="nasc",
        tags=[DiagnosticTag.Unnecessary] if found.code in UNUSED else None,
        related_information=[r for r in related if r is not None] or None,
        data={"help": found.help, "text": found.message, **about},
    )


def _message(found: diagnostics.Diagnostic) -> str:
    lines = [found.message, found.note, f"help: {found.help}" if found.help else ""]
    return "\n".join(line for line in lines if line)


def _place(document: Document, version: Version, span: Span | None) -> Place:
    """The place in this text: that of the import for what is wrong in another file."""
    if span is None:
        return version.lines.range(0, 0)
    if span.source is version.module.file.source:
        return version.lines.of(span)
    imports = [item for item in version.module.file.items if isinstance(item, syntax.Import)]
    path = Path(span.source.name).absolute()
    direct = (i for i in imports if (document.path.parent / i.path).absolute() == path)
    item = next(direct, imports[0] if imports else None)
    return version.lines.of(item.span) if item is not None else version.lines.range(0, 0)


def _related(document: Document, version: Version, span: Span, text: str) -> DiagnosticRelatedInformation | None:
    if span.source is version.module.file.source:
        return DiagnosticRelatedInformation(Location(document.uri, version.lines.of(span)), text)
    uri = uri_of(span.source)
    place = Lines(span.source.text, version.encoding).of(span)
    return DiagnosticRelatedInformation(Location(uri, place), text) if uri is not None else None
