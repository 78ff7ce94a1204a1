"""What is told about a place: shapes and costs of a layer, signatures and documentation, where a value comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lsprotocol.types import Hover, MarkupContent, MarkupKind, Position

from nasc.compiler.cost import Range, cost_of, layer_costs
from nasc.compiler.count import count_members
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.outline import Row, outline
from nasc.compiler.primitives import NAMES, PRIMITIVES
from nasc.dsl import syntax
from nasc.dsl.codes import CODES
from nasc.dsl.diagnostics import NascError
from nasc.dsl.loader import Module
from nasc.lsp import words
from nasc.lsp.document import Document, Version
from nasc.lsp.names import Occurrence, Symbol
from nasc.lsp.options import options_of

MOST_ROWS = 12


def hover(document: Document, position: Position) -> Hover | None:
    """What is told about a place; None where there is nothing to tell."""
    version = document.version
    offset = version.lines.offset(position)
    parts = [*_wrong(document, version, offset)]
    place = version.names.at(offset)
    if place is not None:
        told = _about(document, version, place)
        parts += [told] if told else []
        span: tuple[int, int] | None = (place.start, place.end)
    else:
        told, span = _about_word(document, version, offset)
        parts += [told] if told else []
    shown = version.lines.range(*span) if span is not None else None
    return Hover(MarkupContent(MarkupKind.Markdown, "\n\n---\n\n".join(parts)), shown) if parts else None


def _wrong(document: Document, version: Version, offset: int) -> Iterator[str]:
    """What the code of a diagnostic at the place means."""
    if document.checked is None or document.checked[0] is not version:
        return
    for found in document.checked[1].diagnostics.found:
        span = found.span
        info = CODES.get(found.code)
        if info and span and span.source is version.module.file.source and span.start <= offset <= span.end:
            yield f"**{found.code}: {info.title}**\n\n{info.explanation}\n\n*Mend:* {info.mend}"


def _about(document: Document, version: Version, place: Occurrence) -> str:
    symbol = place.symbol
    match symbol.kind:
        case "block":
            return about_block(version.asked.blocks.get(symbol.name))
        case "primitive":
            return about_primitive(symbol.name)
        case "parameter":
            about = (about_parameter(version.asked, s.owner, s.name) for s in place.symbols)
            return "\n\n".join([*dict.fromkeys(about), *_inherited(version, place)])
        case "local":
            return f"`{symbol.name}`: a value of the block `{symbol.owner}`"
        case "let":
            return _let(version, symbol)
        case "stage":
            return about_stage(document, symbol.name)
        case "space":
            return about_space(document)
        case "method" | "option":
            return _about_option(symbol)
        case _:
            return words.SPACE_ITEMS.get(symbol.name, "")


# ------------------------------------------------------------------------------------------------- blocks


def about_block(block: syntax.Block | None) -> str:
    """A block's signature and documentation."""
    if block is None:
        return ""
    text = block.span.source.text
    brace = next((s.span.start for s in block.statements), block.span.end)
    head = " ".join(text[block.span.start : brace].split()).rstrip("{ ")
    doc = f"\n\n{' '.join(block.doc.split())}" if block.doc else ""
    return f"```nas\n{head}\n```{doc}"


def about_primitive(name: str) -> str:
    """An operator's call and what it does."""
    primitive = PRIMITIVES.get(name)
    if primitive is None:
        return f"`{name}`: {words.MORE[name]}" if name in words.MORE else ""
    call = ", ".join(
        n if (default := words.default_text(None, name, n)) is None else f"{n} = {default}"
        for n in primitive.parameters
    )
    arrow = " -> width" if primitive.arrow else ""
    doc = " ".join((type(primitive).__doc__ or "").split())
    return f"```nas\n{name}{f'({call})' if call else ''}{arrow}\n```\n\n{doc}"


def about_parameter(module: Module, operator: str, name: str) -> str:
    """What a parameter of a block or operator is, and its default."""
    block = module.blocks.get(operator) if operator not in NAMES else None
    default = words.default_text(block, operator, name)
    kind = next((p.kind for p in block.parameters if p.name == name), None) if block else None
    told = f": {words.KINDS[kind]}" if kind else ""
    ending = f"default `{default}`" if default is not None else "it must be given where it is used"
    return f"`{name}` of `{operator}`{told}; {ending}"


def _inherited(version: Version, place: Occurrence) -> Iterator[str]:
    """Where else the same parameter is given: what this value overrides, or what overrides a default."""
    space = version.asked.space
    owners = {s.owner for s in place.symbols}
    if space is None or not space.span.start <= place.start < space.span.end:
        return
    for item in space.items:
        inside = item.span.start <= place.start < item.span.end
        if isinstance(item, syntax.Default) and not inside and (item.block is None or item.block in owners):
            for prop in item.properties:
                if prop.name == place.symbol.name:
                    where = f"default {item.block}" if item.block else "default"
                    yield f"overrides `{_text(prop)}` of `{where}`"
        if isinstance(item, syntax.Stage) and inside:
            for prop in item.properties:
                if prop.name == place.symbol.name and prop.name_span.start != place.start:
                    yield f"overrides `{_text(prop)}` of stage `{item.name}`"


def _text(node: syntax.Node) -> str:
    return " ".join(node.span.source.text[node.span.start : node.span.end].split())


def _let(version: Version, symbol: Symbol) -> str:
    checker = version.names.space
    let = checker.lets.get(symbol.name) if checker is not None else None
    uses = sum(not o.defines for o in version.names.of([symbol]))
    return f"```nas\n{_text(let)}\n```\n\none decision, used {uses} times" if let is not None else ""


# ------------------------------------------------------------------------------------------------- layers


def about_stage(document: Document, name: str, layer: int | None = None) -> str:
    """The shapes, open values and costs of a stage's layers, or of one; of the last text that had no errors."""
    space = document.good.space if document.good is not None else None
    if space is None:
        return ""
    rows = [r for r in outline(space) if r.layer == name or r.layer.split(".")[0] == name]
    try:
        costs = layer_costs(space)
    except NascError as error:  # too many values to try
        return error.message
    if layer is not None:
        rows = [r for r in rows if r.layer == f"{name}.{layer}" or (layer == 1 and r.layer == name)]
    lines = [_row(row, costs[row.layer].params, costs[row.layer].macs) for row in rows[:MOST_ROWS]]
    more = [f"… and {len(rows) - MOST_ROWS} more layers"] if len(rows) > MOST_ROWS else []
    head = "| layer | block | in | out | open | ways | parameters | MACs |\n|---|---|---|---|---|---|---|---|\n"
    return head + "\n".join(lines) + "".join(f"\n\n{m}" for m in more) if lines else ""


def _row(row: Row, params: Range, macs: Range) -> str:
    cells = [row.layer, row.block, row.input, row.output, row.choices, f"{row.members:,}", _range(params), _range(macs)]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _range(span: Range) -> str:
    return f"{span.min:,}" if span.min == span.max else f"{span.min:,} .. {span.max:,}"


def about_space(document: Document) -> str:
    """The members and costs of the file's space, of the last text that had no errors."""
    space = document.good.space if document.good is not None else None
    if space is None:
        return ""
    count = count_members(space)
    members = f"{count:,}" if count < 10**15 else f"about 10^{len(str(count)) - 1}"
    try:
        cost = cost_of(space)
    except NascError as error:  # too many values to try
        return f"`{space.name}`: {members} members  \n{error.message}"
    return f"`{space.name}`: {members} members  \nparameters {_range(cost.params)}  \nMACs {_range(cost.macs)}"


# ------------------------------------------------------------------------------------------------- words


def _about_option(symbol: Symbol) -> str:
    if symbol.kind == "method":
        try:
            return f"`{symbol.name}`: {find_method(symbol.name).about}"
        except NascError:
            return ""
    kind, rest = symbol.owner.split(" ", 1)
    option = options_of([kind, *rest.split(".")]).get(symbol.name)
    if option is None:
        return ""
    told: Iterable[str] = (
        f"`{option.name}`{f': {option.about}' if option.about else ''}",
        f"default `{option.default}`" if option.default else "",
        f"one of {', '.join(f'`{w}`' for w in option.words)}" if option.words else "",
    )
    return "  \n".join(text for text in told if text)


def _about_word(document: Document, version: Version, offset: int) -> tuple[str, tuple[int, int] | None]:
    """What is told about a word that is no name in the tree: a keyword, or a name where the text is half written."""
    token = version.names.words.at(offset)
    if token is None:
        return "", None
    name, place = str(token), (token.start_pos or 0, token.end_pos or 0)
    if token.type == "LAYER" or token.type == "INT":
        found = _layer_at(version, offset)
        if found is not None:
            return about_stage(document, *found), place
    if token.type != "NAME":
        return (f"`{name}`: {words.WORDS[name]}" if name in words.WORDS else ""), place
    if name in version.asked.blocks:
        return about_block(version.asked.blocks[name]), place
    if name in NAMES:
        return about_primitive(name), place
    return about_stage(document, name), place


def _layer_at(version: Version, offset: int) -> tuple[str, int] | None:
    """The stage and layer whose row begins at a place."""
    for item in version.asked.space.items if version.asked.space else ():
        for row in item.rows if isinstance(item, syntax.Stage) else ():
            begin = row.span.source.text[row.span.start : offset]
            if row.span.start <= offset <= row.span.end and "{" not in begin and "->" not in begin:
                assert isinstance(item, syntax.Stage)
                return item.name, row.first
    return None
