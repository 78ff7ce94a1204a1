"""From probabilities of channels to one network: its widths, the channels that it keeps, its text, its weights.

Where FiGS's text ends ("the floor of the summed probabilities", 3.2), this decides: the most probable channels stay;
a width is the largest that the space allows up to that floor; whether an operator without widths is there is rounded;
a layer of which nothing would be left keeps its most probable operator at its smallest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nasc.compiler.concrete import ConcreteLayer, concrete
from nasc.compiler.fullest import FullLayer, Open, Operator
from nasc.compiler.ir import Graph, Network, Node
from nasc.compiler.lower_masked import widest
from nasc.compiler.masks import Derived, Masked, MaskedLayer, MaskedNetwork, Plain, Segment, Taken, alive
from nasc.compiler.member import Member
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.specialise import AbsentOutput, specialise
from nasc.compiler.substitution import Decided
from nasc.compiler.weights import joined
from nasc.compiler.world import dotted
from nasc.dsl.diagnostics import NascError

Probabilities = Mapping[str, Sequence[float]]
Places = tuple[str, str]
"""A tensor: the address of its layer and the name of its node."""


@dataclass(frozen=True)
class Kept:
    """What is kept of each mask: how many channels, and all of its channels with the most probable first."""

    widths: Mapping[str, int]
    ranked: Mapping[str, tuple[int, ...]]


def keep(masked: MaskedNetwork, probabilities: Probabilities) -> Kept:
    """The network that probabilities stand for. Raises `KeyError` for a decision without any."""
    widths, ranked = {}, {}
    for name, each in masked.opens.items():
        found = probabilities[name]
        ranked[name] = tuple(sorted(range(len(found)), key=lambda i: (-found[i], i)))
        widths[name] = _width(each, found)
    means = {name: math.fsum(found) / len(found) for name, found in probabilities.items()}
    for layer in masked.layers:
        _revive(layer, widths, masked, means)
    return Kept(widths, ranked)


def _width(each: Open, probabilities: Sequence[float]) -> int:
    if each.presence:
        return int(probabilities[0] >= 0.5)
    most = math.floor(math.fsum(probabilities) + 1e-9)
    return max((w for w in each.widths if w <= most), default=each.widths[0])


def _revive(layer: MaskedLayer, widths: dict[str, int], masked: MaskedNetwork, means: Mapping[str, float]) -> None:
    """Give a layer of which nothing would be left an operator, the most probable one; in place."""
    if _stands(layer, widths):
        return
    own = [each for operator in layer.layer.operators for each in operator.opens if not widths[each.name]]
    own.sort(key=lambda each: -means[each.name])
    least = {each.name: min(w for w in each.widths if w) for each in own}
    for each in own:
        if _stands(layer, {**widths, each.name: least[each.name]}):
            widths[each.name] = least[each.name]
            return
    for each in own:
        widths[each.name] = least[each.name]
        if _stands(layer, widths):
            return


def _stands(layer: MaskedLayer, widths: Mapping[str, int]) -> bool:
    graph = layer.layer.graph
    try:
        left = specialise(graph, widths)
    except (AbsentOutput, ZeroDivisionError):
        return False
    return not graph.nodes or layer.layer.may_go or bool(left.nodes)


# ------------------------------------------------------------------------------------------------- the member


def member_of(masked: MaskedNetwork, kept: Kept) -> Member:
    """The member with these widths."""
    layers: dict[str, Decided | None] = {}
    beside: dict[str, tuple[Decided, ...]] = {}
    for layer in masked.layers:
        left = alive(layer.layer.graph, kept.widths)
        there = [each for each in layer.layer.operators if _is_there(each, left, layer.layer)]
        decided = tuple(_decided(each, kept.widths, left) for each in there)
        layers[layer.layer.address] = decided[0] if decided else None
        if len(decided) > 1:
            beside[layer.layer.address] = decided
    shared = {each.name: kept.widths[each.name] for each in masked.fullest.shared}
    return Member(layers, shared, beside)


def _is_there(operator: Operator, left: frozenset[str], layer: FullLayer) -> bool:
    """Is something of an operator left? One without nodes of its own, such as a pool, is what it ends in."""
    return operator.node in left or (len(layer.operators) == 1 and bool(left))


def _decided(operator: Operator, widths: Mapping[str, int], left: frozenset[str]) -> Decided:
    """An operator's decisions. Those in operators of an `any of` that are gone are left out."""
    decided: dict[str, int | str] = dict(operator.chosen)
    gone: set[str] = set()
    somewhere: dict[str, bool] = {}
    for branch in operator.branches:
        there = branch.node in left
        decided[branch.address] = int(there)
        gone |= set() if there else set(branch.names)
        choice = branch.address.rpartition(".")[0]
        somewhere[choice] = somewhere.get(choice, False) or there
    decided |= {dotted(choice, "some"): "some" if there else "none" for choice, there in somewhere.items()}
    for each in operator.opens:
        if not each.presence and each.address not in gone:
            width = widths[each.name]
            decided[each.address] = each.texts.get(width, width)
    return decided


# ------------------------------------------------------------------------------------------------- channels


def kept_channels(masked: MaskedNetwork, kept: Kept) -> dict[Places, tuple[int, ...]]:
    """Which channels of each tensor of the SuperNet the network has, in its order; absent tensors are not named."""
    found: dict[Places, tuple[int, ...]] = {}
    outputs: dict[str, tuple[int, ...] | None] = {"in": tuple(range(_size(masked)))}
    sources = {stage.name: stage.source for stage in masked.fullest.network.stages}
    ordered = _cut_masks(masked)
    for layer in masked.layers:
        address = layer.layer.address
        stage, _, number = address.rpartition(".")
        if number == "1" and sources.get(stage) is not None:
            outputs["in"] = outputs[str(sources[stage])]
        walk = _Channels(layer, kept, ordered, outputs)
        made = walk.run()
        found |= {(address, name): channels for name, channels in made.items()}
        outputs["in"] = outputs[stage] = made.get(layer.graph.output, walk.inputs.get(layer.graph.output))
    return found


def _size(masked: MaskedNetwork) -> int:
    return int(masked.fullest.network.input.channels)  # type: ignore[arg-type]


def _cut_masks(masked: MaskedNetwork) -> frozenset[str]:
    """The masks whose channels are ordered by their probability, because others take the first of them."""
    every = (s for segments in masked.masks.values() for s in segments)
    return frozenset(s.source.name for s in every if isinstance(s, Taken) and isinstance(s.source, Masked))


class _Channels:
    """Follows the channels that are kept through one layer."""

    def __init__(
        self,
        layer: MaskedLayer,
        kept: Kept,
        ordered: frozenset[str],
        outputs: Mapping[str, tuple[int, ...] | None],
    ) -> None:
        self.layer, self.kept, self.ordered = layer, kept, ordered
        self.left = alive(layer.graph, kept.widths)
        self.inputs = {name: outputs[name] for name in layer.graph.inputs}

    def run(self) -> dict[str, tuple[int, ...]]:
        known: dict[str, tuple[int, ...] | None] = dict(self.inputs)
        self.sizes = {name: _total(segments) for name, segments in self.layer.segments.items()}
        for node in self.layer.graph.nodes:
            known[node.name] = self._channels(node, known) if node.name in self.left else self._passed(node, known)
        return {node.name: found for node in self.layer.graph.nodes if (found := known[node.name]) is not None}

    def _passed(self, node: Node, known: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...] | None:
        """A join of one operand is that operand; anything else that is not there has no channels."""
        there = [found for name in node.inputs if (found := known[name]) is not None]
        if len(there) != 1 or node.op not in ("add", "concat", "mul"):
            return None
        return self._beside(node, known) if node.op == "concat" else there[0]

    def _beside(self, node: Node, known: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...]:
        """The channels of a concatenation, which lie where they do in the SuperNet's."""
        beside: list[int] = []
        offset = 0
        for name in node.inputs:
            beside += [offset + i for i in known[name] or ()]
            offset += self.sizes[name]
        return tuple(beside)

    def _channels(self, node: Node, known: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...]:
        segments = self.layer.segments[node.name]
        if node.op == "concat":
            return self._beside(node, known)
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


def _total(segments: Sequence[Segment]) -> int:
    return sum(segment.size for segment in segments)


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
    channels = kept_channels(masked, kept)
    sources = list(_stored_there(masked, kept))
    targets = [(layer, node) for layer in concrete(network).layers() for node in _stored(layer.graph)]
    if len(sources) != len(targets):
        raise _foreign(f"{len(targets)} operators with weights, {len(sources)} were kept")
    return tuple(
        tensor
        for (layer, path, node, inside), (target, made) in zip(sources, targets, strict=True)
        for tensor in _tensors(layer, path, node, inside, channels, target, made)
    )


def _stored(graph: Graph) -> Iterator[Node]:
    """The nodes that hold weights."""
    for node in graph.nodes:
        if PRIMITIVES[node.op].state(node, [graph.tensor(name) for name in node.inputs]):
            yield node


def _stored_there(masked: MaskedNetwork, kept: Kept) -> Iterator[tuple[MaskedLayer, str, Node, tuple[int, ...]]]:
    """The SuperNet's nodes with weights that are kept, in order, with their paths and the channels they read."""
    layers = {layer.layer.address: layer for layer in masked.layers}
    channels = kept_channels(masked, kept)
    inputs = _inputs(masked, channels)
    for made in concrete(widest(masked)).layers():
        layer = layers[made.address]
        left = alive(layer.graph, kept.widths)
        paths = made.parameters()
        for node in _stored(made.graph):
            if node.name in left:
                source = node.inputs[0]
                inside = channels.get((made.address, source), inputs[made.address].get(source))
                yield layer, paths[node.name], node, inside or ()


def _inputs(
    masked: MaskedNetwork, channels: Mapping[Places, tuple[int, ...]]
) -> dict[str, dict[str, tuple[int, ...] | None]]:
    """The channels of what each layer reads from others."""
    found: dict[str, dict[str, tuple[int, ...] | None]] = {}
    outputs: dict[str, tuple[int, ...] | None] = {"in": tuple(range(_size(masked)))}
    sources = {stage.name: stage.source for stage in masked.fullest.network.stages}
    for layer in masked.layers:
        address = layer.layer.address
        stage, _, number = address.rpartition(".")
        if number == "1" and sources.get(stage) is not None:
            outputs["in"] = outputs[str(sources[stage])]
        found[address] = {name: outputs[name] for name in layer.graph.inputs}
        output = layer.graph.output
        outputs["in"] = outputs[stage] = channels.get((address, output), found[address].get(output))
    return found


def _tensors(
    layer: MaskedLayer,
    path: str,
    node: Node,
    inside: tuple[int, ...],
    channels: Mapping[Places, tuple[int, ...]],
    target: ConcreteLayer,
    made: Node,
) -> Iterator[Gathered]:
    if node.op.removeprefix("/") != made.op:
        raise _foreign(f"`{made.op}` in `{target.address}` where `{node.op}` of `{layer.layer.address}` was kept")
    place = target.parameters()[made.name]
    inputs = [target.graph.tensor(name) for name in made.inputs]
    out = channels[layer.layer.address, node.name]
    for tensor in PRIMITIVES[made.op].state(made, inputs):
        names = joined(place, tensor.name), joined(path, tensor.name)
        dense = node.op in ("conv2d", "linear") and tensor.name == "weight"
        second = inside if dense and node.attributes.get("groups", 1) == 1 else None
        whole = node.op not in ("conv2d", "linear", "bn", "/bn", "layer_scale") or not tensor.shape
        yield Gathered(*names, tensor.shape, () if whole else out, None if whole else second)


def _foreign(why: str) -> NascError:
    return NascError(f"the network is not what was kept: {why}", help="use the space and the masks of one search")
