"""The items of a file, of a block and of a space: which lines they take, and what is aligned with what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from nasc.dsl import syntax
from nasc.dsl.comments import Line
from nasc.dsl.edition import EDITION
from nasc.dsl.format_layout import Layout, Lines, hang, prefixed
from nasc.dsl.format_stages import Stages
from nasc.dsl.format_table import WIDTH
from nasc.dsl.format_values import print_source, print_value

Setting = syntax.Input | syntax.Output | syntax.Default | syntax.Attribute
Statement = syntax.Assignment | syntax.Expression
N = TypeVar("N", bound=syntax.Node)

INDENT = 2


def file_lines(file: syntax.File, written: bool) -> list[Line]:
    """Return a file's lines without comments. `written`: the tree is that of a text, whose line breaks count.

    The blocks of a tree that nasc built are copies from files, whose line breaks count in any case.
    """
    lines = [Line(f"nas {EDITION}")]
    layout, copied = Layout(written), Layout(True)
    for index, item in enumerate(file.items):
        texts = _item(item, copied if isinstance(item, syntax.Block) else layout)
        follows_import = index > 0 and isinstance(file.items[index - 1], syntax.Import)
        gap = "keep" if follows_import and isinstance(item, syntax.Import) else "always"
        if isinstance(item, syntax.Block) and not written:
            docs = [Line(f"// {line}".rstrip()) for line in item.doc.split("\n")] if item.doc else []
            texts = [*docs, *(Line(line.text, "always" if line.gap == "keep" else "never") for line in texts)]
        lines += [Line(texts[0].text, gap), *texts[1:]]
    return lines


def _item(item: syntax.Import | syntax.Block | syntax.Space | syntax.Section, layout: Layout) -> list[Line]:
    match item:
        case syntax.Import():
            return [Line(f'import "{item.path}"')]
        case syntax.Block():
            return _block(item, layout)
        case syntax.Space():
            return _space(item, layout)
        case syntax.Section():
            return [Line(text) for text in _section(item, layout)]


def _section(section: syntax.Section, layout: Layout) -> Lines:
    prefix = f"{section.kind} {section.name} "
    if not section.properties and layout.hints.holds_comment(section):
        return [f"{prefix}{{", "}"]
    return prefixed(prefix, lambda column: layout.braces(section.properties, 0, column), 0)


def _runs(items: Sequence[N], related: Callable[[N, N], bool]) -> Iterator[list[N]]:
    """Cut a sequence wherever two neighbours are not related."""
    run: list[N] = []
    for item in items:
        if run and not related(run[-1], item):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


# ------------------------------------------------------------------------------------------------- blocks


def _block(block: syntax.Block, layout: Layout) -> list[Line]:
    width = "" if block.width is None else f" -> {block.width}"
    prefix = f"block {block.name}"
    lines = [Line(text) for text in _parameters(block, prefix, f"{width} {{", layout)]

    def related(a: Statement, b: Statement) -> bool:
        return isinstance(a, syntax.Assignment) and isinstance(b, syntax.Assignment) and not layout.hints.is_apart(b)

    for run in _runs(block.statements, related):
        for statement, texts in zip(run, _statements(run, layout), strict=True):
            gap = "keep" if layout.hints.is_apart(statement) else "never"
            lines += [Line(texts[0], gap), *map(Line, texts[1:])]
    return [*lines, Line("}")]


def _parameters(block: syntax.Block, prefix: str, tail: str, layout: Layout) -> Lines:
    if not block.parameters:
        return [prefix + tail]
    margin = len(prefix) + 1
    lines = [f"{prefix}("]
    alone = False  # the last line takes nothing more
    for index, parameter in enumerate(block.parameters):
        end = f"){tail}" if index == len(block.parameters) - 1 else ","
        unit = _parameter(parameter, margin, len(end), layout)
        full = len(lines[-1]) + 1 + len(unit[0]) + len(end) > WIDTH
        if index and (alone or full or len(unit) > 1 or layout.hints.starts_line(parameter)):
            lines.append(" " * margin)
        elif index:
            lines[-1] += " "
        alone = len(unit) > 1
        lines[-1] += unit[0]
        lines += unit[1:]
        lines[-1] += end
    return lines


def _parameter(parameter: syntax.Parameter, column: int, tail: int, layout: Layout) -> Lines:
    prefix = parameter.name if parameter.kind is None else f"{parameter.kind} {parameter.name}"
    default = parameter.default
    if default is None:
        return [prefix]
    return prefixed(f"{prefix} = ", lambda at: layout.value(default, column, at, tail), column)


def _statements(run: Sequence[Statement], layout: Layout) -> list[Lines]:
    """A run of assignments, their `=` and first `|` below one another; or a single other statement."""
    names = max((len(item.name) for item in run if isinstance(item, syntax.Assignment)), default=0)
    widths: dict[bool, int] = {}
    for item in run:
        if isinstance(item, syntax.Assignment) and isinstance(item.value, syntax.Pipeline):
            kind = isinstance(item.value.source, syntax.Reference)
            widths[kind] = max(widths.get(kind, 0), len(print_source(item.value.source)))
    return [_statement(item, names, widths, layout) for item in run]


def _statement(statement: Statement, names: int, widths: dict[bool, int], layout: Layout) -> Lines:
    margin, value = " " * INDENT, statement
    if isinstance(statement, syntax.Assignment):
        margin, value = f"{margin}{statement.name.ljust(names)} = ", statement.value
    if isinstance(value, syntax.Pipeline):
        source = print_source(value.source)
        source = source.ljust(widths.get(isinstance(value.source, syntax.Reference), 0))
        return layout.chain([margin + source], value.steps, len(margin) + len(source) + 1)
    assert not isinstance(value, syntax.Assignment)
    first, *others = layout.value(value, INDENT, len(margin))
    return [margin + first, *others]


# ------------------------------------------------------------------------------------------------- spaces


def _space(space: syntax.Space, layout: Layout) -> list[Line]:
    lines = [Line(f"{'network' if space.network else 'space'} {space.name} {{")]

    def related(a: syntax.SpaceItem, b: syntax.SpaceItem) -> bool:
        return _family(a) == _family(b) and not layout.hints.is_apart(b)

    for index, run in enumerate(_runs(space.items, related)):
        gap = "keep" if layout.hints.written else "always" if index else "never"
        for texts in _space_items(run, layout):
            lines += [Line(texts[0], gap), *map(Line, texts[1:])]
            gap = "keep" if layout.hints.written else "never"
    return [*lines, Line("}")]


def _family(item: syntax.SpaceItem) -> int:
    match item:
        case syntax.Let():
            return 1
        case syntax.Stage() | syntax.Head():
            return 2
        case _:
            return 0


def _space_items(run: Sequence[syntax.SpaceItem], layout: Layout) -> list[Lines]:
    lets = [item for item in run if isinstance(item, syntax.Let)]
    stages = [item for item in run if isinstance(item, syntax.Stage | syntax.Head)]
    settings = [item for item in run if isinstance(item, Setting)]
    return _lets(lets, layout) or Stages(layout).lines(stages) or _settings(settings, layout)


def _lets(lets: Sequence[syntax.Let], layout: Layout) -> list[Lines]:
    names = max((len(item.name) for item in lets), default=0)
    return [_let(item, f"  let {item.name.ljust(names)} = ", layout) for item in lets]


def _let(item: syntax.Let, prefix: str, layout: Layout) -> Lines:
    return prefixed(prefix, lambda column: layout.value(item.value, INDENT, column), 0)


def _settings(settings: Sequence[Setting], layout: Layout) -> list[Lines]:
    width = max((len(_keyword(item)) for item in settings), default=0)
    return [_setting(item, f"  {_keyword(item).ljust(width)} ", layout) for item in settings]


def _keyword(item: Setting) -> str:
    return item.name if isinstance(item, syntax.Attribute) else type(item).__name__.lower()


def _setting(item: Setting, prefix: str, layout: Layout) -> Lines:
    match item:
        case syntax.Input():
            return [f"{prefix}{item.kind} {print_value(item.value)}"]
        case syntax.Output():
            values = map(print_value, item.values)
            return prefixed(prefix, lambda column: hang(f"{item.kind} ", values, "", column), 0)
        case syntax.Attribute():
            return prefixed(prefix, lambda column: layout.value(item.value, INDENT, column), 0)
        case syntax.Default():
            prefix += "" if item.block is None else f"{item.block} "
            if not item.properties and layout.hints.holds_comment(item):
                return [f"{prefix}{{", "  }"]
            return prefixed(prefix, lambda column: layout.braces(item.properties, INDENT, column), 0)
