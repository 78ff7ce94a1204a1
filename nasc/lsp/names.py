"""Which name stands where in a file, and for what: the ground for definitions, references, renaming and colours."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from lark import Token

from nasc.compiler.check_names import NameChecker
from nasc.compiler.check_space import SpaceChecker
from nasc.compiler.primitives import NAMES
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Span
from nasc.dsl.loader import Module
from nasc.dsl.tokens import tokens
from nasc.dsl.walk import children


@dataclass(frozen=True)
class Symbol:
    """What a name stands for. `kind`: block, primitive, parameter, local, let, stage, space, attribute, import, method,
    target or option; `owner`: the block of a parameter or local value, the section of an option.
    """

    kind: str
    name: str
    owner: str = ""


@dataclass(frozen=True)
class Occurrence:
    """A name's place. A value that goes to parameters of several blocks has several symbols."""

    start: int
    end: int
    symbols: tuple[Symbol, ...]
    defines: bool = False

    @property
    def symbol(self) -> Symbol:
        return self.symbols[0]


@dataclass(frozen=True)
class Scope:
    """What the names of values stand for."""

    values: dict[str, Symbol]
    stages: frozenset[str] = frozenset()  # known where a tensor is wanted, and where no operator has the name


class Words:
    """The words and signs of a text, by place."""

    def __init__(self, module: Module) -> None:
        source = module.file.source
        self.all: list[Token] = tokens(source, "start", Diagnostics())
        self.starts = [token.start_pos or 0 for token in self.all]

    def within(self, span: Span) -> list[Token]:
        return self.all[bisect_left(self.starts, span.start) : bisect_left(self.starts, span.end)]

    def after(self, span: Span, kind: str) -> Token | None:
        """The name behind the first token of this kind; None where there is none."""
        found = self.within(span)
        return next((b for a, b in pairwise(found) if a.type == kind), None)

    def first(self, span: Span, kind: str = "NAME") -> Token | None:
        return next((t for t in self.within(span) if t.type == kind), None)

    def at(self, offset: int) -> Token | None:
        """The token that holds an offset, or ends there."""
        index = bisect_right(self.starts, offset) - 1
        near = [self.all[i] for i in (index, index - 1) if i >= 0]
        return next((t for t in near if (t.start_pos or 0) <= offset <= (t.end_pos or 0)), None)


class Names:
    """All names of a file's own text, in order of their places."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.words = Words(module)
        self.checker = NameChecker(module.blocks, Diagnostics())
        self.space = SpaceChecker(module.space, self.checker) if module.space is not None else None
        self.found: list[Occurrence] = []
        for item in module.file.items:
            self._item(item)
        self.found.sort(key=lambda o: o.start)
        self.starts = [o.start for o in self.found]

    def at(self, offset: int) -> Occurrence | None:
        """The name that holds an offset, or ends there."""
        index = bisect_right(self.starts, offset) - 1
        near = [self.found[i] for i in (index, index - 1) if i >= 0]
        return next((o for o in near if o.start <= offset <= o.end), None)

    def of(self, symbols: Iterable[Symbol]) -> list[Occurrence]:
        """The places of any of these symbols."""
        wanted = set(symbols)
        return [o for o in self.found if wanted & set(o.symbols)]

    def definition(self, symbol: Symbol) -> Occurrence | None:
        return next((o for o in self.found if o.defines and symbol in o.symbols), None)

    # --------------------------------------------------------------------------------------------- adding

    def _add(self, place: Token | Span | None, *symbols: Symbol, defines: bool = False) -> None:
        if place is None or not symbols:
            return
        start, end = (place.start, place.end) if isinstance(place, Span) else (place.start_pos or 0, place.end_pos or 0)
        self.found.append(Occurrence(start, end, symbols, defines))

    def _name(self, name: str, place: Token | Span | None, scope: Scope, tensor: bool = False) -> None:
        if name in scope.values:
            self._add(place, scope.values[name])
        elif tensor and name in scope.stages:
            self._add(place, Symbol("stage", name))
        elif name in NAMES:
            self._add(place, Symbol("primitive", name))
        elif name in self.module.blocks:
            self._add(place, Symbol("block", name))
        elif name in scope.stages:
            self._add(place, Symbol("stage", name))

    # --------------------------------------------------------------------------------------------- files, blocks

    def _item(self, item: syntax.Node) -> None:
        match item:
            case syntax.Import():
                self._add(self.words.first(item.span, "STRING"), Symbol("import", item.path))
            case syntax.Block():
                self._block(item)
            case syntax.Space():
                self._space(item)
            case syntax.Section():
                kind = "method" if item.kind == "search" else "target"
                self._add(item.name_span, Symbol(kind, item.name), defines=kind == "target")
                self._options(item.properties, f"{item.kind} {item.name}")

    def _options(self, properties: tuple[syntax.Property, ...], owner: str) -> None:
        for prop in properties:
            self._add(prop.name_span, Symbol("option", prop.name, owner))
            if isinstance(prop.value, syntax.Call):
                self._options(prop.value.properties, f"{owner}.{prop.name}")

    def _block(self, block: syntax.Block) -> None:
        self._add(block.name_span, Symbol("block", block.name), defines=True)
        own = {p.name: Symbol("parameter", p.name, block.name) for p in block.parameters}
        locals_ = [s for s in block.statements if isinstance(s, syntax.Assignment)]
        own |= {a.name: Symbol("local", a.name, block.name) for a in locals_}
        if block.width is not None:
            own[block.width] = Symbol("local", block.width, block.name)
            self._add(self._width(block), own[block.width], defines=True)
        scope = Scope(own)
        for parameter in block.parameters:
            self._add(self.words.first(parameter.span), own[parameter.name], defines=True)
            self._visit(parameter.default, scope)
        for statement in block.statements:
            if isinstance(statement, syntax.Assignment):
                self._add(self.words.first(statement.span), own[statement.name], defines=True)
            self._visit(statement.value if isinstance(statement, syntax.Assignment) else statement, scope)

    def _width(self, block: syntax.Block) -> Token | None:
        """The name behind the arrow: it stands before the brace that opens the body."""
        depth, before = 0, None
        for token in self.words.within(block.span):
            if token == "{" and depth == 0:
                return before
            depth += (token in ("(", "{", "[")) - (token in (")", "}", "]"))
            before = token
        return None

    # --------------------------------------------------------------------------------------------- spaces

    def _space(self, space: syntax.Space) -> None:
        self._add(space.name_span, Symbol("space", space.name), defines=True)
        checker = SpaceChecker(space, self.checker)
        stages = frozenset(s.name for s in checker.stages)
        scope = Scope({name: Symbol("let", name) for name in checker.lets}, stages)
        for item in space.items:
            self._space_item(item, scope)

    def _space_item(self, item: syntax.SpaceItem, scope: Scope) -> None:
        match item:
            case syntax.Let():
                self._add(self.words.after(item.span, "LET"), Symbol("let", item.name), defines=True)
                self._visit(item.value, scope)
            case syntax.Default():
                if item.block is not None:
                    self._name(item.block, self.words.after(item.span, "DEFAULT"), scope)
                self._given(item.properties, self.takers(item), scope)
            case syntax.Attribute():
                self._add(self.words.first(item.span), Symbol("attribute", item.name))
                self._visit(item.value, scope)
            case syntax.Stage():
                self._stage(item, scope)
            case syntax.Output(kind="features"):
                for value in item.values:
                    self._tensor(value, scope)
            case _:
                self._visit(item, scope)

    def _stage(self, stage: syntax.Stage, scope: Scope) -> None:
        self._add(stage.name_span, Symbol("stage", stage.name), defines=True)
        if stage.source is not None:
            self._add(self.words.after(stage.span, "FROM"), Symbol("stage", stage.source))
        self._visit((stage.callee, stage.count, stage.width), scope)
        self._given(stage.properties, self.takers(stage), scope)
        for row in stage.rows:
            self._visit((row.callee, row.width), scope)
            self._given(row.properties, self.takers(stage, row), scope)

    def takers(self, item: syntax.Default | syntax.Stage, row: syntax.Row | None = None) -> list[str]:
        """The blocks and operators that values given at a place may go to."""
        checker = self.space
        if checker is None:
            return []
        callees: list[object] = []
        if isinstance(item, syntax.Default):
            if item.block is not None:
                return [item.block]
            callees = [c for s in checker.stages for c in (s.callee, *(r.callee for r in s.rows))]
            heads = [i for i in checker.space.items if isinstance(i, syntax.Head)]
            callees += [step.operator for head in heads for step in head.steps]
        elif row is not None:
            callees = [row.callee if row.callee is not None else item.callee]
        else:
            callees = [item.callee, *(r.callee for r in item.rows)]
        found = (name for c in callees if c is not None for name in checker.operators(c))
        return [name for name in dict.fromkeys(found) if name is not None]

    def _given(self, properties: tuple[syntax.Property, ...], takers: list[str], scope: Scope) -> None:
        for prop in properties:
            taking = [t for t in takers if prop.name in (self.checker.parameters(t) or ())]
            self._add(prop.name_span, *(Symbol("parameter", prop.name, t) for t in taking))
            if any(self.checker.is_tensor(t, prop.name) for t in taking):
                self._tensor(prop.value, scope)
            else:
                self._visit(prop.value, scope)

    # --------------------------------------------------------------------------------------------- values

    def _tensor(self, value: syntax.Value, scope: Scope) -> None:
        if isinstance(value, syntax.Reference):
            self._name(value.parts[0], value.span, scope, tensor=True)
        else:
            self._visit(value, scope)

    def _visit(self, node: object, scope: Scope) -> None:
        match node:
            case syntax.Reference():
                self._name(node.parts[0], self.words.first(node.span), scope)
            case syntax.Call():
                self._name(node.name, node.name_span, scope)
                self._call(node, scope)
            case syntax.Choice():
                self._visit(node.candidates, scope)
                if node.join is not None:
                    self._name(node.join, self.words.within(node.span)[-1], scope)
            case syntax.Node():
                for child in children(node):
                    self._visit(child, scope)
            case tuple():
                for item in node:
                    self._visit(item, scope)

    def _call(self, call: syntax.Call, scope: Scope) -> None:
        takers: list[str] = [call.name]
        if call.name in scope.values:
            let = scope.values[call.name].kind == "let"
            takers = [n for n in self.space.operators(call) if n is not None] if let and self.space else []
        for argument in call.arguments:
            if argument.name is not None:
                taking = [t for t in takers if argument.name in (self.checker.parameters(t) or ())]
                symbols = (Symbol("parameter", argument.name, t) for t in taking)
                self._add(self.words.first(argument.span), *symbols)
            self._visit(argument.value, scope)
        self._given(call.properties, takers, scope)
