"""How PruNet relaxes the choices of a network: each layer into candidates, a width under search into a Prunode.

A kind of choice that the method has no relaxation for is an error that names the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from nasc.compiler.concrete import INPUT, check_concrete
from nasc.compiler.expr import Expr, Rational, variable, variables
from nasc.compiler.ir import Decision, Graph, Layer, Network, Node, Variant
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.specialise import specialise
from nasc.compiler.structure import used_inputs
from nasc.dsl.diagnostics import NascError

MOST_CANDIDATES = 64


@dataclass(frozen=True)
class Candidate:
    """One candidate of a stochastic layer: a variant with its unordered decisions made.

    `graph` has the largest hidden width; `elastic` are the tensors in it whose channels that width cuts. `width` is the
    width's address and `widths` its values, ascending; without one, both are empty.
    """

    block: str
    variant: int
    values: dict[str, Rational]
    graph: Graph
    width: str = ""
    widths: tuple[int, ...] = ()
    elastic: frozenset[str] = frozenset()

    def choice(self, width: int | None) -> tuple[int, dict[str, Rational]]:
        """What `member_from_choices` takes: the variant's number and its decisions."""
        return self.variant, {**self.values, **({self.width: width} if self.width and width is not None else {})}


@dataclass(frozen=True)
class RelaxedLayer:
    """A layer's candidates. `fixed`: there is nothing to decide."""

    address: str
    layer: Layer
    candidates: tuple[Candidate, ...]
    skippable: bool

    @property
    def fixed(self) -> bool:
        return len(self.candidates) == 1 and not self.skippable and not self.candidates[0].width


def relax(network: Network) -> tuple[RelaxedLayer, ...]:
    """Every layer of a network in order, the head last.

    Raises `NascError` naming the place of a choice that PruNet cannot relax, `NotLoweredError` for what has no code.
    """
    for decision in network.shared:
        if decision.domain.size > 1:
            raise _refused(
                decision.address.removeprefix("@"),
                f"the decision {decision.domain} is shared between layers, or is the width of a stage",
                "PruNet searches the hidden width of a block only: give the shared one a single value",
            )
    return tuple(map(_relaxed, _layers(network)))


def require_threshold(layers: tuple[RelaxedLayer, ...], first: float) -> None:
    """Raise `NascError` where the first threshold would remove blocks before anything was learned (3.2.2)."""
    most = max(layers, key=lambda layer: len(layer.candidates), default=None)
    if most is not None and len(most.candidates) > 1 and first > 1 / len(most.candidates) + 1e-12:
        raise NascError(
            f"the threshold starts at {first:g}, but layer `{most.address}` has {len(most.candidates)} candidates, "
            f"each with a probability of {1 / len(most.candidates):.3g}: all would fall at once",
            help=f"in `search prunet`, write `threshold {int(1000 / len(most.candidates)) / 1000:g} .. 0.55` or less",
        )


def _layers(network: Network) -> Iterator[Layer]:
    for stage in network.stages:
        if stage.depth is not None and stage.depth.domain.size > 1:
            help = "fix it, and let layers be dropped: `skip same_shape`"
            raise _refused(stage.name, "the number of its layers is a range", help)
        if stage.source is not None:
            raise _refused(stage.name, "it does not take in the stage before it", "PruNet needs a chain of stages")
        yield from stage.layers
    if network.head is not None:
        yield network.head


def _refused(place: str, why: str, help: str) -> NascError:
    return NascError(f"`{place}` cannot be searched by PruNet: {why}", help=help)


def _relaxed(layer: Layer) -> RelaxedLayer:
    candidates: list[Candidate] = []
    for number, variant in enumerate(layer.variants):
        candidates += _candidates(layer, number, variant, MOST_CANDIDATES - len(candidates))
    return RelaxedLayer(layer.address, layer, tuple(candidates), layer.skippable)


def _candidates(layer: Layer, number: int, variant: Variant, room: int) -> list[Candidate]:
    sets = [d for d in variant.decisions if not d.ordered or d.domain.size == 1]
    ranges = [d for d in variant.decisions if d.ordered and d.domain.size > 1]
    if len(ranges) > 1:
        names = ", ".join(f"`{d.address}`" for d in ranges)
        help = "leave one of them; write the others as sets"
        raise _refused(layer.address, f"a candidate has {len(ranges)} ranges: {names}", help)
    count = 1
    for decision in sets:
        count *= decision.domain.size
    if count > room:
        raise _refused(layer.address, f"it has more than {MOST_CANDIDATES} candidates", "write fewer alternatives")
    addresses = [decision.address for decision in sets]
    settled = [dict(zip(addresses, values, strict=True)) for values in product(*(d.domain for d in sets))]
    return [_candidate(layer, number, variant, values, ranges[0] if ranges else None) for values in settled]


def _candidate(
    layer: Layer, number: int, variant: Variant, values: dict[str, Rational], searched: Decision | None
) -> Candidate:
    known = {**values, **{address: domain.first for address, domain in variant.shared.items()}}
    symbolic = specialise(variant.graph, known)
    if used_inputs(symbolic) not in ((INPUT,), ()):
        raise _refused(layer.address, "it reads a stage further back", "PruNet needs a chain of stages")
    if searched is None:
        check_concrete(symbolic, layer.address)
        return Candidate(variant.block, number, values, symbolic)
    widths = _widths(layer, searched)
    graph = specialise(symbolic, {searched.address: widths[-1]})
    check_concrete(graph, layer.address)
    elastic = _elastic(layer, symbolic, searched)
    return Candidate(variant.block, number, values, graph, searched.address, widths, elastic)


def _widths(layer: Layer, decision: Decision) -> tuple[int, ...]:
    values = tuple(decision.domain)
    if not all(isinstance(v, int) and v >= 1 for v in values):
        raise _refused(
            layer.address,
            f"`{decision.address}` takes the values {decision.domain}",
            "PruNet searches widths: whole numbers from 1; write anything else as a set `{a, b}`",
        )
    return tuple(int(v) for v in values)


def _elastic(layer: Layer, graph: Graph, decision: Decision) -> frozenset[str]:
    """The tensors whose channels are the searched width. Raises `NascError` where a mask could not cut them."""
    width = variable(decision.address)
    elastic = {name for name, tensor in graph.shapes.items() if tensor.channels == width}
    for name, tensor in graph.shapes.items():
        if isinstance(tensor.channels, Expr) and name not in elastic:
            raise _refused(
                layer.address,
                f"`{name}` has {tensor.channels} channels, more than a prefix of `{decision.address}`",
                "give that width a number of its own",
            )
    if graph.output in elastic:
        raise _refused(layer.address, f"`{decision.address}` is the width of its output", "search a hidden width")
    for node in graph.nodes:
        _check_node(layer, node, elastic, decision)
    if not elastic:
        raise _refused(layer.address, f"`{decision.address}` is not a width", "write it as a set `{a, b}`")
    return frozenset(elastic)


def _check_node(layer: Layer, node: Node, elastic: set[str], decision: Decision) -> None:
    """Prefixes pass what works channel by channel, and convolutions and linear layers without groups."""
    cut = any(name in elastic for name in node.inputs)
    for key, value in node.attributes.items():
        parts = value if isinstance(value, tuple) else (value,)
        symbolic = any(variables(part) for part in parts if isinstance(part, Expr))
        if symbolic and not (key == "groups" and cut and is_depthwise(node, elastic)):
            raise _refused(
                layer.address, f"`{decision.address}` sets the {key} of `{node.op}`", "write it as a set `{a, b}`"
            )
    grouped = node.op == "conv2d" and node.attributes["groups"] != 1 and not is_depthwise(node, elastic)
    mixes = not PRIMITIVES[node.op].channelwise
    if (cut or node.name in elastic) and (grouped or (mixes and node.op not in ("conv2d", "linear"))):
        raise _refused(
            layer.address,
            f"`{decision.address}` is the width of channels that `{node.op}` mixes in groups or all together",
            "write it as a set `{a, b}`",
        )


def is_depthwise(node: Node, elastic: set[str]) -> bool:
    """Does a convolution have one filter for each channel of an elastic tensor, whatever its width?"""
    groups = node.attributes.get("groups")
    return node.op == "conv2d" and node.inputs[0] in elastic and node.name in elastic and isinstance(groups, Expr)
