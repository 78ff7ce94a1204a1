"""Parameters and multiply-accumulates: exact for one member, the smallest and the largest for a space.

Costs never fall when a width grows, so within one variant the extremes lie where all its decisions are at an end.
Across variants a cheaper layer may hand on more channels; the search along the trellis therefore keeps, at each state,
every pair of cost and handed-on widths that no other pair beats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, Literal

from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational, Size, add, evaluate
from nasc.compiler.graph_tools import map_sizes
from nasc.compiler.ir import Decision, Graph, Node, Tensor, Variant
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.trellis import Edge, Slot, State
from nasc.compiler.world import dotted

Metric = Literal["params", "macs"]
Values = Mapping[str, Rational]


@dataclass(frozen=True)
class Range:
    """The smallest and the largest cost of a space's members; equal for one member."""

    min: int
    max: int


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates of convolutions and linear layers for one image."""

    params: Range
    macs: Range

    def as_json(self) -> dict[str, Any]:
        """`{"params": …, "macs": …}`; for a space each is `{"min": …, "max": …}`."""
        ranges = {"params": self.params, "macs": self.macs}
        return {k: r.min if r.min == r.max else {"min": r.min, "max": r.max} for k, r in ranges.items()}


def cost_of(space: Space) -> Cost:
    """Exact costs of a space. Raises `ValueError` for one without members."""
    ranges = {
        metric: Range(_extreme(space, metric, largest=False), _extreme(space, metric, largest=True))
        for metric in ("params", "macs")
    }
    return Cost(ranges["params"], ranges["macs"])


def layer_costs(space: Space) -> dict[str, Cost]:
    """The costs of each layer by its address, at the ends of all widths that it can be given or decides itself.

    A layer that may be dropped costs nothing at least. The ends of two layers need not go together in one member.
    """
    return {
        slot.address: Cost(_layer_range(space, slot, "params"), _layer_range(space, slot, "macs"))
        for slot in space.trellis.slots
    }


def _layer_range(space: Space, slot: Slot, metric: Metric) -> Range:
    found: list[list[int]] = []
    for largest in (False, True):
        ends, memo = _ends(space.trellis.shared.values(), largest), dict[object, Any]()
        edges = [e for edges in slot.edges.values() for e in edges if not e.source.done]
        found.append([p.cost for e in edges for p in _along(e, _Partial(0), ends, metric, largest, memo)] or [0])
    return Range(min(found[0]), max(found[1]))


def node_cost(node: Node, inputs: list[Tensor], metric: Metric) -> int:
    """The cost of one concrete node."""
    primitive = PRIMITIVES[node.op]
    size = primitive.weights(node, inputs) if metric == "params" else primitive.macs(node, inputs)
    return int(size)  # type: ignore[arg-type]  # concrete: no Expr is left


def graph_cost(graph: Graph, values: Values, metric: Metric, shapes: dict[str, Tensor] | None = None) -> int:
    """The cost of a graph without nested choices when every decision has its value."""
    known = {} if shapes is None else dict(shapes)
    known.update({k: _settled(t, values) for k, t in graph.inputs.items()})
    total = 0
    for node in graph.nodes:
        known[node.name] = output = _settled(node.output, values)
        if node.op in PRIMITIVES:
            attributes = {k: map_sizes(v, lambda s: evaluate(s, values)) for k, v in node.attributes.items()}
            concrete = Node.model_construct(
                name=node.name, op=node.op, inputs=node.inputs, attributes=attributes, output=output, branches=()
            )
            total += node_cost(concrete, [known[i] for i in node.inputs], metric)
    return total


def graph_formula(graph: Graph, metric: Metric) -> Size:
    """The cost of a graph without nested choices as a formula of its decisions."""
    sizes: list[Size] = []
    for node in graph.nodes:
        primitive, inputs = PRIMITIVES[node.op], [graph.tensor(name) for name in node.inputs]
        sizes.append(primitive.macs(node, inputs) if metric == "macs" else primitive.weights(node, inputs))
    total: Size = 0
    return reduce(add, sizes, total)


def _settled(tensor: Tensor, values: Values) -> Tensor:
    if isinstance(tensor.channels, int):
        return tensor
    return Tensor.model_construct(
        channels=evaluate(tensor.channels, values),
        height=tensor.height,
        width=tensor.width,
        tokens=tensor.tokens,
        ids=tensor.ids,
    )


# ------------------------------------------------------------------------------------------------- extremes


@dataclass(frozen=True)
class _Partial:
    """A cost so far, with the widths that the rest of the network sees."""

    cost: int
    outs: tuple[tuple[str, Rational], ...] = ()


def _extreme(space: Space, metric: Metric, largest: bool) -> int:
    trellis = space.trellis
    ends = _ends(trellis.shared.values(), largest)
    front: dict[State, list[_Partial]] = {s: [_Partial(0)] for s in trellis.starts}
    memo: dict[object, list[tuple[int, Rational | None]]] = {}
    for slot in trellis.slots:
        after: dict[State, list[_Partial]] = {}
        for state, edges in slot.edges.items():
            for partial in front.get(state, ()):
                for edge in edges:
                    after.setdefault(edge.target, []).extend(_along(edge, partial, ends, metric, largest, memo))
        front = {s: _best(found, largest) for s, found in after.items()}
    found = [p.cost for s, partials in front.items() if trellis.final(s) for p in partials]
    if not found:
        raise ValueError("no member of this space has an output")
    return max(found) if largest else min(found)


def _ends(decisions: Any, largest: bool) -> dict[str, Rational]:
    ends: dict[str, Rational] = {}
    for decision in decisions:
        assert isinstance(decision, Decision)
        ends[decision.address] = decision.domain.last if largest else decision.domain.first
    return ends


def _along(
    edge: Edge, partial: _Partial, ends: Values, metric: Metric, largest: bool, memo: dict[Any, Any]
) -> Iterator[_Partial]:
    """What a partial cost becomes along an edge."""
    visible = {name for _, t in edge.target.tensors if not isinstance(t.channels, int) for name in t.channels.names}  # type: ignore[union-attr]
    outs = dict(partial.outs)
    if edge.variant is None or not edge.variant.graph.inputs:
        yield _Partial(partial.cost, tuple((k, v) for k, v in partial.outs if k in visible))
        return
    variant = edge.variant
    known = {**{a: c for a, c in edge.source.cells if isinstance(c, Domain)}, **variant.shared}
    shared = {a: d.last if largest else d.first for a, d in known.items() if a not in outs}
    key = (id(variant), edge.out is None, tuple(sorted(outs.items())), tuple(sorted(shared.items())))
    if key not in memo:
        values = {**ends, **shared, **outs}
        memo[key] = list(_variant_extremes(variant, values, metric, largest))
    for cost, width in memo[key]:
        after = {**outs, edge.out: width} if edge.out is not None else outs
        yield _Partial(partial.cost + cost, tuple(sorted((k, v) for k, v in after.items() if k in visible)))


def _variant_extremes(
    variant: Variant, values: Values, metric: Metric, largest: bool
) -> Iterator[tuple[int, Rational]]:
    """Costs of a variant at its decisions' ends, with the width that comes out; one for each nested alternative."""
    own = {**values, **_ends(variant.decisions, largest)}
    nested = [n for n in variant.graph.nodes if n.branches]
    for options in product(*(_options(n, own, metric, largest) for n in nested)):
        chosen = dict(own)
        cost = 0
        for extra, bindings in options:
            cost += extra
            chosen.update(bindings)
        cost += graph_cost(variant.graph, chosen, metric)
        yield cost, evaluate(variant.graph.result.channels, chosen)


_Option = tuple[int, dict[str, Rational]]


def _options(node: Node, values: Values, metric: Metric, largest: bool) -> list[_Option]:
    """The ways a nested choice can be extreme: its cost, and the values of the decisions that show outside."""
    branches: list[list[_Option]] = []
    for branch in node.branches:
        found: list[_Option] = []
        for variant in branch.variants:
            bindings = {**_ends(variant.decisions, largest), **{a: values[a] for a in variant.shared if a in values}}
            for cost, _ in _variant_extremes(variant, values, metric, largest):
                found.append((cost, bindings))
        branches.append(found)
    if node.op == "one_of":
        return _undominated([o for found in branches for o in found], node, values, largest)
    names = [dotted(node.attributes["address"], f"{n}?") for n in node.attributes["numbers"]]
    absent = {name: 0 for name in names}
    if largest:
        best = [max(found, key=lambda o: o[0]) for found in branches]
        together: dict[str, Rational] = {name: 1 for name in names}
        for _, bindings in best:
            together.update(bindings)
        return [(sum(c for c, _ in best), together)]
    options: list[_Option] = []
    everything: dict[str, Rational] = {k: v for found in branches for _, b in found for k, v in b.items()}
    for name, found in zip(names, branches, strict=True):
        options.extend((cost, {**everything, **bindings, **absent, name: 1}) for cost, bindings in found)
    return _undominated(options, node, values, largest)


def _undominated(options: list[_Option], node: Node, values: Values, largest: bool) -> list[_Option]:
    sign = -1 if largest else 1

    def rank(option: _Option) -> tuple[Rational, Rational]:
        return sign * option[0], sign * evaluate(node.output.channels, {**values, **option[1]})

    kept: list[_Option] = []
    for option in sorted(options, key=rank):
        if not kept or rank(option)[1] < rank(kept[-1])[1]:
            kept.append(option)
    return kept


def _best(found: list[_Partial], largest: bool) -> list[_Partial]:
    """Drop what another beats in cost and in every width."""
    sign = -1 if largest else 1
    kept: list[_Partial] = []
    for partial in sorted(set(found), key=lambda p: (sign * p.cost, [sign * v for _, v in p.outs])):
        if not any(
            all(sign * a <= sign * b for (_, a), (_, b) in zip(k.outs, partial.outs, strict=True)) for k in kept
        ):
            kept.append(partial)
    return kept
