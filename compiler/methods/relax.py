"""How methods relax the choices of a network: each layer into candidates, for PruNet a searched width into a Prunode.

A kind of choice that the method has no relaxation for is an error that names the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from nasc.compiler.concrete import INPUT, check_concrete
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Decision, Graph, Layer, Network, Variant
from nasc.compiler.methods.elastic import Elastic, NotElastic, elastic_of
from nasc.compiler.methods.refused import Refused
from nasc.compiler.methods.values import OptionError
from nasc.compiler.specialise import specialise
from nasc.compiler.structure import used_inputs

MOST_CANDIDATES = 64
MOST_BLOCKS = 1_024
"""Candidates of all layers together: a SuperNet holds the weights of every one."""
_CHAIN = "a SuperNet is a chain of stages; search with --method random"


@dataclass(frozen=True)
class Candidate:
    """One candidate of a stochastic layer: a variant with its unordered decisions made.

    `graph` has the largest hidden width; `elastic` says how it is cut to the others. `width` is the width's address and
    `widths` its values, ascending; without one, both are empty.
    """

    block: str
    variant: int
    values: dict[str, Rational]
    graph: Graph
    width: str = ""
    widths: tuple[int, ...] = ()
    elastic: Elastic | None = None

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


def relax(network: Network, masked: bool = True) -> tuple[RelaxedLayer, ...]:
    """Every layer of a network in order, the head last. `masked`: a range is a Prunode's width, not many candidates.

    Layers that are built from the very same variants share their candidates, which are made once.
    Raises `Refused` for a choice that cannot be relaxed, `NotLoweredError` for what has no code.
    """
    require_labels(network)
    for decision in network.shared:
        if decision.domain.size > 1:
            raise Refused(
                decision.address.removeprefix("@"),
                f"the decision {decision.domain} is shared between layers, or is the width of a stage",
                "give it a single value, or search with --method random",
            )
    made: dict[tuple[int, ...], tuple[Candidate, ...]] = {}
    relaxed: list[RelaxedLayer] = []
    blocks = 0
    for layer in _layers(network):
        alike = tuple(map(id, layer.variants))
        if alike not in made:
            made[alike] = _all_candidates(layer, masked)
        relaxed.append(RelaxedLayer(layer.address, layer, made[alike], layer.skippable))
        blocks += len(made[alike])
        if blocks > MOST_BLOCKS:
            help = "write fewer layers or alternatives, or search with --method random"
            raise Refused(layer.address, f"with it there would be more than {MOST_BLOCKS:,} blocks", help)
    return tuple(relaxed)


def require_labels(network: Network) -> None:
    """Raise `Refused` for a network that cannot be trained with labels."""
    kind, _ = network.output
    if kind not in ("classes", "tokens"):
        why = f"a search trains with labels, for `output classes N` or `output tokens N`, not `output {kind}`"
        raise Refused("output", why, "compile one member: `nasc sample` draws some")


def relax_to_mixture(network: Network) -> tuple[RelaxedLayer, ...]:
    """Every layer of a network in order, each value of each decision a candidate of its own. Raises as `relax`."""
    return relax(network, masked=False)


def most_candidates(network: Network) -> int:
    """How many candidates the layer with the most has after `relax`, where that does not raise: counted, none made."""
    layers = [layer for stage in network.stages for layer in stage.layers]
    layers += [network.head] if network.head is not None else []
    return max((sum(_count(_decisions(v, masked=True)[1]) for v in each.variants) for each in layers), default=0)


def require_threshold(layers: tuple[RelaxedLayer, ...], first: float) -> None:
    """Raise `OptionError` where the first threshold would remove blocks before anything was learned (3.2.2)."""
    most = max(layers, key=lambda layer: len(layer.candidates), default=None)
    if most is not None and not allows_threshold(len(most.candidates), first):
        raise OptionError(
            "threshold",
            f"the threshold starts at {first:g}, but layer `{most.address}` has {len(most.candidates)} candidates, "
            f"each with a probability of {1 / len(most.candidates):.3g}: all would fall at once",
            help=f"in `search prunet`, write `threshold {int(1000 / len(most.candidates)) / 1000:g} .. 0.55` or less",
        )


def allows_threshold(candidates: int, first: float) -> bool:
    """Does a first threshold leave so many equally probable candidates alone?"""
    return candidates <= 1 or first <= 1 / candidates + 1e-12


def _layers(network: Network) -> Iterator[Layer]:
    for stage in network.stages:
        if stage.depth is not None and stage.depth.domain.size > 1:
            help = (
                f"fix it: `--set {stage.name}.x={stage.depth.domain.last}`, and where shapes are equal let layers be "
                "dropped: `skip same_shape`"
            )
            raise Refused(stage.name, "the number of its layers is a range", help)
        if stage.source is not None:
            raise Refused(stage.name, "it does not take in the stage before it", _CHAIN)
        yield from stage.layers
    if network.head is not None:
        yield network.head


def _all_candidates(layer: Layer, masked: bool) -> tuple[Candidate, ...]:
    candidates: list[Candidate] = []
    for number, variant in enumerate(layer.variants):
        candidates += _candidates(layer, number, variant, MOST_CANDIDATES - len(candidates), masked)
    return tuple(candidates)


def _candidates(layer: Layer, number: int, variant: Variant, room: int, masked: bool) -> list[Candidate]:
    ranges, sets = _decisions(variant, masked)
    if len(ranges) > 1:
        names = ", ".join(f"`{d.address}`" for d in ranges)
        help = "leave one of them; write the others as sets"
        raise Refused(layer.address, f"a candidate has {len(ranges)} ranges: {names}", help)
    if _count(sets) > room:
        finer = "" if masked else ": a coarser step or set, or search with --method prunet, which takes a range as one"
        raise Refused(
            layer.address, f"it has more than {MOST_CANDIDATES} candidates", f"write fewer alternatives{finer}"
        )
    addresses = [decision.address for decision in sets]
    settled = [dict(zip(addresses, values, strict=True)) for values in product(*(d.domain for d in sets))]
    return [_candidate(layer, number, variant, values, ranges[0] if ranges else None) for values in settled]


def _decisions(variant: Variant, masked: bool) -> tuple[list[Decision], list[Decision]]:
    """The ranges of which one is a Prunode's width, and what is decided before: each way is a candidate."""
    ranges = [d for d in variant.decisions if masked and d.ordered and d.domain.size > 1]
    return ranges, [d for d in variant.decisions if d not in ranges]


def _count(decisions: list[Decision]) -> int:
    return prod(decision.domain.size for decision in decisions)


def _candidate(
    layer: Layer, number: int, variant: Variant, values: dict[str, Rational], searched: Decision | None
) -> Candidate:
    known = {**values, **{address: domain.first for address, domain in variant.shared.items()}}
    symbolic = specialise(variant.graph, known)
    if used_inputs(symbolic) not in ((INPUT,), ()):
        raise Refused(layer.address, "it reads a stage further back", _CHAIN)
    if searched is None:
        check_concrete(symbolic, layer.address)
        return Candidate(variant.block, number, values, symbolic)
    widths = _widths(layer, searched)
    try:
        check_concrete(specialise(symbolic, {searched.address: widths[-1]}), layer.address)
        elastic = elastic_of(symbolic, searched.address, widths)
    except NotElastic as found:
        raise Refused(layer.address, found.why, found.help) from None
    except ZeroDivisionError:
        why = f"a size divides by 0 at some values of `{searched.address}`"
        raise Refused(layer.address, why, "write it as a set `{a, b}`") from None
    return Candidate(variant.block, number, values, elastic.graph, searched.address, widths, elastic)


def _widths(layer: Layer, decision: Decision) -> tuple[int, ...]:
    values = tuple(decision.domain)
    if not all(isinstance(v, int) and v >= 1 for v in values):
        raise Refused(
            layer.address,
            f"`{decision.address}` takes the values {decision.domain}",
            "a range is one of widths, whole numbers from 1; write anything else as a set `{a, b}`",
        )
    return tuple(int(v) for v in values)
