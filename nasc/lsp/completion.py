"""What can be written at a place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from lsprotocol.types import CompletionItem, CompletionItemKind, MarkupContent, MarkupKind, Position

from nasc.compiler.expr import FUNCTION_NAMES
from nasc.compiler.methods.plugins import find_method, method_names
from nasc.compiler.primitives import FORMS, NAMES, OPERATORS
from nasc.dsl import syntax
from nasc.dsl.diagnostics import NascError
from nasc.lsp import words
from nasc.lsp.context import Context, context_at
from nasc.lsp.document import Document, Version
from nasc.lsp.hover import about_block, about_parameter, about_primitive
from nasc.lsp.options import options_of

Kind = CompletionItemKind
_TYPED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_IMPORT = re.compile(r'^\s*import\s+"([^"]*)\Z')
SIGNS = {"X": "x", "FROM": "from", "STEP": "step", "WHEN": "when", "BY": "by", "LAYER": "layer", "OF": "of"}
MOST_FILES = 200


def complete(document: Document, position: Position) -> list[CompletionItem]:
    """The words that can stand at a place; the editor leaves out those that what is typed does not begin."""
    version = document.version
    before = version.text[: version.lines.offset(position)]
    line = before[before.rfind("\n") + 1 :]
    if "//" in line:
        return []
    importing = _IMPORT.match(line)
    if importing:
        return list(_files(document))
    typed = _TYPED.search(before)
    before = before[: typed.start()] if typed else before
    context = context_at(before)
    fresh = not line[: len(line) - (len(typed.group()) if typed else 0)].strip()
    found = {item.label: item for item in reversed([*Completer(document, version, context, fresh).items()])}
    return list(reversed(found.values()))


def _files(document: Document) -> Iterator[CompletionItem]:
    """The `.nas` files that a file can import, those of hidden folders left out."""
    folder = document.path.parent
    for count, path in enumerate(sorted(folder.rglob("*.nas"))):
        inside = path.relative_to(folder)
        if count >= MOST_FILES:
            return
        if path.name != document.path.name and not any(part.startswith(".") for part in inside.parts):
            yield CompletionItem(inside.as_posix(), kind=Kind.File)


def _item(name: str, kind: CompletionItemKind, detail: str | None = None, doc: str = "") -> CompletionItem:
    documentation = MarkupContent(MarkupKind.Markdown, doc) if doc else None
    return CompletionItem(name, kind=kind, detail=detail, documentation=documentation)


def _told(entries: Mapping[str, str], kind: CompletionItemKind) -> Iterator[CompletionItem]:
    return (_item(name, kind, doc=text) for name, text in entries.items())


class Completer:
    """The items for one place, the likeliest first."""

    def __init__(self, document: Document, version: Version, context: Context, fresh: bool) -> None:
        self.document = document
        self.version = version
        self.context = context
        self.fresh = fresh  # the word is the first of its line
        self.blocks = version.asked.blocks

    def items(self) -> Iterator[CompletionItem]:
        context = self.context
        match context.wants:
            case "new":
                return
            case "names":
                yield from self._names()
            case "values":
                yield from self._values()
            case "operators":
                yield from self._operators()
            case "stages":
                yield from self._stages()
            case "method":
                yield from self._methods()
            case "input" | "output" | "field":
                told = {"input": words.INPUTS, "output": words.OUTPUTS, "field": words.FIELDS}[context.wants]
                yield from _told(told, Kind.EnumMember)
            case _:
                yield from self._rest()
        if context.wants in ("items", "names", "values"):
            yield from self._signs()

    def _rest(self) -> Iterator[CompletionItem]:
        """Lines of a file, a space or a block; behind the first word of a line, only the signs that go on with it."""
        room = self.context.room
        if room == "file" and self.fresh:
            yield from _told(words.FILE_ITEMS, Kind.Keyword)
        elif room == "space" and self.fresh:
            yield from _told(words.SPACE_ITEMS, Kind.Keyword)
        elif room == "block":
            yield from self._scope()
        elif room == "parameters":
            yield from _told(words.KINDS, Kind.Keyword)

    def _signs(self) -> Iterator[CompletionItem]:
        for terminal, sign in SIGNS.items():
            if terminal in self.context.expected and not (terminal == "LAYER" and self.context.wants == "values"):
                yield _item(sign, Kind.Keyword, doc=words.WORDS.get(sign, ""))

    # --------------------------------------------------------------------------------------------- names and values

    def _takers(self) -> tuple[str, ...]:
        """The operators whose parameters may be given here."""
        context, names = self.context, self.version.names
        stage = self.version.stage(context.stage) if context.stage else None
        if context.default and not context.callees:
            # A file that is only half there may have lost the stages: then what stood there last is asked.
            anything = syntax.Default(span=self.version.asked.file.span, block=None, properties=())
            return tuple(names.takers(anything))
        callees: Iterable[str] = context.callees
        if not context.callees and stage is not None:
            row = next((r for r in stage.rows if context.layer and r.first <= context.layer <= r.last), None)
            callees = names.takers(stage, row)
        return tuple(dict.fromkeys(name for callee in callees for name in self._behind(callee)))

    def _behind(self, name: str) -> list[str]:
        """The operators that a `let`'s name stands for, or the name itself."""
        checker = self.version.names.space
        if checker is None or name not in checker.lets:
            return [name]
        return [n for n in checker.operators(checker.lets[name].value) if n is not None]

    def _names(self) -> Iterator[CompletionItem]:
        context = self.context
        if context.section:
            for option in options_of(context.section).values():
                if option.name not in context.given:
                    yield _item(option.name, Kind.Property, option.default or None, option.about)
            return
        for taker in self._takers():
            for name in self.version.names.checker.parameters(taker) or ():
                if name not in context.given:
                    about = about_parameter(self.version.asked, taker, name)
                    yield _item(name, Kind.Property, f"parameter of {taker}", about)
        if context.stage and "skip" not in context.given:
            yield _item("skip", Kind.Property, "of the layer itself", words.SPACE_ITEMS["skip"])

    def _values(self) -> Iterator[CompletionItem]:
        context = self.context
        if context.section:
            option = options_of(context.section).get(context.parameter or "")
            yield from (_item(word, Kind.EnumMember) for word in (option.words if option else ()))
            return
        if context.parameter == "skip":
            yield from _told(words.SKIP, Kind.EnumMember)
            return
        if context.room == "arguments":
            yield from self._arguments()
        if context.parameter:
            yield from self._values_of(context.parameter)
        if context.block:
            yield from self._scope()
        yield from self._lets()
        if context.room == "space" and not context.parameter and "ONE" in context.expected:
            yield from self._operators()
        if {"ONE", "ANY"} & context.expected:
            yield from (_item(f"{word} of", Kind.Keyword, doc=words.MORE[word]) for word in ("one", "any", "all"))

    def _values_of(self, parameter: str) -> Iterator[CompletionItem]:
        takers = self._takers()
        if any(self.version.names.checker.is_tensor(taker, parameter) for taker in takers):
            yield from self._stages()
        for name in words.all_values(takers, parameter, self.blocks):
            yield _item(name, Kind.EnumMember, doc=about_primitive(name) if name in NAMES else "")

    def _arguments(self) -> Iterator[CompletionItem]:
        for callee in self.context.callees:
            for name in self.version.names.checker.parameters(callee) or ():
                if name not in self.context.given:
                    about = about_parameter(self.version.asked, callee, name)
                    yield CompletionItem(
                        f"{name} =", kind=Kind.Property, insert_text=f"{name} = ", detail=about or None
                    )

    def _lets(self) -> Iterator[CompletionItem]:
        checker = self.version.names.space
        if self.context.block is None and checker is not None:
            yield from (_item(name, Kind.Variable, "let") for name in checker.lets)

    def _scope(self) -> Iterator[CompletionItem]:
        """What names stand for in a block's body."""
        yield _item("in", Kind.Variable, doc=words.MORE["in"])
        block = self.blocks.get(self.context.block or "")
        if block is not None:
            yield from (_item(p.name, Kind.Variable, "parameter") for p in block.parameters)
            own = [s.name for s in block.statements if isinstance(s, syntax.Assignment)]
            yield from (_item(name, Kind.Variable, "local value") for name in [*own, *filter(None, [block.width])])
        yield from (_item(name, Kind.Function) for name in sorted(FUNCTION_NAMES))
        yield from (_item(name, Kind.Function, doc=about_primitive(name)) for name in ("add", "mul", "concat"))

    # --------------------------------------------------------------------------------------------- operators, stages

    def _operators(self) -> Iterator[CompletionItem]:
        yield from self._lets()
        if self.context.block:
            block = self.blocks.get(self.context.block)
            yield from (_item(p.name, Kind.Variable, "parameter") for p in (block.parameters if block else ()))
        for name, block in self.blocks.items():
            if name != self.context.block:
                yield _item(name, Kind.Class, "block", about_block(block))
        for name in (*OPERATORS, *sorted(FORMS)):
            yield _item(name, Kind.Function, "primitive operator", about_primitive(name))
        if self.context.expected & {"ONE"}:
            yield from (_item(f"{word} of", Kind.Keyword, doc=words.MORE[word]) for word in ("one", "any", "all"))

    def _stages(self) -> Iterator[CompletionItem]:
        """The stages above; all of them for `output features`."""
        checker = self.version.names.space
        stages = checker.stages if checker is not None else []
        for stage in stages:
            if stage.name == self.context.stage:
                return
            yield _item(stage.name, Kind.Variable, "stage")

    def _methods(self) -> Iterator[CompletionItem]:
        for name in method_names():
            try:
                yield _item(name, Kind.Module, find_method(name).about)
            except NascError:
                continue
