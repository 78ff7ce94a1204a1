"""From a space's text to the list of its layers: who is built from what, with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from nasc.compiler.build import Builder
from nasc.compiler.domain import Domain
from nasc.compiler.expr import Expr, Rational
from nasc.compiler.ir import Tensor
from nasc.compiler.paths import Path
from nasc.compiler.values import Bound, Mistake, SpaceScope
from nasc.compiler.world import World, clip
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span, did_you_mean

MAX_LAYERS = 1_000
MAX_SIDE = 100_000
EMPTY = SpaceScope({}, {})


@dataclass(frozen=True, eq=False)
class LayerText:
    """What the text says of one layer. `key` is equal for layers that are written alike."""

    stage: str
    index: int
    callee: syntax.Call | syntax.Choice
    given: Mapping[str, Bound]
    width: Bound | None
    skip: str
    span: Span
    key: tuple[object, ...]

    @property
    def address(self) -> str:
        return f"{self.stage}.{self.index}"


@dataclass(frozen=True, eq=False)
class Header:
    """A space's items that are not stages."""

    input: Tensor
    output: syntax.Output
    classes: int | None
    granularity: Rational | None
    skip: str
    lets: Mapping[str, syntax.Let]
    stages: tuple[syntax.Stage, ...]
    head: syntax.Head | None
    defaults: Mapping[str | None, Mapping[str, Bound]]
    sites: tuple[syntax.Property, ...]


def read_header(space: syntax.Space) -> Header:
    """Read the items of a space. Raises `Mistake`."""
    one: dict[type, syntax.SpaceItem] = {}
    attributes: dict[str, syntax.Attribute] = {}
    lets: dict[str, syntax.Let] = {}
    stages: list[syntax.Stage] = []
    defaults: dict[str | None, dict[str, Bound]] = {}
    sites: list[syntax.Property] = []
    for item in space.items:
        match item:
            case syntax.Input() | syntax.Output() | syntax.Head():
                if type(item) in one:
                    word = type(item).__name__.lower()
                    raise Mistake("E0353", f"a second `{word}`", item.span, "a space has one")
                one[type(item)] = item
            case syntax.Attribute():
                _attribute(item, attributes)
            case syntax.Let():
                if item.name in lets:
                    raise Mistake("E0352", f"`{item.name}` is defined twice", item.span)
                lets[item.name] = item
            case syntax.Default():
                group = defaults.setdefault(item.block, {})
                for prop in item.properties:
                    group[prop.name] = Bound(prop.value, SpaceScope(lets, {}), prop.name, prop, of_stage=True)
                    sites.append(prop)
            case syntax.Stage():
                stages.append(item)
    return _header(space, one, attributes, lets, stages, defaults, sites)


def _attribute(item: syntax.Attribute, attributes: dict[str, syntax.Attribute]) -> None:
    if item.name not in ("granularity", "skip"):
        raise Mistake(
            "E0354",
            f"a space has no `{item.name}`",
            item.span,
            did_you_mean(item.name, ["granularity", "skip", "input", "output", "stage", "head", "default", "let"]),
        )
    if item.name in attributes:
        raise Mistake("E0353", f"a second `{item.name}`", item.span, "a space has one")
    attributes[item.name] = item


def _header(
    space: syntax.Space,
    one: dict[type, syntax.SpaceItem],
    attributes: dict[str, syntax.Attribute],
    lets: dict[str, syntax.Let],
    stages: list[syntax.Stage],
    defaults: dict[str | None, dict[str, Bound]],
    sites: list[syntax.Property],
) -> Header:
    given = one.get(syntax.Input)
    output = one.get(syntax.Output)
    head = one.get(syntax.Head)
    for item, word in ((given, "input image 3 x 224 x 224"), (output, "output classes 1000")):
        if item is None:
            raise Mistake("E0301", f"a space needs an `{word.split()[0]}`", space.name_span, f"for example `{word}`")
    assert isinstance(given, syntax.Input) and isinstance(output, syntax.Output)
    if not stages and head is None:
        raise Mistake("E0302", "a space needs stages", space.name_span, "add `stage NAME BLOCK …` and a `head`")
    if head is None and output.kind != "features":
        raise Mistake("E0302", "a space needs a head", space.name_span, "for example `head global_pool | linear`")
    grid = attributes.get("granularity")
    skip = attributes.get("skip")
    granularity = _number(grid.value) if grid is not None else None
    if grid is not None and (granularity is None or granularity <= 0):
        raise Mistake("E0348", "the granularity must be a number above 0", grid.span)
    return Header(
        input=_input(given),
        output=output,
        classes=_classes(output),
        granularity=granularity,
        skip=_skip(skip.value) if skip is not None else "no",
        lets=lets,
        stages=tuple(stages),
        head=head if isinstance(head, syntax.Head) else None,
        defaults=defaults,
        sites=tuple(sites),
    )


def _number(value: syntax.Value) -> Rational | None:
    number = Builder(World({}, None, None), Path((), {})).value(value, EMPTY, "")
    return number if isinstance(number, int | Fraction) and not isinstance(number, bool) else None


def _sizes(value: syntax.Value, what: str) -> tuple[int, ...]:
    parts = value.sizes if isinstance(value, syntax.Shape) else (value,)
    sizes: list[int] = []
    for part in parts:
        number = _number(part)
        if number is None or number != int(number) or not 1 <= number <= MAX_SIDE:
            raise Mistake("E0349", f"{what} must be whole numbers from 1 to {MAX_SIDE}", part.span)
        sizes.append(int(number))
    return tuple(sizes)


def _input(item: syntax.Input) -> Tensor:
    if item.kind == "image":
        sizes = _sizes(item.value, "the sizes of an image")
        if len(sizes) != 3:
            raise Mistake("E0349", "an image has channels, height and width", item.span, "input image 3 x 224 x 224")
        return Tensor(channels=sizes[0], height=sizes[1], width=sizes[2])
    if item.kind == "tokens":
        return Tensor(channels=0, tokens=_sizes(item.value, "the number of tokens")[0], ids=True)
    raise Mistake("E0355", f"no input is called `{item.kind}`", item.span, did_you_mean(item.kind, ["image", "tokens"]))


def _classes(item: syntax.Output) -> int | None:
    if item.kind in ("classes", "tokens"):
        return _sizes(item.values[0], f"the number of {item.kind}")[0]
    if item.kind == "depth":
        if len(_sizes(item.values[0], "the sizes of a depth map")) != 3:
            raise Mistake("E0349", "a depth map has channels, height and width", item.span)
        return None
    if item.kind == "features":
        return None
    kinds = ["classes", "tokens", "depth", "features"]
    raise Mistake("E0355", f"no output is called `{item.kind}`", item.span, did_you_mean(item.kind, kinds))


def _skip(value: syntax.Value) -> str:
    word = value.parts[0] if isinstance(value, syntax.Reference) and len(value.parts) == 1 else ""
    if word not in ("no", "yes", "same_shape"):
        raise Mistake("E0313", "`skip` is `no`, `yes` or `same_shape`", value.span)
    return word


def layer_texts(stage: syntax.Stage, header: Header, count: int, scope: SpaceScope) -> list[LayerText]:
    """The layers of a stage, rows applied. Raises `Mistake` for a row that names no layer."""
    rows: dict[int, syntax.Row] = {}
    for row in stage.rows:
        if row.first > row.last or row.first < 1 or row.last > count:
            raise Mistake("E0314", f"`{stage.name}` has layers 1 to {count}", row.span)
        for index in range(row.first, row.last + 1):
            if index in rows:
                raise Mistake("E0315", f"layer {index} has two rows", row.span)
            rows[index] = row
    return [_layer(stage, header, index, rows.get(index), scope) for index in range(1, count + 1)]


def _layer(stage: syntax.Stage, header: Header, index: int, row: syntax.Row | None, scope: SpaceScope) -> LayerText:
    given: dict[str, Bound] = {}
    skip = header.skip
    for properties, of_stage in ((stage.properties, True), (row.properties if row else (), False)):
        names: set[str] = set()
        for prop in properties:
            if prop.name in names:
                raise Mistake("E0316", f"`{prop.name}` is given twice", prop.span)
            names.add(prop.name)
            if prop.name == "skip":
                skip = _skip(prop.value)
                continue
            given[prop.name] = Bound(prop.value, scope, prop.name, prop, of_stage)
    callee = row.callee if row is not None and row.callee is not None else stage.callee
    width = stage.width
    address = f"@{stage.name}.width"
    if row is not None and row.width is not None:
        width, address = row.width, f"@{stage.name}.{index}.width"
    return LayerText(
        stage=stage.name,
        index=index,
        callee=callee,
        given=given,
        width=Bound(width, scope, address) if width is not None else None,
        skip=skip,
        span=row.span if row is not None else stage.name_span,
        key=(id(callee), tuple(id(b.site) for b in given.values()), id(width), address, skip, index == 1),
    )


def depth_domain(stage: syntax.Stage, evaluator: Builder, scope: SpaceScope) -> Domain:
    """The numbers of layers a stage may have. Raises `Mistake`."""
    if stage.count is None:
        return Domain.grid(1, 1)
    span = stage.count.span
    if isinstance(stage.count, syntax.Range | syntax.Interval):
        domain = evaluator.domain(stage.count, scope, None)
    elif isinstance(stage.count, syntax.ValueSet):
        domain = Domain.of([n for m in stage.count.members for n in _counts(m, evaluator, scope)])
    else:
        domain = Domain.grid(*[evaluator.whole(evaluator.size(stage.count, scope), span)] * 2)
    if not _possible(domain):
        raise _out_of_bounds(str(domain), span)
    evaluator.world.layers[stage.name] = int(domain.last)
    total = sum(evaluator.world.layers.values())
    if total > MAX_LAYERS:
        raise Mistake(
            "E0347", f"{total:,} layers are out of bounds", span, f"a space has at most {MAX_LAYERS:,} layers"
        )
    return domain


def _possible(domain: Domain) -> bool:
    return (
        domain.first >= 0 and 1 <= domain.last <= MAX_LAYERS and all(n == int(n) for n in (domain.first, domain.step))
    )


def _out_of_bounds(words: str, span: Span) -> Mistake:
    return Mistake(
        "E0347", f"a stage of {clip(words)} layers is out of bounds", span, f"from 1 to {MAX_LAYERS:,} layers"
    )


def _counts(member: syntax.Value, evaluator: Builder, scope: SpaceScope) -> list[int]:
    """The numbers of layers that one member of a set stands for."""
    if isinstance(member, syntax.Range):
        domain = evaluator.domain(member, scope, None)
        if not _possible(domain):
            raise _out_of_bounds(str(domain), member.span)
        return [int(n) for n in domain]
    return [_whole(evaluator.size(member, scope), member.span)]


def _whole(size: object, span: Span) -> int:
    if isinstance(size, Expr) or not isinstance(size, int):
        raise Mistake("E0331", "the number of layers must be a whole number", span)
    if size > MAX_LAYERS:
        raise _out_of_bounds(str(size), span)
    return size
