"""An editor's session with `nasc lsp` over standard input and output, through pygls's own client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types
from pygls.lsp.client import LanguageClient

T = TypeVar("T")
PATIENCE = 30.0  # seconds, on a machine with other work
PLACE = "¦"
"""Where the cursor stands in the text of a test."""


class Session:
    """Starts the server, and makes the client's calls ordinary ones."""

    def __init__(self, *arguments: str) -> None:
        self.runner = asyncio.Runner()
        self.client = LanguageClient("tests", "1")
        self.found: asyncio.Queue[types.PublishDiagnosticsParams] = asyncio.Queue()
        self.numbers: dict[str, int] = {}
        self.texts: dict[str, str] = {}

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.found.put_nowait(params)

        self.run(self.client.start_io(sys.executable, "-m", "nasc", "lsp", *arguments))
        capabilities = types.ClientCapabilities()
        self.capabilities = self.run(
            self.client.initialize_async(types.InitializeParams(capabilities=capabilities))
        ).capabilities
        self.client.initialized(types.InitializedParams())

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(call, PATIENCE))

    def end(self, politely: bool = True) -> tuple[int, str]:
        """End the session; the server's exit code and what it wrote to standard error."""
        if politely:
            self.run(self.client.shutdown_async(None))
        self.client.exit(None)
        server = self.client._server
        assert server is not None and server.stderr is not None
        stderr = self.run(server.stderr.read()).decode()
        code = self.run(server.wait())
        self.runner.close()
        return code, stderr

    # --------------------------------------------------------------------------------------------- texts

    def show(self, uri: str, text: str) -> None:
        """Open a text, or replace that of an open one."""
        number = self.numbers[uri] = self.numbers.get(uri, 0) + 1
        self.texts[uri] = text
        if number == 1:
            item = types.TextDocumentItem(uri, "nas", number, text)
            self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        else:
            change = types.TextDocumentContentChangeWholeDocument(text)
            place = types.VersionedTextDocumentIdentifier(number, uri)
            self.client.text_document_did_change(types.DidChangeTextDocumentParams(place, [change]))

    def close(self, uri: str) -> None:
        self.numbers.pop(uri)
        self.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def diagnostics(self, uri: str) -> list[types.Diagnostic]:
        """The diagnostics of the text as it is now; those of older states are passed over."""
        while True:
            found = self.run(self.found.get())
            if found.uri == uri and found.version == self.numbers[uri]:
                return list(found.diagnostics)

    def checked(self, uri: str, text: str) -> list[types.Diagnostic]:
        self.show(uri, text)
        return self.diagnostics(uri)

    # --------------------------------------------------------------------------------------------- questions

    def at(self, uri: str, marked: str) -> types.TextDocumentPositionParams:
        """Show a text, the mark taken out; the place where it stood."""
        self.show(uri, marked.replace(PLACE, ""))
        return types.TextDocumentPositionParams(types.TextDocumentIdentifier(uri), position(marked))

    def hover(self, uri: str, marked: str) -> str:
        place = self.at(uri, marked)
        params = types.HoverParams(place.text_document, place.position)
        found = self.run(self.client.text_document_hover_async(params))
        if found is None:
            return ""
        assert isinstance(found.contents, types.MarkupContent)
        return found.contents.value

    def complete(self, uri: str, marked: str) -> list[str]:
        place = self.at(uri, marked)
        params = types.CompletionParams(place.text_document, place.position)
        found = self.run(self.client.text_document_completion_async(params))
        assert isinstance(found, tuple | list)
        return [item.label for item in found]

    def rename(self, uri: str, marked: str, name: str) -> str:
        """The text after a renaming."""
        place = self.at(uri, marked)
        params = types.RenameParams(place.text_document, place.position, name)
        edit = self.run(self.client.text_document_rename_async(params))
        assert edit is not None and edit.changes is not None and set(edit.changes) == {uri}
        return edited(self.texts[uri], edit.changes[uri])


def position(marked: str) -> types.Position:
    before = marked[: marked.index(PLACE)]
    line = before.rpartition("\n")[2]
    return types.Position(before.count("\n"), len(line.encode("utf-16-le")) // 2)


def slice_of(text: str, place: types.Range) -> str:
    """The text at a range; columns count UTF-16 units."""
    return text[_offset(text, place.start) : _offset(text, place.end)]


def edited(text: str, edits: Any) -> str:
    """A text after edits, as an editor applies them."""
    for edit in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character), reverse=True):
        start, end = (_offset(text, p) for p in (edit.range.start, edit.range.end))
        text = text[:start] + edit.new_text + text[end:]
    return text


def _offset(text: str, place: types.Position) -> int:
    lines = text.split("\n")
    column = len(lines[place.line].encode("utf-16-le")[: 2 * place.character].decode("utf-16-le"))
    return sum(len(line) + 1 for line in lines[: place.line]) + column


def uri(path: Path) -> str:
    return path.as_uri()
