"""Which parts of a graph are its layers: the division into library blocks, or what stands for them, that is cheapest.

A dynamic programme over the cuts: a library block costs 1, an operator by itself more, a block of one's own most. So
few and known blocks win.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nasc.compiler.ir import Graph, Node
from nasc.exported.library_blocks import LONGEST, Recogniser
from nasc.exported.local_blocks import local_block, structure
from nasc.exported.numbers import changed, pads_same, sides
from nasc.exported.segments import ACTIVATIONS, NORMS, Segment, cuts, in_reading_order, segment, spelled
from nasc.stage_lines import Layer

_LIBRARY, _OPERATOR, _STRAY, _CHAIN, _OWN = 1.0, 1.5, 2.0, 2.5, 4.0
_STRAIGHT = re.compile("na?[cpd]|na")
"""Straight rows that become blocks: a norm and an activation before a convolution, or without one."""


@dataclass(frozen=True)
class Layered:
    """The layers up to the head, the head's, and the text of the blocks that are not the library's."""

    body: tuple[Layer, ...]
    head: tuple[Layer, ...]
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    part: Segment
    layer: Layer | None
    """None for a segment that becomes a block of its own."""


def layered(graph: Graph) -> Layered:
    """Divide a graph into layers."""
    where = cuts(graph)
    start = _head_start(graph, where)
    recogniser = Recogniser(any(node.op == "hard_sigmoid" for node in graph.nodes))
    body = _places(graph, [cut for cut in where if cut <= start], recogniser)
    head = _places(graph, [cut for cut in where if cut >= start], recogniser)
    layers, blocks = _with_own_blocks([*body, *head])
    return Layered(tuple(layers[: len(body)]), tuple(layers[len(body) :]), tuple(blocks))


def _head_start(graph: Graph, where: list[int]) -> int:
    """Where the head begins: at the global pooling with nothing but a row of operators after it, or the last cut."""
    if graph.nodes[-1].op == "linear":
        for cut in reversed(where[:-1]):
            if cut + 1 not in where or graph.nodes[cut].output.positions > 1:
                break
            if graph.nodes[cut].op == "global_pool":
                return cut
    return where[-2]


def _places(graph: Graph, where: list[int], recogniser: Recogniser) -> list[_Place]:
    """The cheapest division between the first and the last of these cuts."""
    best: dict[int, tuple[float, list[_Place]]] = {where[0]: (0.0, [])}
    for i, start in enumerate(where[:-1]):
        cost, before = best[start]
        for end in where[i + 1 :]:
            if end - start > LONGEST and end != where[i + 1]:
                break
            for price, place in _ways(graph, start, end, where[i + 1], recogniser):
                if end not in best or cost + price < best[end][0]:
                    best[end] = (cost + price, [*before, place])
    return best[where[-1]][1]


def _ways(graph: Graph, start: int, end: int, next_cut: int, known: Recogniser) -> Iterator[tuple[float, _Place]]:
    """What the nodes between two cuts can be, and what that costs; `next_cut` is the first after `start`."""
    part = segment(graph, start, end)
    layer = known.layer(part) if end - start <= LONGEST else None
    if layer is not None:
        yield _LIBRARY, _Place(part, layer)
    elif end - start == 1 and (single := _operator(part.nodes[0])) is not None:
        yield _STRAY if part.nodes[0].op in ACTIVATIONS | NORMS else _OPERATOR, _Place(part, single)
    elif end == next_cut or (end - 1 == next_cut > start + 1 and part.nodes[-1].op in ACTIVATIONS):
        yield _OWN, _Place(part, None)
    elif part.is_chain and _STRAIGHT.fullmatch(spelled(part.nodes, part.graph.shapes)):
        yield _CHAIN, _Place(part, None)


def _operator(node: Node) -> Layer | None:
    """An operator as a layer by itself, or None for one that is none."""
    a = node.attributes
    if node.op in ("conv2d", "slice", *_JOINS):
        return None
    if node.op in ("max_pool", "avg_pool"):
        values = [("kernel", sides(a["kernel"])), ("stride", str(a["stride"][0]))]
        padding = [] if pads_same(node) else [("padding", sides(a["padding"]))]
        return Layer(node.op, None, (*values, *padding))
    if node.op == "linear":
        return Layer("linear", int(str(node.output.channels)), () if a["bias"] else (("bias", "no"),))
    return Layer(node.op, None, changed(node))


_JOINS = ("add", "mul", "concat")


def _with_own_blocks(places: list[_Place]) -> tuple[list[Layer], list[str]]:
    """The layers with a block for each structure that is not the library's: `part1`, …."""
    groups: dict[tuple[object, ...], dict[int, Segment]] = {}
    for i, place in enumerate(places):
        if place.layer is None:
            part = in_reading_order(place.part)
            groups.setdefault(structure(part), {})[i] = part
    layers = [place.layer for place in places]
    blocks = []
    for number_, members in enumerate(groups.values(), start=1):
        text, own = local_block(f"part{number_}", list(members.values()))
        blocks.append(text)
        for i, layer in zip(members, own, strict=True):
            layers[i] = layer
    return [layer for layer in layers if layer is not None], blocks
