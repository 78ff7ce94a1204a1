"""What a member is built of, read off its path through the trellis: an oracle for what is written and what it costs."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nasc.compiler.cost import Metric, node_cost
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational, evaluate
from nasc.compiler.graph_tools import map_sizes
from nasc.compiler.ir import Node, Tensor, Variant
from nasc.compiler.member import Member
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.sample import Sampler
from nasc.compiler.specialise import specialise
from nasc.compiler.world import dotted

Known = Mapping[str, Rational | str]
Operator = tuple[str, tuple[tuple[str, Any], ...], str, tuple[str, ...]]
JOINING = frozenset({"add", "mul", "concat", "add_prefix", "slice"})


@dataclass(frozen=True)
class Drawn:
    """A member, with each operator that it is built of, in order, and its parameters and MACs."""

    member: Member
    operators: tuple[Operator, ...]
    cost: tuple[int, int]


def drawn(space: Space, seed: int) -> Drawn:
    """A member drawn as `sample_members` does, and what lies along its path."""
    sampler = Sampler(space, random.Random(seed))
    layers: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    built: list[tuple[Variant, Any, str | None]] = []
    cells: dict[str, Domain] = {}
    state = sampler.pick(sampler.trellis.starts, [sampler.ahead[0][s] for s in sampler.trellis.starts])
    for slot, following in zip(sampler.trellis.slots, sampler.ahead[1:], strict=True):
        edges = slot.edges[state]
        edge = sampler.pick(edges, [sampler.weight(e) * following[e.target] for e in edges])
        layers[slot.address] = None if edge.variant is None else sampler.decide(edge.variant, shared)
        if edge.variant is not None:
            built.append((edge.variant, layers[slot.address], edge.out))
        state = edge.target
        cells |= {address: cell for address, cell in state.cells if isinstance(cell, Domain)}
    for address, cell in cells.items():
        shared.setdefault(address, cell.first)
    nodes = list(_nodes(built, shared))
    costs = [sum(_cost(node, inputs, metric) for node, inputs in nodes) for metric in ("params", "macs")]
    return Drawn(Member(layers, shared), tuple(_operators(nodes)), (costs[0], costs[1]))


def _operators(nodes: list[tuple[Node, list[Tensor]]]) -> Iterator[Operator]:
    for node, inputs in nodes:
        if node.op in PRIMITIVES and node.op not in JOINING:
            attributes = tuple(sorted(node.attributes.items()))
            yield node.op, attributes, str(node.output), tuple(map(str, inputs))


def _cost(node: Node, inputs: list[Tensor], metric: Metric) -> int:
    return node_cost(node, inputs, metric) if node.op in PRIMITIVES else 0


def _nodes(built: list[tuple[Variant, Any, str | None]], shared: dict[str, Any]) -> Iterator[tuple[Node, list[Tensor]]]:
    outs: dict[str, Rational] = {}
    for variant, decided, out in built:
        known = {**shared, **decided, **outs}
        if not variant.graph.inputs:
            continue
        inputs = {name: settled(tensor, known) for name, tensor in variant.graph.inputs.items()}
        result = yield from _along(variant, known, inputs)
        if out is not None:
            outs[out] = result.channels  # type: ignore[assignment]  # settled: no Expr is left


def _along(variant: Variant, known: Known, inputs: Mapping[str, Tensor]) -> Any:
    """The nodes of a variant with all sizes known, those of the branches taken in place of their choices."""
    graph, shapes = variant.graph, dict(inputs)
    if not any(node.branches for node in graph.nodes):
        graph = specialise(graph, {**_numbers(known)})  # without what feeds only what has no channels
    for node in graph.nodes:
        shapes[node.name] = settled(node.output, known)
        if node.branches:
            for branch in _taken(node, known):
                outer = {**shapes, "in": shapes[node.inputs[0]]}
                yield from _along(branch, known, outer)
        else:
            attributes = {k: map_sizes(v, lambda s: evaluate(s, _numbers(known))) for k, v in node.attributes.items()}
            concrete = node.model_copy(update={"attributes": attributes, "output": shapes[node.name]})
            yield concrete, [shapes[name] for name in node.inputs]
    return shapes[graph.output]


def _taken(node: Node, known: Known) -> Iterator[Variant]:
    address, numbers = str(node.attributes["address"]), node.attributes["numbers"]
    for number, branch in zip(numbers, node.branches, strict=True):
        there = known[address] == branch.name if node.op == "one_of" else known[dotted(address, f"{number}?")] == 1
        if there:
            yield next(v for v in branch.variants if _fits(v, known))


def _fits(variant: Variant, known: Known) -> bool:
    domains = {**variant.shared, **{d.address: d.domain for d in variant.decisions}}
    return all(str(known.get(a)) == text for a, text in variant.chosen.items()) and all(
        a in known and known[a] in domain  # type: ignore[operator]
        for a, domain in domains.items()
    )


def _numbers(known: Known) -> dict[str, Rational]:
    """The decisions that are numbers; those of an operator that is left out count as 0."""
    return defaultdict(int, {a: v for a, v in known.items() if not isinstance(v, str)})


def settled(tensor: Tensor, known: Known) -> Tensor:
    """A tensor of which all channels are known."""
    return tensor.with_channels(evaluate(tensor.channels, _numbers(known)))
