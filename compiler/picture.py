"""What a picture of a space shows: its stages as groups of boxes, equal neighbouring layers as one box."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from nasc.compiler.count import count_members, edge_weights
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational, bounds
from nasc.compiler.ir import Tensor
from nasc.compiler.layers import LayerText, layer_texts
from nasc.compiler.trellis import Edge, Slot, State, Trellis
from nasc.compiler.values import SpaceScope
from nasc.dsl import syntax
from nasc.dsl.format_values import print_callee, print_property, print_step, print_value
from nasc.dsl.walk import mentions

Weight = Callable[[Edge], int]
LONGEST = 120
"""Characters of a phrase; what is beyond is left out."""


@dataclass(frozen=True)
class Box:
    """One layer, or several neighbours that are written alike.

    `phrases` are its parameters as written, `rows` the alternatives of a choice. `ways` says in how many ways each
    can be built, dropping it included. `input` and `output` are shapes of all members: `24 × 8 × 8`, `0–64 × 8 × 8`.
    """

    layers: tuple[str, ...]
    block: str
    phrases: tuple[str, ...]
    rows: tuple[str, ...]
    input: str
    output: str
    optional: bool
    ways: str


@dataclass(frozen=True)
class Group:
    """A stage (or the head). `source` names the stage it starts from, `uses` further stages that it takes in."""

    name: str
    boxes: tuple[Box, ...]
    source: str
    uses: tuple[str, ...]
    depth: str
    output: bool


@dataclass(frozen=True)
class Picture:
    """A space: what comes in, the groups in order, what comes out (empty where stages are the outputs), and notes."""

    title: str
    input: str
    groups: tuple[Group, ...]
    output: str
    notes: tuple[str, ...]
    results: tuple[str, ...]
    """What each stage that is an output gives, a line each."""


def picture(space: Space) -> Picture:
    """What to draw of a space."""
    header, trellis = space.header, space.trellis
    weight = edge_weights()
    outputs = mentions(header.output)
    groups: list[Group] = []
    before = ""
    for stage in header.stages:
        slots = [slot for slot in trellis.slots if slot.stage == stage.name and slot.index]
        uses = sorted(mentions(stage) & {group.name for group in groups})
        boxes = tuple(_merged(_boxes(space, stage, slots, weight)))
        depth = "" if isinstance(stage.count, syntax.Number) or stage.count is None else print_value(stage.count)
        groups.append(Group(stage.name, boxes, stage.source or before, tuple(uses), depth, stage.name in outputs))
        before = stage.name
    if header.head is not None:
        groups.append(Group("head", (_head(header.head, trellis),), before, (), "", False))
    return Picture(
        space.name,
        f"input {_shape([(header.input, trellis.starts[0])], trellis)}",
        tuple(groups),
        _output(header.output),
        _notes(space),
        tuple(_result(group, trellis, header.input) for group in groups if group.output),
    )


def amount(count: int) -> str:
    """A count as people read it: 1,024, then 1.1e41."""
    if count < 1_000_000:
        return f"{count:,}"
    exponent = int((count.bit_length() - 1) * 0.3010299956639812)
    exponent += count >= 10 ** (exponent + 1)
    tenths = count * 10 // 10**exponent if exponent < 5000 else 10
    return f"{tenths // 10}.{tenths % 10}e{exponent}"


# ------------------------------------------------------------------------------------------------- layers


def _boxes(space: Space, stage: syntax.Stage, slots: Sequence[Slot], weight: Weight) -> Iterator[Box]:
    texts = layer_texts(stage, space.header, len(slots), SpaceScope(space.header.lets, {}))
    least = space.trellis.depths[stage.name].first
    for slot, text in zip(slots, texts, strict=True):
        yield Box(
            layers=(slot.address,),
            block=_block(text.callee),
            phrases=tuple(_phrases(space, text)),
            rows=_rows(text.callee),
            input=_shape(_inputs(slot), space.trellis),
            output=_shape(_outputs(slot), space.trellis),
            optional=slot.skippable or slot.index > least,
            ways=_ways(slot, weight),
        )


def _ways(slot: Slot, weight: Weight) -> str:
    counts = {sum(weight(e) for e in edges if e.kind in ("build", "drop")) for edges in slot.edges.values()}
    most = max(counts)
    return "" if most == 1 else f"{'≤ ' if len(counts) > 1 else ''}{amount(most)} ways"


def _merged(boxes: Iterable[Box]) -> Iterator[Box]:
    """Equal neighbours as one box."""
    last: Box | None = None
    for box in boxes:
        if last is not None and replace(box, layers=last.layers) == last:
            last = replace(last, layers=(*last.layers, *box.layers))
            continue
        if last is not None:
            yield last
        last = box
    if last is not None:
        yield last


def _block(callee: syntax.Call | syntax.Choice) -> str:
    if isinstance(callee, syntax.Call):
        return callee.name
    return f"{callee.quantifier} of" if callee.join is None else f"{callee.quantifier} of, by {callee.join}"


def _rows(callee: syntax.Call | syntax.Choice) -> tuple[str, ...]:
    if isinstance(callee, syntax.Call):
        return ()
    return tuple(_clipped(" | ".join(map(_step, candidate.steps))) for candidate in callee.candidates)


def _step(step: syntax.Step) -> str:
    if isinstance(step.operator, syntax.Call) and step.operator.properties:
        properties = "  ".join(map(print_property, step.operator.properties))
        width = "" if step.width is None else f" → {print_value(step.width)}"
        return f"{print_callee(step.operator)}  {properties}{width}"
    return print_step(step).replace("->", "→")


def _phrases(space: Space, text: LayerText) -> Iterator[str]:
    """What stage and row give a layer, in the order of the block's parameters, and a width that is not a number."""
    for name, kinds in _parameters(space, text.callee).items():
        value = text.given.get(name)
        if value is not None and not (value.of_stage and text.index > 1 and kinds == {"first"}):
            yield _clipped(f"{name} {print_value(value.value)}")
    width = text.width.value if text.width is not None else None
    if width is not None and not isinstance(width, syntax.Number):
        assert not isinstance(width, str)
        yield _clipped(f"→ {print_value(width)}")


def _parameters(space: Space, callee: syntax.Call | syntax.Choice) -> dict[str, set[str | None]]:
    """The parameters of a block, or of a choice's blocks where these do not state them; how each is declared."""
    calls = [callee] if isinstance(callee, syntax.Call) else [_first_call(c) for c in callee.candidates]
    found: dict[str, set[str | None]] = {}
    for call in calls:
        if call is not None and call.name in space.world.blocks:
            stated = {prop.name for prop in call.properties}
            for parameter in space.world.blocks[call.name].parameters:
                if parameter.name not in stated:
                    found.setdefault(parameter.name, set()).add(parameter.kind)
    return found


def _first_call(candidate: syntax.Candidate) -> syntax.Call | None:
    operator = candidate.steps[0].operator
    return operator if isinstance(operator, syntax.Call) else None


def _head(head: syntax.Head, trellis: Trellis) -> Box:
    slot = next(slot for slot in trellis.slots if not slot.index)
    steps = [_clipped(_step(step)) for step in head.steps]
    phrases = tuple(step if not at else f"| {step}" for at, step in enumerate(steps))
    shapes = _shape(_inputs(slot), trellis), _shape(_outputs(slot), trellis)
    return Box(("head",), "", phrases, (), *shapes, optional=False, ways="")


# ------------------------------------------------------------------------------------------------- shapes


Seen = tuple[Tensor, State]
"""A tensor and the state that its width is seen from."""


def _inputs(slot: Slot) -> list[Seen]:
    return [(state.current, state) for state in slot.edges if not state.done]


def _outputs(slot: Slot) -> list[Seen]:
    edges = [edge for edges in slot.edges.values() for edge in edges if edge.kind in ("build", "drop")]
    return [(edge.target.output_of(slot.stage), edge.target) for edge in edges]


def _shape(seen: Sequence[Seen], trellis: Trellis) -> str:
    """The shape that holds all of them, each size as its least and greatest value."""
    tensors = [tensor for tensor, _ in seen]
    if not tensors or tensors[0].ids:
        return f"{tensors[0].tokens} tokens" if tensors else ""
    ends = [_ends(tensor, state, trellis) for tensor, state in seen]
    channels = _span(min(low for low, _ in ends), max(high for _, high in ends))
    present = [tensor for tensor in tensors if not tensor.absent] or tensors
    sides = [_span(min(sizes), max(sizes)) for sizes in zip(*(tensor.spatial for tensor in present), strict=False)]
    return " × ".join([*sides, channels] if present[0].tokens is not None else [channels, *sides])


def _ends(tensor: Tensor, state: State, trellis: Trellis) -> tuple[int, int]:
    def domain(address: str) -> tuple[Rational, Rational]:
        cell = dict(state.cells).get(address)
        if isinstance(cell, Domain):
            return cell.first, cell.last
        if address in trellis.shared:
            return trellis.shared[address].domain.first, trellis.shared[address].domain.last
        cells = [cell for cell in trellis.partitions[address] if isinstance(cell, Domain)]
        return min(cell.first for cell in cells), max(cell.last for cell in cells)

    low, high = bounds(tensor.channels, domain)
    return int(low), int(high)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"


# ------------------------------------------------------------------------------------------------- about the whole


def _result(group: Group, trellis: Trellis, given: Tensor) -> str:
    """An output: its shape, and how much smaller it is than the image that came in."""
    slot = [slot for slot in trellis.slots if slot.stage == group.name and slot.index][-1]
    heights = {tensor.height for tensor, _ in _outputs(slot) if not tensor.absent}
    height = heights.pop() if len(heights) == 1 else None
    strided = height is not None and given.height is not None and given.height % height == 0
    stride = f", stride {given.height // height}" if strided and given.height and height else ""
    return f"output {group.name}: {group.boxes[-1].output}{stride}"


def _output(item: syntax.Output) -> str:
    values = ", ".join(print_value(value).replace(" x ", " × ") for value in item.values)
    return "" if item.kind == "features" else f"{item.kind} {values}"


def _notes(space: Space) -> tuple[str, ...]:
    """The number of members, shared decisions, and what holds for all stages."""
    members = count_members(space)
    notes = [] if members == 1 else [f"{amount(members)} members"]
    for item in space.syntax.items:
        match item:
            case syntax.Let():
                notes.append(_clipped(f"{item.name} = {print_value(item.value)}"))
            case syntax.Default():
                properties = "  ".join(map(print_property, item.properties))
                notes.append(_clipped(f"{item.block or 'all layers'}: {properties}"))
            case syntax.Attribute(name="granularity"):
                notes.append(f"widths in multiples of {print_value(item.value)}")
    return tuple(notes)


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
