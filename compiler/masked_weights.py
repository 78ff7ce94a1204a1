"""Which channels of the SuperNet a network keeps, and where each of its weights lies in the SuperNet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nasc.compiler.concrete import ConcreteLayer, concrete
from nasc.compiler.ir import Graph, Network, Node
from nasc.compiler.lower_masked import widest
from nasc.compiler.masked_member import Kept
from nasc.compiler.masks import MaskedLayer, MaskedNetwork, follow
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import channels_of
from nasc.compiler.segments import Derived, Masked, Plain, Segment, Taken
from nasc.compiler.specialise import JOINS
from nasc.compiler.vanishing import alive
from nasc.compiler.weights import joined
from nasc.dsl.diagnostics import NascError

Channels = tuple[int, ...]
_BY_CHANNEL = frozenset({"conv2d", "linear", "bn", "/bn", "layer_scale", "class_token"})
"""Operators whose tensors have channels of what they make on their first axis."""
Places = tuple[str, str]
"""A tensor: the address of its layer and the name of its node."""


def kept_channels(masked: MaskedNetwork, kept: Kept) -> dict[Places, Channels]:
    """Which channels of each tensor of the SuperNet the network has, in its order; absent tensors are not named."""
    layers = _by_layer(masked, kept)
    return {(address, name): channels for address, layer in layers.items() for name, channels in layer.made.items()}


def _by_layer(masked: MaskedNetwork, kept: Kept) -> dict[str, _Channels]:
    ordered = _cut_masks(masked)
    found: dict[str, _Channels] = {}

    def channels(layer: MaskedLayer, known: Mapping[str, Channels | None]) -> Channels | None:
        made = found[layer.layer.address] = _Channels(layer, kept, ordered, known)
        return made.output

    network = masked.fullest.network
    every: Channels | None = tuple(range(channels_of(network.input)))
    follow(network, [(layer.layer.address, layer) for layer in masked.layers], every, channels)
    return found


def _cut_masks(masked: MaskedNetwork) -> frozenset[str]:
    """The masks whose channels are ordered by their probability, because others take the first of them."""
    every = (s for segments in masked.masks.values() for s in segments)
    return frozenset(s.source.name for s in every if isinstance(s, Taken) and isinstance(s.source, Masked))


class _Channels:
    """The channels that are kept of one layer's tensors, by name: `inputs`, and `made` by its nodes."""

    def __init__(
        self,
        layer: MaskedLayer,
        kept: Kept,
        ordered: frozenset[str],
        outputs: Mapping[str, Channels | None],
    ) -> None:
        self.layer, self.kept, self.ordered = layer, kept, ordered
        self.left = alive(layer.graph, kept.widths)
        self.inputs = {name: outputs[name] for name in layer.graph.inputs}
        self.sizes = {name: sum(s.size for s in segments) for name, segments in layer.segments.items()}

    @cached_property
    def made(self) -> dict[str, Channels]:
        """The channels of each node of which something is left."""
        known: dict[str, Channels | None] = dict(self.inputs)
        for node in self.layer.graph.nodes:
            known[node.name] = self._channels(node, known) if node.name in self.left else self._passed(node, known)
        return {node.name: found for node in self.layer.graph.nodes if (found := known[node.name]) is not None}

    @property
    def output(self) -> Channels | None:
        """What the layer hands on."""
        output = self.layer.graph.output
        return self.made.get(output, self.inputs.get(output))

    def _passed(self, node: Node, known: Mapping[str, Channels | None]) -> Channels | None:
        """A join of one operand is that operand; anything else that is not there has no channels."""
        there = [found for name in node.inputs if (found := known[name]) is not None]
        if len(there) != 1 or node.op not in JOINS:
            return None
        return self._beside(node, known) if node.op == "concat" else there[0]

    def _beside(self, node: Node, known: Mapping[str, Channels | None]) -> Channels:
        """The channels of a concatenation, which lie where they do in the SuperNet's."""
        beside: list[int] = []
        offset = 0
        for name in node.inputs:
            beside += [offset + i for i in known[name] or ()]
            offset += self.sizes[name]
        return tuple(beside)

    def _channels(self, node: Node, known: Mapping[str, Channels | None]) -> Channels:
        segments = self.layer.segments[node.name]
        if node.op == "concat":
            return self._beside(node, known)
        if node.op == "slice" and isinstance(segments[0], Plain):
            return tuple(range(segments[0].size))
        if PRIMITIVES[node.op].channelwise or self._is_depthwise(node):
            inside = next(found for name in node.inputs if (found := known[name]) is not None)
            return inside[: self.kept.widths[segments[0].name]] if isinstance(segments[0], Taken) else inside
        return tuple(self._of(segments))

    def _is_depthwise(self, node: Node) -> bool:
        """Is it a convolution of each channel by itself, whose channels are its input's?"""
        grouped = node.op == "conv2d" and node.attributes["groups"] != 1
        return grouped and self.layer.segments[node.name] == self.layer.segments[node.inputs[0]]

    def _of(self, segments: Sequence[Segment]) -> Iterator[int]:
        offset = 0
        for segment in segments:
            match segment:
                case Plain(size):
                    chosen: Sequence[int] = range(size)
                case Masked(name):
                    first = self.kept.ranked[name][: self.kept.widths[name]]
                    chosen = first if name in self.ordered else sorted(first)
                case Derived():
                    chosen = range(segment.counts[self.kept.widths[segment.of]])
                case Taken():
                    raise AssertionError("only a cut makes such channels")
            yield from (offset + i for i in chosen)
            offset += segment.size


# ------------------------------------------------------------------------------------------------- weights


@dataclass(frozen=True)
class Gathered:
    """The tensor `target` of a network's `model.py`: of the SuperNet's `source`, these channels of its first axis, and
    where they are given of its second."""

    target: str
    source: str
    shape: tuple[int, ...]
    first: tuple[int, ...] = ()
    second: tuple[int, ...] | None = None


def gathered(masked: MaskedNetwork, kept: Kept, network: Network) -> tuple[Gathered, ...]:
    """Where each tensor of the network's `model.py` lies in the SuperNet, in the network's order.

    Raises `NascError` where the network is not that of `kept`.
    """
    sources = list(_stored_there(masked, kept))
    targets = [(layer, node) for layer in concrete(network).layers() for node in _stored(layer.graph)]
    if len(sources) != len(targets):
        raise _foreign(f"{len(targets)} operators with weights, {len(sources)} were kept")
    pairs = zip(sources, targets, strict=True)
    return tuple(tensor for source, (layer, node) in pairs for tensor in _tensors(source, layer, node))


@dataclass(frozen=True)
class _Source:
    """A node of the SuperNet with weights: where its module lies, and the channels that are kept of what it makes and
    of what it reads, None for all of them."""

    address: str
    path: str
    node: Node
    inside: Channels | None
    made: Channels


def _stored(graph: Graph) -> Iterator[Node]:
    """The nodes that hold weights."""
    for node in graph.nodes:
        if PRIMITIVES[node.op].state(node, [graph.tensor(name) for name in node.inputs]):
            yield node


def _stored_there(masked: MaskedNetwork, kept: Kept) -> Iterator[_Source]:
    """The SuperNet's nodes with weights that are kept, in order."""
    layers = _by_layer(masked, kept)
    for made in concrete(widest(masked)).layers():
        layer, paths = layers[made.address], made.parameters()
        known = {**layer.inputs, **layer.made}
        for node in _stored(made.graph):
            if node.name in layer.left:
                inside = known[node.inputs[0]]
                whole = inside == tuple(range(channels_of(made.graph.tensor(node.inputs[0]))))
                inside = None if whole else inside
                yield _Source(made.address, paths[node.name], node, inside, layer.made[node.name])


def _tensors(source: _Source, layer: ConcreteLayer, made: Node) -> Iterator[Gathered]:
    node = source.node
    if node.op.removeprefix("/") != made.op:
        raise _foreign(f"`{made.op}` in `{layer.address}` where `{node.op}` of `{source.address}` was kept")
    place = layer.parameters()[made.name]
    for tensor in PRIMITIVES[made.op].state(made, [layer.graph.tensor(name) for name in made.inputs]):
        names = joined(place, tensor.name), joined(source.path, tensor.name)
        yield Gathered(*names, tensor.shape, *_axes(source, len(tensor.shape), tensor.name))


def _axes(source: _Source, axes: int, name: str) -> tuple[Channels, Channels | None]:
    """Which channels are kept of a tensor's first axis (none said: all) and of its second."""
    op = source.node.op
    if op == "position":
        return (), source.made
    if op not in _BY_CHANNEL or not axes:
        return (), None
    dense = op in ("conv2d", "linear") and name == "weight" and source.node.attributes.get("groups", 1) == 1
    return source.made, source.inside if dense else None


def _foreign(why: str) -> NascError:
    return NascError(f"the network is not what was kept: {why}", help="use the space and the masks of one search")
