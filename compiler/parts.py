"""Layers whose blocks search several widths, divided into parts that search one each.

A transformer layer is attention and then a feed-forward network, each with its shortcut: one tensor passes from the
first to the second, so that the number of heads and the hidden width can be searched, priced and measured separately. A
part is a layer of the network with its own address, `body.3/1`; the text of a space knows only the layer, `body.3`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import TypeVar

from nasc.compiler.expr import variables
from nasc.compiler.ir import Graph, Layer, Node, Variant

_SIGN = "/"
_IN = "in"

_Named = TypeVar("_Named")


def layer_address(address: str) -> str:
    """The address in the text: `body.3` of the part `body.3/1`, any other as it is."""
    return address.partition(_SIGN)[0]


def by_layer(found: Mapping[str, _Named]) -> Iterator[tuple[str, list[_Named]]]:
    """What belongs to the parts of one layer together, in order, with the layer's address in the text."""
    for address, items in groupby(found.items(), key=lambda item: layer_address(item[0])):
        yield address, [value for _, value in items]


def divided(layer: Layer) -> tuple[Layer, ...]:
    """The layer as parts with one searched range each, or as it is, where it needs none or cannot be divided.

    It can where one tensor of a fixed width passes from each part to the next, no decision is of two parts, and its
    variants are all ways to leave some of the parts out. A layer that may be dropped is dropped whole: it stays.
    """
    if layer.skippable or all(_ranges(variant) < 2 for variant in layer.variants):
        return (layer,)
    chains = [_chain(variant) for variant in layer.variants]
    whole = max(chains, key=len)
    if len(whole) < 2 or len({part.graph for part in map(_Form.of, whole)}) < len(whole):
        return (layer,)
    there = [_present(chain, whole) for chain in chains]
    if None in there or not _is_product([each for each in there if each is not None]):
        return (layer,)
    presence = [each for each in there if each is not None]
    full = presence.index((True,) * len(whole))
    return tuple(_part(layer, place, part, _absent(layer, presence, place, full)) for place, part in enumerate(whole))


def in_series(graphs: Sequence[Graph]) -> tuple[Graph, tuple[dict[str, str], ...]]:
    """Graphs of parts as the graph of their layer, and for each what its nodes are called there."""
    if len(graphs) == 1:
        return graphs[0], ({node.name: node.name for node in graphs[0].nodes},)
    nodes: list[Node] = []
    places: list[dict[str, str]] = []
    last = _IN
    for number, graph in enumerate(graphs):
        names = {node.name: f"{number}.{node.name}" for node in graph.nodes}
        known = {**names, _IN: last}
        nodes += [
            node.model_copy(update={"name": names[node.name], "inputs": tuple(known[name] for name in node.inputs)})
            for node in graph.nodes
        ]
        last = known[graph.output]
        places.append(names)
    return Graph(inputs=graphs[0].inputs, nodes=tuple(nodes), output=last), tuple(places)


def whole_variant(layer: Layer, parts: Iterable[Variant]) -> int:
    """The number of the layer's variant that variants of its parts make up. Raises `StopIteration` where none is."""
    chosen: dict[str, str] = {}
    for part in parts:
        chosen |= part.chosen
    return next(i for i, variant in enumerate(layer.variants) if variant.chosen == chosen)


# ------------------------------------------------------------------------------------------------ dividing


def _ranges(variant: Variant) -> int:
    return sum(d.ordered and d.domain.size > 1 for d in variant.decisions)


def _chain(variant: Variant) -> list[Variant]:
    """A variant as parts of one range each; one part where it cannot be divided so."""
    if not variant.graph.nodes:
        return []
    ranges = {d.address for d in variant.decisions if d.ordered and d.domain.size > 1}
    parts: list[list[Node]] = []
    for segment in _segments(variant):
        if parts and len(ranges & _mentioned([*parts[-1], *segment])) < 2:
            parts[-1] += segment
        else:
            parts.append(list(segment))
    if not parts:
        return [variant]
    mentioned = [_mentioned(part) for part in parts]
    own = {d.address for d in variant.decisions}
    if any(own & a & b for i, a in enumerate(mentioned) for b in mentioned[:i]) or any(
        len(ranges & each) > 1 for each in mentioned
    ):
        return [variant]
    mentioned[0] |= own - set().union(*mentioned)
    return [
        variant.model_copy(
            update={
                "chosen": variant.chosen if number == 0 else {},
                "decisions": tuple(d for d in variant.decisions if d.address in names),
                "shared": {k: v for k, v in variant.shared.items() if k in names},
                "graph": _cut_out(variant.graph, nodes),
            }
        )
        for number, (nodes, names) in enumerate(zip(parts, mentioned, strict=True))
    ]


def _segments(variant: Variant) -> Iterator[list[Node]]:
    """The nodes between two places where one tensor alone passes, whose width is not the variant's to decide."""
    graph, own = variant.graph, {d.address for d in variant.decisions}
    last_read = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    last_read[graph.output] = len(graph.nodes)
    waiting = {name for name in graph.inputs if name in last_read}
    segment: list[Node] = []
    for i, node in enumerate(graph.nodes):
        segment.append(node)
        waiting = {name for name in {*waiting, node.name} if last_read.get(name, -1) > i}
        if waiting == {node.name} and not own & variables(node.output.channels):
            yield segment
            segment = []
    if segment:
        yield segment


def _mentioned(nodes: Iterable[Node]) -> set[str]:
    """The decisions that nodes depend on."""
    found: set[str] = set()
    for node in nodes:
        found |= variables(node.output.channels)
        for value in node.attributes.values():
            for size in value if isinstance(value, tuple) else (value,):
                found |= variables(size)
    return found


def _cut_out(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """Some of a graph's nodes as a graph, whose input is the one tensor that they read of the others."""
    own = {node.name for node in nodes}
    sources = {name for node in nodes for name in node.inputs} - own
    outside = {name: _IN if name not in graph.inputs else name for name in sources}
    renamed = tuple(
        node.model_copy(update={"inputs": tuple(outside.get(name, name) for name in node.inputs)}) for node in nodes
    )
    inputs = {inner: graph.tensor(name) for name, inner in outside.items()}
    return Graph(inputs=inputs, nodes=renamed, output=nodes[-1].name)


# ------------------------------------------------------------------------------------------------ variants


@dataclass(frozen=True)
class _Form:
    """What a part computes, whatever its nodes are called."""

    graph: str

    @classmethod
    def of(cls, part: Variant) -> _Form:
        numbers = {name: f"@{name}" for name in part.graph.inputs}
        rows = [str({name: str(tensor) for name, tensor in part.graph.inputs.items()})]
        for node in part.graph.nodes:
            inputs = [numbers[name] for name in node.inputs]
            rows.append(f"{node.op} {inputs} {sorted((k, str(v)) for k, v in node.attributes.items())} {node.output}")
            numbers[node.name] = str(len(numbers))
        domains = [(d.address, str(d.domain)) for d in part.decisions]
        return cls("\n".join([*rows, numbers[part.graph.output], str(domains)]))


def _present(chain: Sequence[Variant], whole: Sequence[Variant]) -> tuple[bool, ...] | None:
    """Which parts of the whole a variant has; None where it has others."""
    left = [_Form.of(part) for part in chain]
    present = []
    for part in whole:
        present.append(bool(left) and left[0] == _Form.of(part))
        if present[-1]:
            left.pop(0)
    return None if left else tuple(present)


def _is_product(presence: Sequence[tuple[bool, ...]]) -> bool:
    """Is each part there or not whatever the others are?"""
    ways = [sorted({each[place] for each in presence}) for place in range(len(presence[0]))]
    return len(set(presence)) == len(presence) and set(presence) == set(product(*ways))


def _absent(layer: Layer, presence: Sequence[tuple[bool, ...]], place: int, full: int) -> Variant | None:
    """What stands for a part that is left out, with the choices that leave it out; None where it never is."""
    without = tuple(i != place for i in range(len(presence[0])))
    if without not in presence:
        return None
    variant, whole = layer.variants[presence.index(without)], layer.variants[full]
    known = {d.address for d in whole.decisions}
    kept = {d.address for d in variant.decisions}
    shape = layer.input
    return Variant(
        block="identity",
        chosen={k: v for k, v in variant.chosen.items() if whole.chosen.get(k) != v},
        decisions=tuple(d for d in variant.decisions if d.address not in known and d.address in kept),
        graph=Graph(inputs={_IN: shape}, nodes=(), output=_IN),
    )


def _part(layer: Layer, place: int, variant: Variant, absent: Variant | None) -> Layer:
    shape = variant.graph.inputs.get(_IN, layer.input)
    if absent is not None:
        graph = absent.graph.model_copy(update={"inputs": {_IN: shape}})
        absent = absent.model_copy(update={"graph": graph})
    return Layer(
        address=f"{layer.address}{_SIGN}{place + 1}",
        variants=(variant, absent) if absent is not None else (variant,),
        skippable=False,
        input=shape,
        output=variant.graph.result,
    )
