"""The texts that an editor has open: each parsed when its text is asked about, checked when the editor pauses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from lsprotocol.types import PositionEncodingKind

from nasc.compiler.check import Checked, check
from nasc.compiler.opened import load_file
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Source
from nasc.dsl.loader import Module
from nasc.dsl.tokens import tokens
from nasc.lsp.names import Names
from nasc.lsp.positions import Lines, path_of

PAIRS = {"{": "}", "(": ")", "[": "]"}


@dataclass(frozen=True)
class Version:
    """One state of a text, loaded with its imports; `number` is the editor's."""

    number: int
    module: Module
    encoding: str
    load: Callable[[str], Module]

    @property
    def text(self) -> str:
        return self.module.file.source.text

    @cached_property
    def asked(self) -> Module:
        """The text as questions are answered from it: what is still open where it ends is closed there.

        Without that a space whose last brace is not yet written would be lost as a whole.
        """
        ends_early = any(d.code == "E0103" for d in self.module.diagnostics.found)
        return self.load(f"{self.text}\n{_closing(self.text)}") if ends_early else self.module

    @cached_property
    def lines(self) -> Lines:
        return Lines(self.text, self.encoding)

    @cached_property
    def names(self) -> Names:
        """Where which name stands."""
        return Names(self.asked)

    def stage(self, name: str) -> syntax.Stage | None:
        space = self.asked.space
        items = space.items if space is not None else ()
        return next((i for i in items if isinstance(i, syntax.Stage) and i.name == name), None)


def _load(path: Path, text: str, unsaved: dict[Path, str]) -> Module:
    return load_file(path, text, unsaved)


def _closing(text: str) -> str:
    """The brackets that close what a text leaves open."""
    open_: list[str] = []
    for token in tokens(Source("<text>", text), "start", Diagnostics()):
        if token in PAIRS:
            open_.append(PAIRS[str(token)])
        elif open_ and token == open_[-1]:
            open_.pop()
    return "".join(reversed(open_))


@dataclass(eq=False)
class Document:
    """A text that is open. `checked` is the check of an older state or this one, `good` the last without errors."""

    uri: str
    text: str
    number: int
    desk: OpenDocuments
    checked: tuple[Version, Checked] | None = None
    good: Checked | None = None
    _version: Version | None = None

    @property
    def path(self) -> Path:
        return path_of(self.uri) or Path("<unsaved>.nas")

    @property
    def version(self) -> Version:
        """The state that the editor shows."""
        if self._version is None:
            load = partial(_load, self.path, unsaved=self.desk.unsaved(self))
            self._version = Version(self.number, load(self.text), self.desk.encoding, load)
        return self._version

    def change(self, text: str, number: int) -> None:
        self.text, self.number, self._version = text, number, None

    def forget(self) -> None:
        """Read the imports anew when the text is asked about next."""
        self._version = None

    def imports(self, path: Path) -> bool:
        """Whether the text, as it was read last, has (or could not find) this file among its imports."""
        if self._version is None:
            return True
        sources = self._version.module.sources[1:]
        missing = any(d.code.startswith("E02") for d in self._version.module.diagnostics.found)
        return missing or any(Path(source.name).absolute() == path.absolute() for source in sources)

    def look(self, version: Version) -> Checked:
        """Check a state of the text; takes a while, touches nothing else, and may run in another thread."""
        return check(version.module)

    def keep(self, version: Version, checked: Checked) -> None:
        """Keep a check's result for later questions."""
        self.checked = version, checked
        if checked.space is not None and not checked.diagnostics.errors:
            self.good = checked


@dataclass
class OpenDocuments:
    """All open texts, by URI."""

    encoding: str = PositionEncodingKind.Utf16.value
    open: dict[str, Document] = field(default_factory=dict)

    def put(self, uri: str, text: str, number: int) -> Document:
        """Open a text, or change one that is open."""
        document = self.open.get(uri)
        if document is None:
            document = self.open[uri] = Document(uri, text, number, self)
        else:
            document.change(text, number)
        return document

    def unsaved(self, reader: Document) -> dict[Path, str]:
        """The texts of the other open files, which may not be saved."""
        others = ((path_of(d.uri), d.text) for d in self.open.values() if d is not reader)
        return {path.resolve(): text for path, text in others if path is not None}

    def readers(self, uri: str) -> list[Document]:
        """The other open texts that import this one; they read it anew."""
        path = path_of(uri)
        found = [d for d in self.open.values() if d.uri != uri and path is not None and d.imports(path)]
        for document in found:
            document.forget()
        return found
