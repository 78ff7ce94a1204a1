"""The fullest network of a space, with every width still a symbol: what methods that mask channels search in.

Every layer and every operator of an `any of` is there. Alternatives of a layer (kernels, `one of`) stand beside each
other, added; where each would add the layer's input, it is added once. Alternatives that differ in a width only are
the widest one (FiGS, 3.3). The names of decisions are unique in the network: `low.1.expand`, and `low.1.2.expand` in
the second of several alternatives; shared ones keep their `@`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nasc.compiler.concrete import INPUT
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Size
from nasc.compiler.full_layer import FullLayer, Open
from nasc.compiler.fullest_ways import Way, fullest_ways
from nasc.compiler.ir import Decision, Graph, Layer, Network, Stage, Tensor, Variant
from nasc.compiler.merge_widths import merged_widths
from nasc.compiler.methods.refused import Refused
from nasc.compiler.network import frame_of, hoisted
from nasc.compiler.side_by_side import LayerJoin, widths_of
from nasc.compiler.specialise import specialise
from nasc.compiler.trellis import Slot, State


@dataclass(frozen=True)
class Fullest:
    """The fullest network: `network` has one variant for each layer. `shared` are the masks of shared decisions."""

    layers: tuple[FullLayer, ...]
    shared: tuple[Open, ...]
    network: Network

    def opens(self) -> Iterator[Open]:
        """Every decision with a mask, shared ones first."""
        yield from self.shared
        for layer in self.layers:
            for operator in layer.operators:
                yield from operator.opens


def fullest(space: Space, merge: bool = True) -> Fullest:
    """The fullest network of a space. With `merge`, alternatives that differ in a width only are one.

    Raises `Refused` at a place that masks cannot relax.
    """
    return _Walk(space, merge).result()


class _Walk:
    """Follows the fullest path through the trellis."""

    def __init__(self, space: Space, merge: bool) -> None:
        self.space, self.merge = space, merge
        self.known: dict[str, Size] = {}
        """What opaque sizes (what a layer hands on) are in symbols."""
        self.layers: list[FullLayer] = []

    def result(self) -> Fullest:
        trellis = self.space.trellis
        for name, depth in trellis.depths.items():
            if depth.size > 1:
                raise Refused(name, "the number of its layers is a range", f"fix it: `--set {name}.x={depth.last}`")
        (state,) = trellis.starts
        for slot in trellis.slots:
            state = self._layer(slot, state)
        shared = [d for d in trellis.shared.values() if d.domain.size > 1 and d.address not in self.known]
        opens = tuple(Open(d.address, d.address, widths_of(d, d.address.removeprefix("@"))) for d in shared)
        return Fullest(tuple(self.layers), opens, self._network())

    def _layer(self, slot: Slot, state: State) -> State:
        """Add a slot's layer and return the state behind it."""
        if state.cells:
            why = "what is built depends on a shared decision, not only how wide it is"
            raise Refused(slot.address, why, "give the shared decision one value with --set")
        edges = slot.edges[state]
        every = [Way(e, v) for e in edges if e.variant is not None for v in hoisted(e.variant)]
        ways = fullest_ways(every)
        if not ways:
            (edge,) = [e for e in edges if not e.target.current.absent][:1]
            self.layers.append(FullLayer(slot.address, (), specialise(_nothing(state.current), self.known), False))
            return edge.target
        if len({way.edge.target for way in ways}) > 1:
            why = "what it hands on decides how later layers are built, not only how wide they are"
            raise Refused(slot.address, why, "give what is decided here one value with --set")
        if self.merge and all(way.edge.out is None for way in ways):
            edge = ways[0].edge
            ways = [Way(edge, each.variant, each.texts) for each in merged_widths([way.variant for way in ways])]
        layer = LayerJoin(slot, ways, every, self.known, self.space.world.blocks).layer()
        self.layers.append(layer)
        edge = ways[0].edge
        if edge.out is not None:
            self.known[edge.out] = layer.graph.result.channels
        return edge.target

    def _network(self) -> Network:
        built = {layer.address: _built(layer) for layer in self.layers}
        frame = frame_of(self.space)
        stages = tuple(
            Stage(
                name=stage.name,
                source=stage.source,
                layers=tuple(built[slot.address] for slot in self.space.trellis.slots if slot.stage == stage.name),
            )
            for stage in self.space.header.stages
        )
        shared = tuple(d for d in self.space.trellis.shared.values())
        return frame.model_copy(update={"stages": stages, "head": built.get("head"), "shared": shared})


def _nothing(shape: Tensor) -> Graph:
    return Graph(inputs={INPUT: shape}, nodes=(), output=INPUT)


def _built(layer: FullLayer) -> Layer:
    graph = layer.graph
    decisions = tuple(
        Decision(address=each.name, domain=Domain.of(each.widths), ordered=True)
        for operator in layer.operators
        for each in operator.opens
    )
    block = _block(layer)
    variant = Variant(block=block, chosen={}, decisions=decisions, graph=graph)
    shapes = graph.inputs.get(INPUT, graph.result), graph.result
    return Layer(address=layer.address, variants=(variant,), skippable=False, input=shapes[0], output=shapes[1])


def _block(layer: FullLayer) -> str:
    """What a layer's class is called after."""
    if layer.address == "head":
        return "head"
    found = re.match(r"[A-Za-z_]\w*", layer.operators[0].block) if layer.operators else None
    return found.group() if found else "block"
