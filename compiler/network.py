"""From an elaborated space to an `ir.Network`: what code can be generated for.

A network has one state at every place: whatever the members decide, each layer sees one input shape (which may be
symbolic in a shared width). Spaces in which layers may vanish under others, or hand on widths that depend on their own
decisions, are elaborated, counted and costed, but not lowered yet.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.ir import Branch, Decision, Graph, Layer, Network, Node, Stage, Tensor, Variant
from nasc.compiler.parts import divided
from nasc.compiler.trellis import Edge, Slot
from nasc.compiler.values import Mistake
from nasc.dsl import syntax
from nasc.dsl.diagnostics import DiagnosticError, Span


def network_of(space: Space) -> Network:
    """The network of a space, layers with several searched widths divided into parts (`nasc.compiler.parts`).

    Raises `DiagnosticError` (E0380) where it cannot be lowered yet, naming the place.
    """
    network = whole_network_of(space)
    stages = tuple(
        stage.model_copy(update={"layers": tuple(part for layer in stage.layers for part in divided(layer))})
        for stage in network.stages
    )
    return network.model_copy(update={"stages": stages})


def whole_network_of(space: Space) -> Network:
    """The network of a space with its layers as they are written. Raises as `network_of`."""
    spans = {s.name: s.name_span for s in space.header.stages}
    slots: dict[str, list[Layer]] = {}
    head: Layer | None = None
    for slot in space.trellis.slots:
        layer = _layer(slot, spans.get(slot.stage, space.syntax.span))
        if slot.index == 0:
            head = layer
        else:
            slots.setdefault(slot.stage, []).append(layer)
    stages = tuple(
        Stage(
            name=stage.name,
            source=stage.source,
            layers=tuple(slots.get(stage.name, ())),
            depth=_depth(space, stage),
        )
        for stage in space.header.stages
    )
    return frame_of(space).model_copy(update={"stages": stages, "head": head})


def frame_of(space: Space) -> Network:
    """The network of a space without its layers."""
    kind, values = space.header.output.kind, space.header.output.values
    return Network(
        name=space.name,
        single=space.syntax.network,
        input=space.header.input,
        output=(kind, tuple(_words(values))),
        stages=(),
        head=None,
        shared=tuple(space.trellis.shared.values()),
    )


def _words(values: tuple[syntax.Value, ...]) -> list[str]:
    words: list[str] = []
    for value in values:
        parts = value.sizes if isinstance(value, syntax.Shape) else (value,)
        words.extend(p.text if isinstance(p, syntax.Number) else ".".join(getattr(p, "parts", ("?",))) for p in parts)
    return words


def _depth(space: Space, stage: syntax.Stage) -> Decision | None:
    domain = space.trellis.depths[stage.name]
    return Decision(address=f"@{stage.name}.x", domain=domain, ordered=True) if domain.size > 1 else None


_MEMBERS = "compile one member: `nasc sample` draws some"


def _refuse(why: str, span: Span, help: str = _MEMBERS) -> DiagnosticError:
    message = f"there is no SuperNet of this space: {why}"
    return DiagnosticError([Mistake("E0380", message, span, help).diagnostic])


def _varying(slot: Slot, built: Sequence[Edge], span: Span) -> DiagnosticError:
    """What a layer hands on has not one shape: which decisions are in it, and how to make them."""
    newly = {name.lstrip("?@") for edge in built for name in edge.newly}
    lets = sorted(name for name in newly if "." not in name)
    if not lets:
        return _refuse(f"what `{slot.address}` hands on has a width that is under search, or may be absent", span)
    cells = {name.lstrip("@"): cell for edge in built for name, cell in edge.target.cells}
    values = {name: cell.first for name in lets if isinstance(cell := cells.get(name), Domain)}
    mend = " ".join(f"--set {name}={value}" for name, value in values.items())
    words = " and ".join(f"`{name}`" for name in lets)
    help = f"give {words} one value: `{mend}`" if len(values) == len(lets) else _MEMBERS
    return _refuse(f"the shape that `{slot.address}` hands on depends on {words}", span, help)


def _layer(slot: Slot, span: Span) -> Layer:
    states = [s for s in slot.edges if not s.done]
    if len(states) != 1:
        raise _refuse(f"what `{slot.address}` gets depends on decisions before it", span)
    (state,) = states
    built = [e for e in slot.edges[state] if e.kind == "build"]
    if not built:
        return _dropped(slot.address, state.current)
    shapes = {e.target.current for e in built}
    if len(shapes) != 1 or any(e.out is not None for e in built) or next(iter(shapes)).absent:
        raise _varying(slot, built, span)
    variants = [v for e in built if e.variant is not None for v in hoisted(e.variant)]
    return Layer(
        address=slot.address,
        variants=tuple(_named(v, slot) for v in variants),
        skippable=slot.skippable,
        input=state.current,
        output=next(iter(shapes)),
    )


def _dropped(address: str, shape: Tensor) -> Layer:
    """A layer that every member drops."""
    graph = Graph(inputs={"in": shape}, nodes=(), output="in")
    variant = Variant(block="identity", chosen={}, decisions=(), graph=graph)
    return Layer(address=address, variants=(variant,), skippable=False, input=shape, output=shape)


def _named(variant: Variant, slot: Slot) -> Variant:
    return variant.model_copy(update={"block": "head"}) if slot.index == 0 else variant


def hoisted(variant: Variant) -> list[Variant]:
    """A variant whose only nested choice is one `one of`, as one variant for each alternative (FBNet's layers)."""
    nested = [n for n in variant.graph.nodes if n.branches]
    if len(nested) != 1 or nested[0].op != "one_of":
        return [variant]
    return [_spliced(variant, nested[0], branch, inner) for branch in nested[0].branches for inner in branch.variants]


def _spliced(variant: Variant, choice: Node, branch: Branch, inner: Variant) -> Variant:
    """A variant with a nested choice replaced by one of its alternatives."""
    source = choice.inputs[0]
    taken = {n.name for n in variant.graph.nodes}
    names = {"in": source}
    nodes: list[Node] = []
    for node in variant.graph.nodes:
        if node is choice:
            for part in inner.graph.nodes:
                names[part.name] = _free(part.name, taken)
                taken.add(names[part.name])
                renamed = tuple(names.get(i, i) for i in part.inputs)
                nodes.append(part.model_copy(update={"name": names[part.name], "inputs": renamed}))
        else:
            nodes.append(node)
    result = names.get(inner.graph.output, inner.graph.output)
    nodes = [n.model_copy(update={"inputs": tuple(result if i == choice.name else i for i in n.inputs)}) for n in nodes]
    output = result if variant.graph.output == choice.name else variant.graph.output
    graph = Graph(inputs=variant.graph.inputs, nodes=tuple(nodes), output=output)
    return variant.model_copy(
        update={
            "graph": graph,
            "block": branch.name.split(" ")[0].split("{")[0],
            "chosen": {**variant.chosen, str(choice.attributes["address"]): branch.name, **inner.chosen},
            "decisions": (*variant.decisions, *inner.decisions),
            "shared": {**variant.shared, **inner.shared},
        }
    )


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    stem = name.rsplit("_", 1)[0]
    return next(n for i in range(1, 10_000) if (n := f"{stem}_{i}") not in taken)
