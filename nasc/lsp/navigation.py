"""From a name to its definition and its uses, and to another name."""

from __future__ import annotations

import re

from lsprotocol.types import (
    DocumentHighlight,
    DocumentHighlightKind,
    Location,
    Position,
    PrepareRenamePlaceholder,
    Range,
    TextEdit,
    WorkspaceEdit,
)
from pygls import uris

from nasc.compiler.check import check
from nasc.compiler.check_names import WORDS
from nasc.compiler.opened import load_file
from nasc.compiler.primitives import NAMES
from nasc.dsl.diagnostics import NascError, Span
from nasc.dsl.grammar_cache import parser
from nasc.lsp.document import Document, Version
from nasc.lsp.names import Occurrence, Symbol
from nasc.lsp.positions import Lines, uri_of

RENAMED = ("block", "parameter", "local", "let", "stage", "space", "target")


def definition(document: Document, position: Position) -> list[Location]:
    """Where the name at a place is defined: here, in an imported file, or in the block library."""
    version = document.version
    place = _at(version, position)
    found: list[Location] = []
    for symbol in place.symbols if place is not None else ():
        here = version.names.definition(symbol)
        if here is not None:
            found.append(Location(document.uri, _range(version, here)))
        elif symbol.kind == "import":
            path = document.path.parent / symbol.name
            found += [Location(uris.from_fs_path(str(path)) or "", Range(Position(0, 0), Position(0, 0)))]
        else:
            found += _elsewhere(version, symbol)
    return found


def _elsewhere(version: Version, symbol: Symbol) -> list[Location]:
    """The place of a block or parameter that another file defines."""
    block = version.asked.blocks.get(symbol.owner or symbol.name)
    if block is None or symbol.kind not in ("block", "parameter"):
        return []
    span: Span = block.name_span
    if symbol.kind == "parameter":
        span = next((p.span for p in block.parameters if p.name == symbol.name), span)
    uri = uri_of(span.source)
    return [Location(uri, Lines(span.source.text, version.encoding).of(span))] if uri is not None else []


def references(document: Document, position: Position, declaration: bool) -> list[Location]:
    """The places of this file where the name at a place stands."""
    version = document.version
    found = _same(version, position)
    return [Location(document.uri, _range(version, o)) for o in found if declaration or not o.defines]


def highlights(document: Document, position: Position) -> list[DocumentHighlight]:
    """The same places, for the editor to mark."""
    kinds = {True: DocumentHighlightKind.Write, False: DocumentHighlightKind.Read}
    version = document.version
    return [DocumentHighlight(_range(version, o), kinds[o.defines]) for o in _same(version, position)]


def _at(version: Version, position: Position) -> Occurrence | None:
    return version.names.at(version.lines.offset(position))


def _same(version: Version, position: Position) -> list[Occurrence]:
    place = _at(version, position)
    return version.names.of(place.symbols) if place is not None else []


def _range(version: Version, place: Occurrence) -> Range:
    return version.lines.range(place.start, place.end)


# ------------------------------------------------------------------------------------------------- renaming


def prepare_rename(document: Document, position: Position) -> PrepareRenamePlaceholder:
    """The name that would be renamed. Raises `NascError` for what this file cannot rename."""
    version = document.version
    place, _ = _renamed(version, position)
    return PrepareRenamePlaceholder(_range(version, place), version.text[place.start : place.end])


def rename(document: Document, position: Position, name: str) -> WorkspaceEdit:
    """The name at a place made another one, everywhere in the file.

    Raises `NascError` for what this file does not define, for a name that is taken or none, and where the file would
    mean something else.
    """
    version = document.version
    place, places = _renamed(version, position)
    old = version.text[place.start : place.end]
    _free(version, place.symbol, name)
    edits = [TextEdit(_range(version, o), name) for o in places]
    if name != old:
        _proved(document, version, places, name)
    return WorkspaceEdit(changes={document.uri: edits})


def _renamed(version: Version, position: Position) -> tuple[Occurrence, list[Occurrence]]:
    """A name's place and all places that change with it."""
    place = _at(version, position)
    if place is None or place.symbol.kind not in RENAMED:
        raise NascError("there is no name here that can be changed")
    for symbol in place.symbols:
        if version.names.definition(symbol) is None:
            owner = f" of `{symbol.owner}`" if symbol.owner else ""
            raise NascError(f"`{symbol.name}`{owner} is not defined in this file, so it cannot be renamed here")
    places = version.names.of([place.symbol])
    shared = next((s for o in places for s in o.symbols if s != place.symbol), None)
    if shared is not None:
        message = f"`{shared.name}` also gives a value to `{shared.owner}`, which would lose it"
        raise NascError(message, help="give each block its own value first")
    return place, places


def _free(version: Version, symbol: Symbol, name: str) -> None:
    """Refuse what is no name, and names that have a meaning."""
    terminal = next(t for t in parser().terminals if t.name == "NAME")
    if not re.fullmatch(terminal.pattern.to_regexp(), name):
        raise NascError(f"`{name}` is no name: a name has letters, digits and `_`, and is no word of the language")
    if name == symbol.name:
        return
    taken = {o.symbol.name for o in version.names.found if o.defines and o.symbol.owner in ("", symbol.owner)}
    own = {o.symbol.name for o in version.names.found if o.defines and o.symbol.owner == symbol.name}
    if name in taken | WORDS | NAMES | version.asked.blocks.keys() | (own if symbol.kind == "block" else set()):
        raise NascError(f"`{name}` is taken already")


def _proved(document: Document, version: Version, places: list[Occurrence], name: str) -> None:
    """Refuse a renaming that brings mistakes about which were not there."""
    text = version.text
    for place in reversed(places):
        text = text[: place.start] + name + text[place.end :]
    before = {d.code for d in check(version.module).diagnostics.found}
    after = check(load_file(document.path, text, document.desk.unsaved(document))).diagnostics
    new = next((d for d in after.found if d.code not in before), None)
    if new is not None:
        raise NascError(f"with the name `{name}` the file would be wrong: {new.message}")
