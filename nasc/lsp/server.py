"""The Language Server Protocol's side: requests in, answers and diagnostics out.

Requests are answered from the text as it is when they come. Checking takes longer, so it waits for a pause in the
typing, runs in a thread of its own, and what it finds is published only while the text is still the one it saw.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from nasc import __version__
from nasc.dsl.diagnostics import NascError
from nasc.dsl.loader import standard_library
from nasc.lsp.completion import complete
from nasc.lsp.document import Document, OpenDocuments
from nasc.lsp.fixes import fixes
from nasc.lsp.hover import hover
from nasc.lsp.layout import LEGEND, document_symbols, folds, format_document, semantic_tokens
from nasc.lsp.navigation import definition, highlights, prepare_rename, references, rename
from nasc.lsp.problems import bug, problems

PAUSE = 0.03
"""Seconds without a keystroke before a text is checked."""
YOUNG = 100_000
"""Objects made between two collections of garbage: a check makes as many, and its own cost more than it frees."""

log = logging.getLogger(__name__)


class NasServer(LanguageServer):
    """One editor's connection."""

    def __init__(self) -> None:
        super().__init__("nasc", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full)
        self.desk = OpenDocuments()
        self.ended = False
        self.waiting: dict[str, asyncio.Task[None]] = {}
        self.checker = ThreadPoolExecutor(1, "check")

    # --------------------------------------------------------------------------------------------- texts

    def take(self, uri: str) -> None:
        """Take over a text from the editor, and check it and the open files that import it."""
        encoding = self.workspace.position_encoding
        self.desk.encoding = str(getattr(encoding, "value", encoding))
        text = self.workspace.get_text_document(uri)
        document = self.desk.put(uri, _normalised(text.source or ""), text.version or 0)
        for each in (document, *self.desk.readers(uri)):
            self.check_soon(each)

    def close(self, uri: str) -> None:
        """Forget a text; the files that import it read the saved one."""
        self.desk.open.pop(uri, None)
        task = self.waiting.pop(uri, None)
        if task is not None:
            task.cancel()
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))
        for each in self.desk.readers(uri):
            self.check_soon(each)

    def document(self, params: Any) -> Document | None:
        """The open text that a request is about."""
        return self.desk.open.get(params.text_document.uri)

    # --------------------------------------------------------------------------------------------- checking

    def check_soon(self, document: Document) -> None:
        """Check a text when nothing has changed for a moment."""
        before = self.waiting.pop(document.uri, None)
        if before is not None:
            before.cancel()
        self.waiting[document.uri] = asyncio.ensure_future(self._check(document))

    async def _check(self, document: Document) -> None:
        await asyncio.sleep(PAUSE)
        number = document.number
        try:
            found = await self._problems(document)
        except Exception as error:
            log.exception("checking %s failed", document.uri)
            found = [bug(error)]
        if document.number == number and self.desk.open.get(document.uri) is document:
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(document.uri, found, number))

    async def _problems(self, document: Document) -> list[types.Diagnostic]:
        version = document.version
        checked = await asyncio.get_running_loop().run_in_executor(self.checker, document.look, version)
        document.keep(version, checked)
        return problems(document, version, checked)

    def shutdown(self) -> None:
        self.checker.shutdown(wait=False, cancel_futures=True)
        super().shutdown()  # type: ignore[no-untyped-call]


def _normalised(text: str) -> str:
    """As nasc reads a file: every line ends with a line feed alone, which moves no line or column."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


Answer = Callable[[Document, Any], Any]


def _answer(server: NasServer, feature: str, answer: Answer, options: object = None) -> None:
    """Register the answer to requests about one text; a `NascError` becomes the request's error message."""

    @server.feature(feature, options)
    @functools.wraps(answer)
    def respond(params: Any) -> Any:
        document = server.document(params)
        try:
            return answer(document, params) if document is not None else None
        except NascError as error:
            message = f"{error.message}; {error.help}" if error.help else error.message
            raise JsonRpcInvalidParams(message) from error


def make_server() -> NasServer:
    """A server with all that it answers."""
    server = NasServer()
    _follow(server)
    _answer(server, types.TEXT_DOCUMENT_HOVER, lambda d, p: hover(d, p.position))
    _answer(
        server,
        types.TEXT_DOCUMENT_COMPLETION,
        lambda d, p: complete(d, p.position),
        types.CompletionOptions(trigger_characters=[" ", "{", "(", "|", ".", '"']),
    )
    _answer(server, types.TEXT_DOCUMENT_DEFINITION, lambda d, p: definition(d, p.position))
    _answer(
        server,
        types.TEXT_DOCUMENT_REFERENCES,
        lambda d, p: references(d, p.position, p.context.include_declaration),
    )
    _answer(server, types.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT, lambda d, p: highlights(d, p.position))
    _answer(
        server,
        types.TEXT_DOCUMENT_RENAME,
        lambda d, p: rename(d, p.position, p.new_name),
        types.RenameOptions(prepare_provider=True),
    )
    _answer(server, types.TEXT_DOCUMENT_PREPARE_RENAME, lambda d, p: prepare_rename(d, p.position))
    _answer(
        server,
        types.TEXT_DOCUMENT_CODE_ACTION,
        lambda d, p: fixes(d, p.context.diagnostics),
        types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix]),
    )
    _answer(server, types.TEXT_DOCUMENT_DOCUMENT_SYMBOL, lambda d, p: document_symbols(d.version))
    _answer(server, types.TEXT_DOCUMENT_FOLDING_RANGE, lambda d, p: folds(d.version))
    _answer(server, types.TEXT_DOCUMENT_FORMATTING, lambda d, p: format_document(d))
    _answer(
        server,
        types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL,
        lambda d, p: types.SemanticTokens(semantic_tokens(d.version)),
        LEGEND,
    )
    return server


def _follow(server: NasServer) -> None:
    """Register what the editor tells about its texts."""

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.take(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        server.take(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        server.take(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.close(params.text_document.uri)

    @server.feature(types.SHUTDOWN)
    def ending(params: None) -> None:
        server.ended = True


def serve_stdio() -> int:
    """Serve one editor over standard input and output; the exit code is 0 after a proper end, as the protocol has it.

    Whatever prints goes to standard error: the protocol has standard output for itself.
    """
    out: BinaryIO = sys.stdout.buffer
    sys.stdout = sys.stderr
    server = _warmed()
    server.start_io(stdout=out)
    return 0 if server.ended else 1


def serve_tcp(port: int) -> int:
    """Serve one editor that connects to a port of this machine."""
    server = _warmed()
    server.start_tcp("127.0.0.1", port)
    return 0 if server.ended else 1


def _is_fault(record: logging.LogRecord) -> bool:
    """A request that was refused is told to the editor; only what went wrong in here is worth a line."""
    return not (record.exc_info and isinstance(record.exc_info[1], JsonRpcInvalidParams))


def _warmed() -> NasServer:
    """A server whose first answer need not wait for imports, and for the block library to be parsed."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_fault)
    logging.basicConfig(level=logging.WARNING, format="nasc lsp: %(message)s", handlers=[handler])
    standard_library()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
    return make_server()
