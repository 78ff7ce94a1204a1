"""From Lark's tree to the syntax tree: one method per grammar rule."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

from lark import Token, Tree, v_args
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Label, Source, Span

Children = list[Any]


def build(tree: Tree[Token], source: Source, diagnostics: Diagnostics, comments: Sequence[syntax.Comment] = ()) -> Any:
    """Return the node that stands for Lark's tree: a `File`, or a value where a single value was parsed."""
    return _Builder(source, diagnostics, tuple(comments)).transform(tree)


def _operation(operator: str) -> Any:
    def method(self: _Builder, meta: Meta, children: Children) -> syntax.Operation:
        return self.operation(meta, operator, *children)

    return method


def _text(token: Token | None) -> str | None:
    return None if token is None else str(token)


@v_args(meta=True)
class _Builder(Transformer_NonRecursive[Token, Any]):
    def __init__(self, source: Source, diagnostics: Diagnostics, comments: tuple[syntax.Comment, ...]) -> None:
        super().__init__(visit_tokens=False)
        self.source = source
        self.diagnostics = diagnostics
        self.comments = comments
        self.docs = _docs(source, comments)
        # `v_args` wraps a method anew whenever it is looked up: look each up once.
        vars(self).update({name: getattr(self, name) for name in vars(_Builder) if not name.startswith("_")})

    def span(self, meta: Meta) -> Span:
        return Span(self.source, 0, 0) if meta.empty else Span(self.source, meta.start_pos, meta.end_pos)

    def token_span(self, token: Token) -> Span:
        return Span(self.source, cast(int, token.start_pos), cast(int, token.end_pos))

    # ------------------------------------------------------------------------------------------- file and blocks

    def start(self, meta: Meta, children: Children) -> syntax.File:
        header, *items = children
        span = Span(self.source, 0, len(self.source.text))
        return syntax.File(span=span, source=self.source, version=header, items=tuple(items), comments=self.comments)

    def header(self, meta: Meta, children: Children) -> int:
        return int(children[0])

    def import_(self, meta: Meta, children: Children) -> syntax.Import:
        return syntax.Import(span=self.span(meta), path=str(children[0])[1:-1])

    def block(self, meta: Meta, children: Children) -> syntax.Block:
        name, parameters, width, *statements = children
        return syntax.Block(
            span=self.span(meta),
            name=str(name),
            parameters=parameters or (),
            width=_text(width),
            statements=tuple(statements),
            name_span=self.token_span(name),
            doc=self.docs.get(self.source.position(meta.start_pos)[0], ""),
        )

    def params(self, meta: Meta, children: Children) -> tuple[syntax.Parameter, ...]:
        return tuple(children)

    def param(self, meta: Meta, children: Children) -> syntax.Parameter:
        kind, name, default = children
        return syntax.Parameter(span=self.span(meta), name=str(name), kind=kind, default=default)

    def kind(self, meta: Meta, children: Children) -> str:
        return str(children[0])

    def assign(self, meta: Meta, children: Children) -> syntax.Assignment:
        name, value = children
        return syntax.Assignment(span=self.span(meta), name=str(name), value=value)

    def flow(self, meta: Meta, children: Children) -> Any:
        return children[0] if len(children) == 1 else self.pipeline(meta, children)

    # ------------------------------------------------------------------------------------------- operators

    def pipeline(self, meta: Meta, children: Children) -> syntax.Pipeline:
        source, *steps = children
        return syntax.Pipeline(span=self.span(meta), source=source, steps=tuple(steps))

    def step(self, meta: Meta, children: Children) -> syntax.Step:
        operator, width, when = children
        return syntax.Step(span=self.span(meta), operator=operator, width=width, when=when)

    opening = step

    def call(self, meta: Meta, children: Children) -> syntax.Call:
        name, given, properties = children
        bracket, arguments = given or (None, ())
        if bracket is not None:
            self.check_same_line(name, bracket)
        return syntax.Call(
            span=self.span(meta),
            name=str(name),
            arguments=arguments,
            properties=properties or (),
            called=given is not None,
            braced=properties is not None,
            name_span=self.token_span(name),
        )

    def check_same_line(self, name: Token, bracket: Span) -> None:
        """Refuse an operator's parenthesis on a later line: it would be read as the operator's arguments."""
        name_span = self.token_span(name)
        if "\n" in self.source.text[name_span.end : bracket.start]:
            self.diagnostics.add(
                "E0108",
                f"the `(` after `{name}` stands on another line, and would begin its arguments",
                name_span,
                labels=[Label(bracket, "this one")],
                help=f"write `{name}(` in one line, or put `|` between them where the parenthesis is a step of its own",
            )

    def apply(self, meta: Meta, children: Children) -> syntax.Call:
        return self.call(meta, [*children, None])

    def configured(self, meta: Meta, children: Children) -> syntax.Call:
        name, properties = children
        return self.call(meta, [name, None, properties])

    def block_name(self, meta: Meta, children: Children) -> syntax.Call:
        return self.call(meta, [*children, None, None])

    def group(self, meta: Meta, children: Children) -> syntax.Group:
        return syntax.Group(span=self.span(meta), steps=tuple(children))

    def args(self, meta: Meta, children: Children) -> tuple[Span, tuple[syntax.Argument, ...]]:
        """The opening bracket's place, and the arguments; the grammar leaves a placeholder where there are none."""
        bracket = Span(self.source, meta.start_pos, meta.start_pos + 1)
        return bracket, tuple(child for child in children if child is not None)

    def arg(self, meta: Meta, children: Children) -> syntax.Argument:
        name, value = children
        return syntax.Argument(span=self.span(meta), name=_text(name), value=value)

    def choice(self, meta: Meta, children: Children) -> syntax.Choice:
        quantifier, *candidates, join = children
        return syntax.Choice(
            span=self.span(meta), quantifier=quantifier, candidates=tuple(candidates), join=_text(join)
        )

    def quantifier(self, meta: Meta, children: Children) -> str:
        return str(children[0])

    def candidate(self, meta: Meta, children: Children) -> syntax.Candidate:
        return syntax.Candidate(span=self.span(meta), steps=tuple(children))

    # ------------------------------------------------------------------------------------------- spaces

    def space(self, meta: Meta, children: Children, network: bool = False) -> syntax.Space:
        name, *items = children
        return syntax.Space(
            span=self.span(meta), name=str(name), network=network, items=tuple(items), name_span=self.token_span(name)
        )

    def network(self, meta: Meta, children: Children) -> syntax.Space:
        return self.space(meta, children, network=True)

    def input(self, meta: Meta, children: Children) -> syntax.Input:
        kind, value = children
        return syntax.Input(span=self.span(meta), kind=str(kind), value=value)

    def output(self, meta: Meta, children: Children) -> syntax.Output:
        kind, *values = children
        return syntax.Output(span=self.span(meta), kind=str(kind), values=tuple(values))

    def let(self, meta: Meta, children: Children) -> syntax.Let:
        name, value = children
        return syntax.Let(span=self.span(meta), name=str(name), value=value)

    def defaults(self, meta: Meta, children: Children) -> syntax.Default:
        block, properties = children
        return syntax.Default(span=self.span(meta), block=_text(block), properties=properties)

    def attribute(self, meta: Meta, children: Children) -> syntax.Attribute:
        name, value = children
        return syntax.Attribute(span=self.span(meta), name=str(name), value=value)

    def stage(self, meta: Meta, children: Children) -> syntax.Stage:
        name, callee, count, origin, properties, width, rows = children
        return syntax.Stage(
            span=self.span(meta),
            name=str(name),
            callee=callee,
            count=count,
            source=_text(origin),
            properties=properties or (),
            width=width,
            rows=rows or (),
            name_span=self.token_span(name),
        )

    def rows(self, meta: Meta, children: Children) -> tuple[syntax.Row, ...]:
        return tuple(children)

    def row(self, meta: Meta, children: Children) -> syntax.Row:
        first, last, callee, properties, width = children
        return syntax.Row(
            span=self.span(meta),
            first=int(first),
            last=int(first if last is None else last),
            callee=callee,
            properties=properties or (),
            width=width,
        )

    def head(self, meta: Meta, children: Children) -> syntax.Head:
        return syntax.Head(span=self.span(meta), steps=tuple(children))

    def props(self, meta: Meta, children: Children) -> tuple[syntax.Property, ...]:
        return tuple(children)

    def prop(self, meta: Meta, children: Children) -> syntax.Property:
        name, value = children
        return syntax.Property(span=self.span(meta), name=str(name), value=value, name_span=self.token_span(name))

    def search(self, meta: Meta, children: Children, kind: str = "search") -> syntax.Section:
        name, properties = children
        return syntax.Section(
            span=self.span(meta), kind=kind, name=str(name), properties=properties, name_span=self.token_span(name)
        )

    def target(self, meta: Meta, children: Children) -> syntax.Section:
        return self.search(meta, children, kind="target")

    # ------------------------------------------------------------------------------------------- values

    def shape(self, meta: Meta, children: Children) -> syntax.Shape:
        return syntax.Shape(span=self.span(meta), sizes=tuple(children))

    def range(self, meta: Meta, children: Children) -> syntax.Range:
        first, last, step = children
        return syntax.Range(span=self.span(meta), first=first, last=last, step=step)

    def set(self, meta: Meta, children: Children) -> syntax.ValueSet:
        return syntax.ValueSet(span=self.span(meta), members=tuple(children))

    def interval(self, meta: Meta, children: Children) -> syntax.Interval:
        span = self.span(meta)
        return syntax.Interval(
            span=span,
            low=children[0],
            high=children[1],
            open_low=self.source.text[span.start] == "(",
            open_high=self.source.text[span.end - 1] == ")",
        )

    def operation(self, meta: Meta, operator: str, *operands: Any) -> syntax.Operation:
        left = operands[0] if len(operands) == 2 else None
        return syntax.Operation(span=self.span(meta), operator=operator, left=left, right=operands[-1])

    or_ = _operation("or")
    and_ = _operation("and")
    not_ = _operation("not")
    add = _operation("+")
    sub = _operation("-")
    mul = _operation("*")
    div = _operation("/")

    def compare(self, meta: Meta, children: Children) -> syntax.Operation:
        left, operator, right = children
        return self.operation(meta, str(operator), left, right)

    def integer(self, meta: Meta, children: Children) -> syntax.Number:
        text = str(children[0])
        return syntax.Number(span=self.span(meta), value=Fraction(text), text=text)

    decimal = integer

    def negative(self, meta: Meta, children: Children) -> syntax.Number:
        text = f"-{children[0]}"
        return syntax.Number(span=self.span(meta), value=Fraction(text), text=text)

    def string(self, meta: Meta, children: Children) -> syntax.String:
        return syntax.String(span=self.span(meta), value=str(children[0])[1:-1])

    def reference(self, meta: Meta, children: Children) -> syntax.Reference:
        return syntax.Reference(span=self.span(meta), parts=tuple(str(part) for part in children))


def _docs(source: Source, comments: tuple[syntax.Comment, ...]) -> dict[int, str]:
    """For every line that comment lines stand directly above: their text."""
    docs: dict[int, str] = {}
    lines = source.text.split("\n")
    number, offset = 1, 0  # of the line the last comment stood on
    for comment in comments:
        number += source.text.count("\n", offset, comment.span.start)
        offset = comment.span.start
        if lines[number - 1].lstrip(" \t").startswith("//"):
            above = docs.pop(number, None)
            docs[number + 1] = comment.text if above is None else f"{above}\n{comment.text}"
    return docs
