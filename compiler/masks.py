"""Where masks stand in the fullest network, and which channels of each tensor they are of (FiGS, 3.2 and 3.3).

The channels of a tensor are segments side by side: so many without a mask, or those of a decision. A convolution or
linear layer makes new channels; depthwise ones, additions and what works on each channel by itself hand theirs on, a
concatenation puts them side by side. So what must be of one width has one mask, and nothing is listed by hand.
A mask stands behind the batch norm of what makes channels, else behind that itself: what was 0 before a batch norm is
its shift after it. One that masks nothing by itself is there too where the tensor goes with an operator (see `dead`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nasc.compiler.concrete import INPUT
from nasc.compiler.expr import Expr, Function, Size, evaluate, variables
from nasc.compiler.full_layer import FullLayer, Open
from nasc.compiler.fullest import Fullest
from nasc.compiler.graph_tools import attribute_sizes
from nasc.compiler.ir import Graph, Network, Node, Tensor
from nasc.compiler.methods.refused import Refused
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import channels_of
from nasc.compiler.primitives.masking import MASK
from nasc.compiler.segments import Derived, Masked, Plain, Segments, Taken, key_of, names_of
from nasc.compiler.specialise import PRESENCE
from nasc.compiler.vanishing import frail, may_lose_a_factor

_DENSE = frozenset({"conv2d", "linear"})
_SHIFTING = frozenset({"bn", "/bn", "position", "class_token", "slice"})
"""Operators that work on each channel by itself and may make something of zeros, or of which others are masked."""
_OTHERS = "give it one value with --set, or search with another method"


_Layer = TypeVar("_Layer")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class MaskedLayer:
    """A layer's graph with its masks; `segments` says of each tensor which channels it has."""

    layer: FullLayer
    graph: Graph
    segments: Mapping[str, Segments]


@dataclass(frozen=True)
class MaskedNetwork:
    """All layers with their masks. `masks` has the segments of each mask by what generated code calls it; a presence is
    one channel for all of its operator's."""

    fullest: Fullest
    layers: tuple[MaskedLayer, ...]
    opens: Mapping[str, Open]
    masks: Mapping[str, Segments]


def masked(fullest: Fullest) -> MaskedNetwork:
    """Put the masks in. Raises `Refused` for a layer in which a width cannot be masked."""
    opens = {each.name: each for each in fullest.opens()}
    layers: list[MaskedLayer] = []

    def mask(layer: FullLayer, known: Mapping[str, Segments]) -> Segments:
        made = _Masking(layer, known, opens).result()
        layers.append(made)
        return made.segments[made.graph.output]

    first: Segments = (Plain(channels_of(fullest.network.input)),)
    follow(fullest.network, [(layer.address, layer) for layer in fullest.layers], first, mask)
    masks = {
        str(n.attributes[MASK]): _applied(n, made) for made in layers for n in made.graph.nodes if MASK in n.attributes
    }
    _require_used(fullest, layers)
    return MaskedNetwork(fullest, tuple(layers), opens, masks)


def follow(
    network: Network,
    layers: Iterable[tuple[str, _Layer]],
    first: _Value,
    hand_on: Callable[[_Layer, Mapping[str, _Value]], _Value],
) -> None:
    """Call `hand_on` for each layer, by address, with what was said of its inputs; it says what the layer hands on.

    `first` is said of the network's input. Inputs are `in`, and earlier stages by their names.
    """
    sources = {stage.name: stage.source for stage in network.stages}
    known = {INPUT: first}
    for address, layer in layers:
        stage, _, number = address.rpartition(".")
        source = sources.get(stage) if number == "1" else None
        if source is not None:
            known[INPUT] = known[source]
        known[INPUT] = known[stage] = hand_on(layer, known)


def _applied(node: Node, layer: MaskedLayer) -> Segments:
    """What a node masks by: the channels of its tensor, or a presence, which is one for all of them."""
    presence = node.attributes.get(PRESENCE)
    return layer.segments[node.name] if presence is None else (Masked(str(presence), 1),)


def _require_used(fullest: Fullest, layers: Sequence[MaskedLayer]) -> None:
    """Refuse a decision that no mask is of: it is no width."""
    used = {name for layer in layers for segments in layer.segments.values() for s in segments for name in names_of(s)}
    used |= {name for layer in layers for n in layer.graph.nodes for name in variables(n.attributes.get(PRESENCE, 0))}
    every = [(each.name.removeprefix("@"), each) for each in fullest.shared]
    every += [(layer.address, each) for layer in fullest.layers for o in layer.operators for each in o.opens]
    for place, each in every:
        if each.name not in used:
            raise Refused(place, f"`{each.address.removeprefix('@')}` is no width that channels have", _OTHERS)


class _Masking:
    """Puts masks into one layer."""

    def __init__(self, layer: FullLayer, known: Mapping[str, Segments], opens: Mapping[str, Open]) -> None:
        self.layer, self.opens = layer, opens
        graph = layer.graph
        self.segments: dict[str, Segments] = {name: known[name] for name in graph.inputs}
        self.clean = set(graph.inputs)
        """The tensors of which what is masked is 0."""
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.frail = frail(graph, opens)
        self.names = {name: name for name in graph.inputs}
        self.nodes: list[Node] = []

    def result(self) -> MaskedLayer:
        graph = self.layer.graph
        for node in graph.nodes:
            self._add(node)
        masked = Graph(inputs=graph.inputs, nodes=tuple(self.nodes), output=self.names[graph.output])
        return MaskedLayer(self.layer, masked, self.segments)

    def _refuse(self, why: str, help: str = _OTHERS) -> Refused:
        return Refused(self.layer.address, why, help)

    def _add(self, node: Node) -> None:
        inputs = tuple(self.names[name] for name in node.inputs)
        segments = self._segments(node)
        if node.op == "/mask":  # the presence of an operator
            node = node.model_copy(update={"attributes": {**node.attributes, MASK: str(node.attributes[PRESENCE])}})
        self.names[node.name] = node.name
        clean = self._is_clean(node) or (node.op == "/mask" and all(isinstance(s, Plain) for s in segments))
        wanted = not clean and (any(not isinstance(s, Plain) for s in segments) or node.name in self.frail)
        self.segments[node.name] = segments
        if wanted and self._later(node):
            wanted = False
        elif wanted and node.op == "bn" and node.output.tokens is None:
            attributes = {**node.attributes, MASK: key_of(segments)}
            node = node.model_copy(update={"op": "/bn", "attributes": attributes})
            wanted, clean = False, True
        self.nodes.append(node.model_copy(update={"inputs": inputs}))
        if wanted:
            mask = Node.model_construct(
                name=f"{node.name}/mask",
                op="/mask",
                inputs=(node.name,),
                attributes={MASK: key_of(segments)},
                output=node.output,
                branches=(),
            )
            self.nodes.append(mask)
            self.names[node.name] = mask.name
            self.segments[mask.name] = segments
            clean = True
        if clean:
            self.clean.add(node.name)

    def _later(self, node: Node) -> bool:
        """Is the mask better put where the tensor is used: behind its batch norm, or where it is multiplied?"""
        readers = self.readers.get(node.name, [])
        if not readers or node.name == self.layer.graph.output:
            return False
        if node.op in _DENSE and len(readers) == 1 and readers[0].op == "bn":
            return True
        return all(r.op == "mul" and any(n in self.clean for n in r.inputs if n != node.name) for r in readers)

    def _is_clean(self, node: Node) -> bool:
        """Is what is masked 0 in what comes out, if it is in what comes in?"""
        primitive = PRIMITIVES[node.op]
        inside = [name in self.clean for name in node.inputs]
        if node.op == "mul":
            return any(inside)
        if node.op in ("add", "concat"):
            return all(inside)
        if node.op == "conv2d":  # depthwise, without a shift: channels of zeros stay zeros
            return (
                all(inside)
                and node.attributes.get("groups") == self._tensor(node.inputs[0]).channels
                and not node.attributes["bias"]
            )
        silent = primitive.channelwise and primitive.zero and node.op not in _SHIFTING
        return silent and all(inside)

    # ------------------------------------------------------------------------------------------ segments

    def _segments(self, node: Node) -> Segments:
        """The segments of what a node makes. Raises `Refused` where masks do not go through it."""
        if node.op == "mul" and may_lose_a_factor(self.layer.graph, node, self.opens):
            why = "what it multiplies by may be gone, which is a factor of 1 and no mask stands for"
            raise self._refuse(why, "take 0 out of the widths of a gate such as `se_width` with --set")
        inside = [self.segments[name] for name in node.inputs]
        plain = all(isinstance(s, Plain) for segments in inside for s in segments)
        if node.op == "slice":
            return self._cut(node, inside[0])
        loose = [s for k, v in node.attributes.items() if k not in ("groups", PRESENCE) for s in attribute_sizes(v)]
        if loose:
            raise self._refuse(f"the {node.op} depends on {loose[0]}, not only in its width")
        if node.op in _DENSE:
            return self._dense(node, inside[0], plain)
        if node.op == "concat":
            return tuple(s for segments in inside for s in segments)
        if plain and not isinstance(node.output.channels, Expr):
            return (Plain(int(node.output.channels)),)
        primitive = PRIMITIVES[node.op]
        if node.op == "add_prefix" or (not primitive.channelwise and node.op != "add"):
            raise self._refuse(f"`{node.op}` mixes channels of which some may be masked")
        if any(segments != inside[0] for segments in inside[1:]):
            raise self._refuse(f"`{node.op}` joins channels that are decided apart")
        if node.output.channels != self._tensor(node.inputs[0]).channels:
            raise self._refuse(f"`{node.op}` makes channels of which some may be masked into others")
        return inside[0]

    def _tensor(self, name: str) -> Tensor:
        return self.layer.graph.tensor(name)

    def _dense(self, node: Node, inside: Segments, plain: bool) -> Segments:
        """New channels of a convolution or linear layer; those of a depthwise convolution are its input's."""
        source, groups = self._tensor(node.inputs[0]), node.attributes.get("groups", 1)
        out = node.output.channels
        if groups == source.channels and groups != 1 and out == groups:
            return inside
        if groups != 1 and not (plain and not isinstance(out, Expr)):
            raise self._refuse("a convolution in groups has a width that is searched")
        return self._made(out)

    def _made(self, size: Size) -> Segments:
        if not isinstance(size, Expr):
            return (Plain(int(size)),)
        names = sorted(size.names)
        if len(names) != 1 or names[0] not in self.opens:
            raise self._refuse(f"a width of {size} follows from more than one decision")
        (name,) = names
        widths = self.opens[name].widths
        if size.terms == ((((name, 1),), 1),):
            return (Masked(name, widths[-1]),)
        counts = tuple(_count(size, name, n) for n in range(widths[-1] + 1))
        return (Derived(max(counts), name, counts, str(size)),)

    def _cut(self, node: Node, inside: Segments) -> Segments:
        """Channels from the first on, as many as a decision says and there are."""
        start, stop = node.attributes["start"], node.attributes["stop"]
        if not isinstance(start, Expr) and not isinstance(stop, Expr):
            if all(isinstance(s, Plain) for s in inside):
                return (Plain(int(stop - start)),)
            raise self._refuse("channels are cut from a tensor whose width is searched")
        name = _width_taken(stop, self._tensor(node.inputs[0]).channels)
        (source,) = inside if len(inside) == 1 else (None,)
        if start != 0 or name is None or name not in self.opens or not isinstance(source, Plain | Masked):
            raise self._refuse("channels are cut in a way that no mask stands for")
        if self.opens[name].widths[-1] < source.size:
            raise self._refuse(f"fewer channels are taken than the {source.size} that may be there")
        return (Taken(source, name, source.size),)


def _count(size: Expr, name: str, value: int) -> int:
    try:
        found = evaluate(size, {name: value})
    except ZeroDivisionError:
        return 0
    return int(found)


def _width_taken(stop: Size, channels: Size) -> str | None:
    """The decision in `min(width, channels)`, or in `width` alone."""
    if not isinstance(stop, Expr) or len(stop.terms) != 1:
        return None
    ((monomial, coefficient),) = stop.terms
    if coefficient != 1 or len(monomial) != 1 or monomial[0][1] != 1:
        return None
    atom = monomial[0][0]
    if isinstance(atom, str):
        return atom
    if not isinstance(atom, Function) or atom.name != "min":
        return None
    others = [a for a in atom.arguments if a != channels]
    names = [sorted(a.names)[0] for a in others if isinstance(a, Expr) and len(a.names) == 1]
    return names[0] if len(others) == len(names) == 1 else None
